import numpy as np
import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import knn
from cvrl_tf.evaluation.features import Features


def _features(angles, labels):
    radians = np.radians(angles)
    values = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype("float32")
    return Features(values, np.array(labels), [str(angle) for angle in angles])


TRAIN = _features([0, 20, 22, 70, 72, 90], [0, 1, 1, 0, 0, 1])


def test_figures_by_hand():
    test = _features([5, 18, 88], [0, 1, 0])
    found = knn.classify(TRAIN, test, [1, 3], logistic_regression=True)
    # The nearest: 0 (class 0), 20 (1), 90 (1).
    assert found.figures["knn_1_top1"].value == pytest.approx(2 / 3)
    assert found.predictions.tolist() == [0, 1, 1]
    # Class 0: one of two right; class 1: one of one.
    assert found.figures["knn_1_mean_class_accuracy"].value == pytest.approx(0.75)
    # Of 88 degrees the three nearest are 90, 72 and 70: classes 1, 0, 0, with cosines 0.9994,
    # 0.9613 and 0.9511; at 0.07 the votes are 1 against 0.580 + 0.501.
    assert found.figures["knn_3_top1"].value == pytest.approx(2 / 3)
    # Of 5 degrees 0, 20 and 22: 0.9962 against 0.9659 and 0.9563: 1 to 0.649 + 0.566.
    assert found.figures["recall_at_1"].value == pytest.approx(2 / 3)
    np.testing.assert_allclose(found.shares, [[1, 0], [0, 1], [0, 1]])  # of the nearest alone
    # Recalls at more than a quarter of the six training videos are omitted.
    assert list(found.figures) == [
        "knn_1_top1",
        "knn_1_mean_class_accuracy",
        "knn_3_top1",
        "knn_3_mean_class_accuracy",
        "recall_at_1",
        "logistic_regression_top1",
        "logistic_regression_mean_class_accuracy",
    ]


def test_shares_of_the_votes_by_hand():
    found = knn.classify(TRAIN, _features([88], [0]), [3, 1])
    votes = np.exp(np.cos(np.radians([2, 16, 18])) / 0.07)  # of 90, 72 and 70 degrees
    expected = [votes[1] + votes[2], votes[0]] / votes.sum()
    np.testing.assert_allclose(found.shares, [expected], rtol=1e-4)
    assert found.predictions.tolist() == [0]


def test_a_logistic_regression_is_fitted_to_the_same_features():
    train = _features([0, 10, 20, 90, 100, 110], [3, 3, 3, 8, 8, 8])
    found = knn.classify(train, _features([5, 95, 15, 15], [3, 8, 3, 8]), [1], True)
    assert found.figures["logistic_regression_top1"].value == 0.75


def test_fewer_videos_than_neighbours_is_named():
    with pytest.raises(InputError, match="has 6 videos, fewer than --num_neighbors=20"):
        knn.classify(TRAIN, TRAIN, [5, 20])
