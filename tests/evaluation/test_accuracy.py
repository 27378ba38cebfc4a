import numpy as np
import pytest

from cvrl_tf.evaluation import accuracy


def test_ranks_by_hand():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    # The third and fourth have a tie: the lower class comes first.
    assert accuracy.ranks(scores, np.array([2, 0, 0, 1])).tolist() == [1, 0, 0, 1]


def test_classification_figures_by_hand():
    scores = np.zeros((4, 7))
    scores[:, 6] = 1.0
    scores[0, 5] = 2.0
    labels = np.array([5, 6, 3, 4])
    # Ranks: 0; 0; 4, after 6 and 0 to 2; 5, after 6 and 0 to 3.
    figures = accuracy.classification_figures(scores, labels)
    assert {name: figure.value for name, figure in figures.items()} == {
        "top1": 0.5,
        "top5": 0.75,
        "mean_class_accuracy": 0.5,
    }
    few = accuracy.classification_figures(np.eye(6)[[0, 0, 0, 1]], np.array([0, 0, 1, 1]))
    assert list(few) == ["top1", "mean_class_accuracy"]
    assert few["top1"].value == 0.75
    # Two of class 0 right, one of two of class 1.
    assert few["mean_class_accuracy"].value == pytest.approx((1 + 1 / 2) / 2)


def test_baselines_by_hand():
    """Class 2 is the most frequent of three in training; one of four test videos has it."""
    found = accuracy.baselines(np.array([0, 2, 2, 5]), np.array([2, 0, 0, 5]))
    assert found == {"chance": 1 / 3, "majority_class": 0.25}


def test_recalls_that_say_something():
    assert accuracy.recalls(6) == [1]
    assert accuracy.recalls(100) == [1, 5, 10, 20]
    assert accuracy.recalls(200) == [1, 5, 10, 20, 50]


def test_confusion_by_hand():
    matrix = accuracy.confusion_matrix(np.array([0, 2, 2, 1]), np.array([0, 0, 2, 2]), 3)
    assert matrix.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 1]]


def test_a_query_is_found_if_any_neighbour_has_its_class():
    neighbors = np.array([[1, 2, 0], [0, 1, 1], [2, 2, 2]])
    labels = np.array([0, 0, 1])
    hits = accuracy.retrieval_hits(neighbors, labels, counts=(1, 2, 3, 5))
    assert {k: values.tolist() for k, values in hits.items()} == {
        1: [False, True, False],
        2: [False, True, False],
        3: [True, True, False],
    }
    figures = accuracy.retrieval_figures(neighbors, labels, counts=(1, 3))
    assert figures["recall_at_1"].value == pytest.approx(1 / 3)
    assert figures["recall_at_3"].value == pytest.approx(2 / 3)
