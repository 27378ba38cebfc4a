"""Test videos and their nearest training videos as one HTML file, in which they play."""

import dataclasses
from typing import Any

import numpy as np

from cvrl_tf import pages
from cvrl_tf.evaluation import report, thumbnails
from cvrl_tf.evaluation.classification import Task
from cvrl_tf.evaluation.features import Features
from cvrl_tf.evaluation.knn import KnnResult
from cvrl_tf.evaluation.report import Result

RANDOM_QUERIES = 12
WRONG_QUERIES = 12  # at most, beside the random ones
SHOWN = 5  # neighbours of each
SEED = 0


@dataclasses.dataclass(frozen=True)
class _Video:
    """A video on the page: `key` names its strip."""

    key: str
    id: str
    name: str


def render(result: Result, found: KnnResult, task: Task) -> str:
    """Renders some queries with their neighbours as one self-contained page of some 2 MB.

    Random queries show typical cases; more incorrectly classified ones follow.

    Args:
      result: the figures and what they describe.
      found: predictions and neighbours.
      task: the videos of `found`, in the same order.
    """
    train, test, names = found.train, found.test, task.class_names
    clip = result.views.clip
    queries, num_random = choose(found.predictions == test.labels)
    neighbors = found.neighbors.indices[:, :SHOWN]
    strips = {
        f"{prefix}{number}": strip
        for prefix, data, numbers in (
            ("test", task.test, queries),
            ("train", task.train, np.unique(neighbors[queries])),
        )
        for number, strip in thumbnails.read_strips(data.videos, numbers.tolist(), clip).items()
    }

    def video(prefix: str, features: Features, number: int) -> _Video:
        name = names[features.labels[number]]
        return _Video(f"{prefix}{number}", features.ids[number], name)

    def describe(number: int) -> dict[str, Any]:
        return {
            "video": video("test", test, number),
            "right": bool(found.predictions[number] == test.labels[number]),
            "predicted": names[found.predictions[number]],
            "neighbors": [
                {
                    "video": video("train", train, neighbor),
                    "same": bool(train.labels[neighbor] == test.labels[number]),
                    "cosine": float(cosine),
                }
                for neighbor, cosine in zip(
                    neighbors[number], found.neighbors.cosines[number], strict=False
                )
            ],
        }

    checkpoint = result.checkpoint
    return pages.render(
        "cvrl_tf.evaluation",
        "neighbors.html",
        title=checkpoint.title,
        path=checkpoint.path or "",
        test=str(result.test),
        train=str(result.train),
        figures=report.figure_rows(result),
        views=str(result.views),
        k=found.num_neighbors[0],
        shown=neighbors.shape[1],
        queries=[describe(int(number)) for number in queries],
        num_random=num_random,
        num_test=len(test.labels),
        num_wrong=int(np.sum(found.predictions != test.labels)),
        seed=SEED,
        **thumbnails.template_values(strips, result.views),
    )


def choose(right: np.ndarray) -> tuple[np.ndarray, int]:
    """Chooses the queries of the page.

    Args:
      right: (N,) bool, whether each test video is classified correctly.

    Returns:
      The numbers of the queries, and how many of them, the first, are drawn among all; the others
      are drawn among the remaining wrong ones.
    """
    order = np.random.default_rng(SEED).permutation(len(right))
    drawn, others = order[:RANDOM_QUERIES], order[RANDOM_QUERIES:]
    return np.concatenate([drawn, others[~right[others]][:WRONG_QUERIES]]), len(drawn)
