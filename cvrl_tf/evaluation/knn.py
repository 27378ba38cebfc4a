"""The nearest-neighbour evaluation: weighted votes and retrieval."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.evaluation import bootstrap, linear, metrics, probes
from cvrl_tf.evaluation.bootstrap import Estimate
from cvrl_tf.evaluation.classification import LabelledData
from cvrl_tf.evaluation.features import Features, extract_features
from cvrl_tf.evaluation.probes import Neighbors
from cvrl_tf.evaluation.report import Checkpoint, Result, Views

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
      predictions: (N,) int64, of the first K.
      neighbors: the nearest training videos of each test video.
    """

    train: Features
    test: Features
    num_neighbors: Sequence[int]
    figures: dict[str, Estimate]
    predictions: np.ndarray
    neighbors: Neighbors


def classify(
    train: Features,
    test: Features,
    num_neighbors: Sequence[int] = NUM_NEIGHBORS,
    logistic_regression: bool = False,
) -> KnnResult:
    """Classifies test videos by their neighbours, and by a logistic regression if asked to.

    Args:
      train: labelled features of norm 1.
      test: labelled features of norm 1.
      num_neighbors: how many training videos vote, one or several numbers.
      logistic_regression: whether to fit one too.

    Raises:
      InputError: fewer training videos than neighbours.
    """
    # Recalls that the training videos do not suffice for are left out; votes are an error.
    count = max(*num_neighbors, min(max(metrics.RECALLS), len(train.labels)))
    neighbors = probes.nearest(train, test, count)
    figures, predictions = {}, []
    for k in num_neighbors:
        num_classes = int(train.labels.max()) + 1
        votes = probes.knn_votes(neighbors, train.labels, k, num_classes)
        predictions.append(np.argmax(votes, axis=1))
        figures |= _accuracies(f"knn_{k}", predictions[-1], test.labels)
    figures |= metrics.retrieval_figures(train.labels[neighbors.indices], test.labels)
    if logistic_regression:
        predict = linear.fit_logistic_regression(train.values[:, np.newaxis], train.labels)
        predicted = predict(test.values[:, np.newaxis]).argmax(axis=1)
        figures |= _accuracies("logistic_regression", predicted, test.labels)
    return KnnResult(train, test, num_neighbors, figures, predictions[0], neighbors)


def _accuracies(name: str, predictions: np.ndarray, labels: np.ndarray) -> dict[str, Estimate]:
    hits = predictions == labels
    return {
        f"{name}_top1": bootstrap.mean(hits),
        f"{name}_mean_class_accuracy": bootstrap.class_mean(hits, labels),
    }


def evaluate(
    backbone: keras.Model,
    train: LabelledData,
    test: LabelledData,
    clip: ClipSpec,
    num_clips: int,
    num_crops: int = 1,
    num_neighbors: Sequence[int] = NUM_NEIGHBORS,
    logistic_regression: bool = False,
    description: str = "features of",
) -> KnnResult:
    """Evaluates a backbone as it is now, such as in the middle of its training.

    Args:
      backbone: from clips (N, T, H, W, 3) to features (N, D); run in inference mode.
      train: the videos to learn from.
      test: the videos to classify, of no other classes.
      clip: the clips to be taken.
      num_clips: evenly spaced clips of each video; its feature is the mean over its views.
      num_crops: crops of each, 1 or 3.
      num_neighbors: how many training videos vote, one or several numbers.
      logistic_regression: whether to fit one too.
      description: for the progress bars.

    Raises:
      InputError: as `extract_features` and `classify`.
    """
    features = [
        extract_features(
            backbone,
            data.source,
            data.index,
            clip,
            num_clips,
            num_crops,
            f"{description} {name}",
        )
        for name, data in (("training videos", train), ("test videos", test))
    ]
    return classify(*features, num_neighbors, logistic_regression)


def describe(
    found: KnnResult,
    checkpoint: Checkpoint,
    train: LabelledData,
    test: LabelledData,
    views: Views,
    wall_seconds: float,
) -> Result:
    """The result for `results.json`.

    Args:
      found: by `evaluate`.
      checkpoint: the weights.
      train: the videos that were learnt from.
      test: the videos that were classified.
      views: of each video.
      wall_seconds: of the whole evaluation.
    """
    return Result(
        protocol="knn",
        checkpoint=checkpoint,
        train=train.describe(),
        test=test.describe(),
        views=views,
        settings={
            "num_neighbors": list(found.num_neighbors),
            "temperature": probes.VOTE_TEMPERATURE,
        },
        figures=found.figures,
        wall_seconds=round(wall_seconds, 2),
    )
