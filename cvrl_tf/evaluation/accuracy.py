"""Figures of a classifier and of retrieval, with their intervals."""

from collections.abc import Sequence

import numpy as np

from cvrl_tf.evaluation import bootstrap
from cvrl_tf.evaluation.bootstrap import Estimate

RECALLS = (1, 5, 10, 20, 50)  # as the field reports for UCF-101 and HMDB-51
RECALL_FRACTION = 4  # recall at k needs 4 * k training videos: more of them have any class
TOP5_CLASSES = 6  # top-5 needs more classes than these


def ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes are before the true one: 0 where it has the highest score.

    Args:
      scores: (N, C), of the classes 0 to C - 1. Of equal scores the lower class is before.
      labels: (N,) integers, class indices.

    Returns:
      (N,) integers in [0, C - 1].
    """
    labels = np.asarray(labels)[:, None]
    own = np.take_along_axis(scores, labels, axis=1)
    before = (scores == own) & (np.arange(scores.shape[1]) < labels)
    return np.count_nonzero((scores > own) | before, axis=1)


def classification_figures(scores: np.ndarray, labels: np.ndarray) -> dict[str, Estimate]:
    """Top-1, top-5 and mean class accuracy.

    Top-5 is omitted for six classes or fewer, where almost any prediction has it.

    Args:
      scores: (N, C), of the classes 0 to C - 1; the highest is the prediction. Probabilities, votes
        or logits: only their order counts.
      labels: (N,) integers, class indices.

    Returns:
      `top1`, `top5` and `mean_class_accuracy`, the mean over the classes that have test videos.
    """
    position = ranks(scores, labels)
    figures = {"top1": bootstrap.mean(position < 1)}
    if scores.shape[1] > TOP5_CLASSES:
        figures["top5"] = bootstrap.mean(position < 5)
    return figures | {"mean_class_accuracy": bootstrap.class_mean(position < 1, labels)}


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of test videos, (C, C) int64: rows are true classes, columns predicted ones.

    Args:
      predictions: (N,) integers in [0, C - 1].
      labels: (N,) integers in [0, C - 1].
      num_classes: C.
    """
    cells = np.asarray(labels) * num_classes + np.asarray(predictions)
    counts = np.bincount(cells, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def baselines(train_labels: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracies that need no network, to compare others with.

    Args:
      train_labels: (M,) integers, class indices of the training videos.
      labels: (N,) integers, class indices of the test videos.

    Returns:
      `chance`, of a class drawn at random for each video, and `majority_class`, of the most
      frequent training class for all videos.
    """
    classes, counts = np.unique(train_labels, return_counts=True)
    majority = classes[counts.argmax()]
    return {
        "chance": 1 / len(classes),
        "majority_class": float(np.mean(np.asarray(labels) == majority)),
    }


def recalls(num_videos: int) -> list[int]:
    """The k of `RECALLS` that say something for this number of training videos.

    The nearest training video counts always.
    """
    return [k for k in RECALLS if k == 1 or RECALL_FRACTION * k <= num_videos]


def retrieval_hits(
    neighbor_labels: np.ndarray, labels: np.ndarray, counts: Sequence[int]
) -> dict[int, np.ndarray]:
    """Whether any of the k nearest training videos has the class of the query.

    Args:
      neighbor_labels: (N, K) integers, classes of the nearest training videos, the nearest first.
      labels: (N,) integers, classes of the queries.
      counts: the k; those above K are omitted.

    Returns:
      For each k (N,) bool.

    Source: Büchler et al., ECCV 2018; Xu et al., CVPR 2019 (retrieval on UCF-101 and HMDB-51).
    """
    same = neighbor_labels == np.asarray(labels)[:, None]
    return {k: same[:, :k].any(axis=1) for k in counts if k <= neighbor_labels.shape[1]}


def retrieval_figures(
    neighbor_labels: np.ndarray, labels: np.ndarray, counts: Sequence[int]
) -> dict[str, Estimate]:
    """Retrieval recall, `recall_at_K` for each k; arguments as for `retrieval_hits`."""
    hits = retrieval_hits(neighbor_labels, labels, counts)
    return {f"recall_at_{k}": bootstrap.mean(values) for k, values in hits.items()}
