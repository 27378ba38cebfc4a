"""Confidence intervals: percentiles over resampled test videos."""

import dataclasses
from collections.abc import Callable

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
SEED = 0
_CHUNK_ELEMENTS = 2**22  # resampled videos in memory at a time


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure of test videos: its value, and the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def mean(values: np.ndarray, seed: int = SEED) -> Estimate:
    """The mean over videos, such as top-1 accuracy of hits.

    Args:
      values: (N,) bool or float, one for each test video.
      seed: of the resampling; for videos in the same order it is the same for every figure.

    Source: Efron's percentile method.
    """
    values = np.asarray(values, np.float64)
    return _estimate(lambda counts: counts @ values / len(values), len(values), seed)


def class_mean(values: np.ndarray, labels: np.ndarray, seed: int = SEED) -> Estimate:
    """The mean over classes of the mean over the videos of each, such as mean class accuracy.

    The mean of a resample excludes classes without videos in it.

    Args:
      values: (N,) bool or float, one for each test video.
      labels: (N,) integers, class indices.
      seed: as for `mean`.
    """
    members = (np.asarray(labels)[:, None] == np.unique(labels)).astype(np.float64)
    weighted = members * np.asarray(values, np.float64)[:, None]

    def statistic(counts: np.ndarray) -> np.ndarray:
        sizes, sums = counts @ members, counts @ weighted
        return np.sum(sums / np.maximum(sizes, 1), axis=1) / np.count_nonzero(sizes, axis=1)

    return _estimate(statistic, len(members), seed)


def _estimate(
    statistic: Callable[[np.ndarray], np.ndarray], num_videos: int, seed: int
) -> Estimate:
    """Args: statistic: from how often each video is drawn, (R, N), to the figures (R,)."""
    random = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_ELEMENTS // num_videos)
    figures = []
    for first in range(0, RESAMPLES, chunk):
        rows = min(chunk, RESAMPLES - first)
        drawn = random.integers(num_videos, size=(rows, num_videos))
        drawn += num_videos * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * num_videos)
        figures.append(statistic(counts.reshape(rows, num_videos).astype(np.float64)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(figures), [tail, 1 - tail])
    value = statistic(np.ones((1, num_videos)))[0]
    return Estimate(float(value), float(low), float(high))
