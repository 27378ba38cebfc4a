"""Nearest neighbours among fixed features, and their votes."""

import dataclasses

import numpy as np

from cvrl_tf.errors import InputError
from cvrl_tf.evaluation.features import Features

VOTE_TEMPERATURE = 0.07
COSINES = 2**25  # of test videos with all training videos, in memory at a time


def check_number(num_videos: int, num_neighbors: int) -> None:
    """Raises InputError if there are fewer training videos than neighbours."""
    if num_videos < num_neighbors:
        raise InputError(
            f"--train_data has {num_videos} videos, fewer than --num_neighbors={num_neighbors}:"
            " lower --num_neighbors."
        )


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """The nearest training videos of N test videos, the nearest first.

    Attributes:
      indices: (N, K) int64, rows of the training features.
      cosines: (N, K) float32, similarities in [-1, 1].
    """

    indices: np.ndarray
    cosines: np.ndarray


def nearest(train: Features, test: Features, count: int) -> Neighbors:
    """Finds the nearest training videos of each test video.

    Args:
      train: features of norm 1.
      test: features of norm 1.
      count: K. Of equally near ones among them the earlier comes first.

    Raises:
      InputError: fewer training videos than `count`.
    """
    check_number(len(train.values), count)
    chunk = max(1, COSINES // len(train.values))
    indices, cosines = [], []
    for first in range(0, len(test.values), chunk):
        rows = test.values[first : first + chunk] @ train.values.T
        found = np.argpartition(-rows, count - 1, axis=1)[:, :count]
        found.sort(axis=1)
        order = np.argsort(-np.take_along_axis(rows, found, axis=1), axis=1, kind="stable")
        indices.append(np.take_along_axis(found, order, axis=1))
        cosines.append(np.take_along_axis(rows, indices[-1], axis=1))
    return Neighbors(np.concatenate(indices), np.concatenate(cosines))


def knn_votes(
    neighbors: Neighbors,
    train_labels: np.ndarray,
    num_neighbors: int,
    num_classes: int,
    temperature: float = VOTE_TEMPERATURE,
) -> np.ndarray:
    """Weighted k-nearest-neighbour votes: each neighbour votes exp(cosine / temperature).

    Args:
      neighbors: at least `num_neighbors` of each test video.
      train_labels: (M,) integers, class indices.
      num_neighbors: voters for each test video.
      num_classes: C, above all labels.
      temperature: of the votes.

    Returns:
      (N, C) float64, the votes of each test video, as multiples of that of its nearest neighbour.

    Source: Wu et al., CVPR 2018 (the field's weighted k-NN protocol).
    """
    cosines = neighbors.cosines[:, :num_neighbors].astype(np.float64)
    # The nearest has weight 1: large cosines over a small temperature would overflow.
    weights = np.exp((cosines - cosines[:, :1]) / temperature)
    votes = np.zeros((len(cosines), num_classes))
    classes = train_labels[neighbors.indices[:, :num_neighbors]]
    np.add.at(votes, (np.arange(len(cosines))[:, None], classes), weights)
    return votes
