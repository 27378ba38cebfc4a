"""Videos with their predicted classes as one HTML file, in which they play."""

from typing import Any

import numpy as np

from cvrl_tf import pages
from cvrl_tf.evaluation import thumbnails
from cvrl_tf.evaluation.classifier import Classifier
from cvrl_tf.evaluation.extraction import Records, VideoFiles
from cvrl_tf.evaluation.predictions import Predictions
from cvrl_tf.evaluation.views import EvaluationViews

SHOWN = 120  # videos at most
LISTED = 3  # classes of each video, the most probable ones
SEED = 0


def render(
    classifier: Classifier,
    predictions: Predictions,
    videos: Records | VideoFiles,
    views: EvaluationViews,
) -> str:
    """Renders a self-contained page: videos by predicted class, the most certain first.

    Of more than `SHOWN` videos as many are drawn at random.

    Args:
      classifier: that predicted.
      predictions: for N videos.
      videos: those, to take thumbnails of.
      views: of each video.
    """
    rows = choose(len(predictions.ids))
    strips = videos.strips(rows.tolist(), predictions.ids, views.clip)
    classes, names = predictions.classes, predictions.class_names

    def describe(row: int) -> dict[str, Any]:
        probabilities = predictions.probabilities[row]
        best = np.argsort(-probabilities, kind="stable")[:LISTED]
        return {
            "key": f"video{row}" if row in strips else "",
            "id": predictions.ids[row],
            "classes": [(names[label], float(probabilities[label])) for label in best],
        }

    certainty = predictions.probabilities[rows].max(axis=1)
    ordered = rows[np.argsort(-certainty, kind="stable")]
    counts = predictions.counts
    groups = [
        (name, count, [describe(int(row)) for row in ordered if names[classes[row]] == name])
        for name, count in counts.items()
    ]
    return pages.render(
        "cvrl_tf.evaluation",
        "predictions.html",
        title=classifier.title,
        path=classifier.origin.checkpoint,
        views=str(views),
        groups=groups,
        num_videos=len(predictions.ids),
        num_shown=len(rows),
        seed=SEED,
        **thumbnails.template_values(
            {f"video{row}": strip for row, strip in strips.items()}, views
        ),
    )


def choose(num_videos: int) -> np.ndarray:
    """The numbers of the videos on the page, ascending."""
    if num_videos <= SHOWN:
        return np.arange(num_videos)
    return np.sort(np.random.default_rng(SEED).permutation(num_videos)[:SHOWN])
