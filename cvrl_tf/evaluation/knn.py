"""The nearest-neighbour evaluation: weighted votes and retrieval."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.data.source import Source
from cvrl_tf.evaluation import bootstrap, metrics, probes
from cvrl_tf.evaluation.bootstrap import Estimate
from cvrl_tf.evaluation.features import Features, extract_features
from cvrl_tf.evaluation.probes import Neighbors

NUM_NEIGHBORS = (5, 1, 20)


@dataclasses.dataclass(frozen=True)
class KnnResult:
    """What the evaluation found.

    Attributes:
      figures: `knn_K_top1` and `knn_K_mean_class_accuracy` for each K that votes; `recall_at_K`;
        those of the logistic regression, if it was asked for.
      predictions: (N,) int64, of the first K.
      neighbors: the nearest training videos of each test video.
    """

    figures: dict[str, Estimate]
    predictions: np.ndarray
    neighbors: Neighbors


def classify(
    train: Features,
    test: Features,
    num_neighbors: Sequence[int] = NUM_NEIGHBORS,
    temperature: float = probes.VOTE_TEMPERATURE,
    logistic_regression: bool = False,
) -> KnnResult:
    """Classifies test videos by their neighbours, and by a logistic regression if asked to.

    Args:
      train: labelled features of norm 1.
      test: labelled features of norm 1.
      num_neighbors: how many training videos vote, one or several numbers.
      temperature: of the votes.
      logistic_regression: whether to fit one too.

    Raises:
      InputError: labels that cannot be evaluated (`probes.check_labels`), or fewer training videos
        than neighbours.
    """
    probes.check_labels(train, test)
    # Recalls that the training videos do not suffice for are left out; votes are an error.
    count = max(*num_neighbors, min(max(metrics.RECALLS), len(train.labels)))
    neighbors = probes.nearest(train, test, count)
    figures, predictions = {}, []
    for k in num_neighbors:
        num_classes = int(train.labels.max()) + 1
        votes = probes.knn_votes(neighbors, train.labels, k, num_classes, temperature)
        predictions.append(np.argmax(votes, axis=1))
        figures |= _accuracies(f"knn_{k}", predictions[-1], test.labels)
    figures |= metrics.retrieval_figures(train.labels[neighbors.indices], test.labels)
    if logistic_regression:
        predicted = probes.logistic_regression_predict(train, test)
        figures |= _accuracies("logistic_regression", predicted, test.labels)
    return KnnResult(figures, predictions[0], neighbors)


def _accuracies(name: str, predictions: np.ndarray, labels: np.ndarray) -> dict[str, Estimate]:
    hits = predictions == labels
    return {
        f"{name}_top1": bootstrap.mean(hits),
        f"{name}_mean_class_accuracy": bootstrap.class_mean(hits, labels),
    }


def evaluate(
    backbone: keras.Model,
    train: Source,
    test: Source,
    clip: ClipSpec,
    num_clips: int,
    num_neighbors: Sequence[int] = NUM_NEIGHBORS,
) -> dict[str, Estimate]:
    """The figures of a backbone as it is now, such as in the middle of its training.

    Args:
      backbone: from clips (N, T, H, W, 3) to features (N, D); run in inference mode.
      train: labelled videos, checked with `pipeline.check_shards`.
      test: the same.
      clip: the clips to be taken.
      num_clips: evenly spaced clips of each video; its feature is their mean.
      num_neighbors: how many training videos vote, one or several numbers.

    Raises:
      InputError: as `extract_features` and `classify`.
    """
    features = [
        extract_features(backbone, source, clip, num_clips, description=f"features of {name}")
        for name, source in (("training videos", train), ("test videos", test))
    ]
    return classify(*features, num_neighbors).figures
