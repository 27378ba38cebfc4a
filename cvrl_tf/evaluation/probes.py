"""Classifiers on fixed features: nearest neighbours and logistic regression."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cvrl_tf.errors import InputError
from cvrl_tf.evaluation.features import Features

NEIGHBORS = 5  # suits some hundred videos; 20 and more suit many thousands
VOTE_TEMPERATURE = 0.07
CHUNK = 1024  # test videos compared with all training videos at a time


def check_labels(train: Features, test: Features) -> None:
    """Checks that a classifier can be trained and tested.

    Raises:
      InputError: fewer than two classes in `train`, or a class of `test` that `train` lacks.
    """
    train_classes, test_classes = set(train.labels.tolist()), set(test.labels.tolist())
    if len(train_classes) < 2:
        raise InputError(
            f"--train_data has {len(train_classes)} class, expected two or more: give labelled"
            " records of several classes."
        )
    if test_classes - train_classes:
        raise InputError(
            f"--test_data has the classes {sorted(test_classes - train_classes)} that --train_data"
            " lacks: convert both with the same class list."
        )


def knn_predict(
    train: Features,
    test: Features,
    num_neighbors: int = NEIGHBORS,
    temperature: float = VOTE_TEMPERATURE,
) -> np.ndarray:
    """Weighted k-nearest-neighbour votes: each neighbour votes exp(cosine / temperature).

    Args:
      train: labelled features of norm 1.
      test: features of norm 1.
      num_neighbors: voters for each test video.
      temperature: of the votes.

    Returns:
      (N,) int64, the predicted class of each test video.

    Raises:
      InputError: fewer training videos than neighbours.

    Source: Wu et al., CVPR 2018 (the field's weighted k-NN protocol).
    """
    if len(train.labels) < num_neighbors:
        raise InputError(
            f"--train_data has {len(train.labels)} videos, fewer than --num_neighbors="
            f"{num_neighbors}: lower --num_neighbors."
        )
    classes, indices = np.unique(train.labels, return_inverse=True)
    predictions = []
    for first in range(0, len(test.labels), CHUNK):
        cosines = test.values[first : first + CHUNK] @ train.values.T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :num_neighbors]
        # The nearest has weight 1: large cosines over a small temperature would overflow.
        best = np.take_along_axis(cosines, nearest[:, :1], axis=1)
        weights = np.exp((np.take_along_axis(cosines, nearest, axis=1) - best) / temperature)
        votes = np.zeros((len(cosines), len(classes)))
        np.add.at(votes, (np.arange(len(cosines))[:, None], indices[nearest]), weights)
        predictions.append(classes[np.argmax(votes, axis=1)])
    return np.concatenate(predictions)


def logistic_regression_predict(train: Features, test: Features) -> np.ndarray:
    """Multinomial logistic regression on standardised features, scikit-learn's with C = 1.

    Args:
      train: labelled features.
      test: features.

    Returns:
      (N,) int64, the predicted class of each test video.
    """
    scaler = StandardScaler().fit(train.values)
    classifier = LogisticRegression(max_iter=2000)
    with warnings.catch_warnings():
        # 2000 iterations that have not converged to 1e-4 classify as well as more would.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(scaler.transform(train.values), train.labels)
    return classifier.predict(scaler.transform(test.values))


def top1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The share in [0, 1] of the (N,) predictions that equal the (N,) labels."""
    return float(np.mean(predictions == labels))
