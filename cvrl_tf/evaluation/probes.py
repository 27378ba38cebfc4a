"""Nearest neighbours among fixed features, and their votes."""

import dataclasses

import numpy as np
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.evaluation.features import Features

VOTE_TEMPERATURE = 0.07
# Videos whose features and cosines are in memory at a time: 0.4 GB with 2048 features.
TRAIN_ROWS, TEST_ROWS = 2**13, 2**12


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

    They are compared in blocks, so that memory does not grow with the number of videos beyond that
    of the features and of the result. Features may be mapped from a file, as float16 too; cosines
    are computed in float32.

    Args:
      train: features of norm 1.
      test: features of norm 1.
      count: K. Of equally near ones the earlier is nearer.

    Raises:
      InputError: fewer training videos than `count`.
    """
    check_number(len(train.values), count)
    number = len(test.values)
    found = Neighbors(np.empty((number, count), np.int64), np.empty((number, count), np.float32))
    for first in range(0, number, TEST_ROWS):
        part = slice(first, first + TEST_ROWS)
        queries = test.values[part].astype(np.float32, copy=False)
        found.indices[part], found.cosines[part] = _nearest_of(queries, train.values, count)
    return found


def _nearest_of(queries: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and cosines, (n, count), of the rows nearest to each of n queries."""
    indices = np.empty((len(queries), 0), np.int64)
    cosines = np.empty((len(queries), 0), np.float32)
    for first in range(0, len(rows), TRAIN_ROWS):
        block = rows[first : first + TRAIN_ROWS].astype(np.float32, copy=False)
        more, places = _largest(queries @ block.T, count)
        # Of equal values the first are kept: those of earlier blocks.
        cosines, kept = _largest(np.concatenate([cosines, more], axis=1), count)
        indices = np.concatenate([indices, first + places], axis=1)
        indices = np.take_along_axis(indices, kept, axis=1)
    return indices, cosines


def _largest(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest values of each row, or all, and their places; of equal ones the first."""
    with tf.device("CPU:0"):
        found = tf.math.top_k(values, min(count, values.shape[1]), index_type=tf.int64)
    return found.values.numpy(), found.indices.numpy()


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
