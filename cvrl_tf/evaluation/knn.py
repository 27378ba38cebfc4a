"""The nearest-neighbour evaluation: weighted votes and retrieval."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from cvrl_tf.evaluation import accuracy, bootstrap, linear, probes
from cvrl_tf.evaluation.bootstrap import Estimate
from cvrl_tf.evaluation.classification import Task
from cvrl_tf.evaluation.features import Features, extract_features
from cvrl_tf.evaluation.probes import Neighbors
from cvrl_tf.evaluation.report import Checkpoint, Result
from cvrl_tf.evaluation.views import EvaluationViews

PROTOCOL = "knn"
NUM_NEIGHBORS = (5, 1, 20)  # 5 suits some hundred videos; 20 and more suit many thousands


@dataclasses.dataclass(frozen=True)
class KnnResult:
    """What the evaluation found.

    Attributes:
      train: the labelled features that vote.
      test: those that are classified.
      num_neighbors: how many of the nearest vote, one or several numbers.
      figures: `knn_K_top1` and `knn_K_mean_class_accuracy` for each K that votes; `recall_at_K`;
        those of the logistic regression, if it was asked for.
      shares: (N, C) float64, of the votes of the first K for each class; they sum to 1.
      neighbors: the nearest training videos of each test video.
    """

    train: Features
    test: Features
    num_neighbors: Sequence[int]
    figures: dict[str, Estimate]
    shares: np.ndarray
    neighbors: Neighbors

    @property
    def predictions(self) -> np.ndarray:
        """(N,) int64, the predicted classes of the first K."""
        return self.shares.argmax(axis=1)


def classify(
    train: Features,
    test: Features,
    num_neighbors: Sequence[int] = NUM_NEIGHBORS,
    logistic_regression: bool = False,
) -> KnnResult:
    """Classifies test videos by their neighbours, and optionally by a logistic regression.

    Args:
      train: labelled features of norm 1.
      test: labelled features of norm 1.
      num_neighbors: how many training videos vote, one or several numbers.
      logistic_regression: whether to fit one too.

    Raises:
      InputError: fewer training videos than neighbours.
    """
    recalls = accuracy.recalls(len(train.labels))
    # The page shows neighbours, whether or not they vote.
    count = max(*num_neighbors, min(max(accuracy.RECALLS), len(train.labels)))
    neighbors = probes.nearest(train, test, count)
    figures: dict[str, Estimate] = {}
    shares = []
    for k in num_neighbors:
        num_classes = int(train.labels.max()) + 1
        votes = probes.knn_votes(neighbors, train.labels, k, num_classes)
        shares.append(votes / votes.sum(axis=1, keepdims=True))
        figures |= _accuracies(f"knn_{k}", shares[-1].argmax(axis=1), test.labels)
    figures |= accuracy.retrieval_figures(train.labels[neighbors.indices], test.labels, recalls)
    if logistic_regression:
        classifier = linear.fit_logistic_regression(train.values[:, np.newaxis], train.labels)
        predicted = linear.predict(classifier, test.values[:, np.newaxis]).argmax(axis=1)
        figures |= _accuracies("logistic_regression", predicted, test.labels)
    return KnnResult(train, test, num_neighbors, figures, shares[0], neighbors)


def _accuracies(name: str, predictions: np.ndarray, labels: np.ndarray) -> dict[str, Estimate]:
    hits = predictions == labels
    return {
        f"{name}_top1": bootstrap.mean(hits),
        f"{name}_mean_class_accuracy": bootstrap.class_mean(hits, labels),
    }


def evaluate(
    backbone: keras.Model,
    task: Task,
    views: EvaluationViews,
    num_neighbors: Sequence[int] = NUM_NEIGHBORS,
    logistic_regression: bool = False,
    description: str = "features of",
) -> KnnResult:
    """Evaluates a backbone with its current weights, also in the middle of its training.

    Args:
      backbone: from clips (N, T, H, W, 3) to features (N, D); run in inference mode.
      task: the training videos, and the test videos to classify.
      views: the views of each video; its feature is the mean over them.
      num_neighbors: how many training videos vote, one or several numbers.
      logistic_regression: whether to fit one too.
      description: of the progress bars.

    Raises:
      InputError: as `extract_features` and `classify`.
    """
    train, test = (
        extract_features(backbone, data.videos, views, f"{description} {name}")
        for name, data in (("training videos", task.train), ("test videos", task.test))
    )
    return classify(train, test, num_neighbors, logistic_regression)


def describe(
    found: KnnResult,
    checkpoint: Checkpoint,
    task: Task,
    views: EvaluationViews,
    wall_seconds: float,
) -> Result:
    """The result for `results.json`.

    Args:
      found: by `evaluate`.
      checkpoint: the weights.
      task: the videos of `found`.
      views: of each video.
      wall_seconds: of the whole evaluation.
    """
    return Result(
        protocol=PROTOCOL,
        checkpoint=checkpoint,
        train=task.train.describe(),
        test=task.test.describe(),
        overlap=task.overlap,
        views=views,
        settings={
            "num_neighbors": list(found.num_neighbors),
            "temperature": probes.VOTE_TEMPERATURE,
        },
        figures=found.figures,
        wall_seconds=wall_seconds,
        baselines=accuracy.baselines(found.train.labels, found.test.labels),
        predictions=task.predictions(found.shares),
    )
