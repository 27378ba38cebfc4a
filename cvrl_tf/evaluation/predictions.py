"""What a classifier predicted for each video: the rows of `predictions.csv`."""

import csv
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from cvrl_tf.evaluation import accuracy
from cvrl_tf.text import counted

PREDICTIONS_FILE = "predictions.csv"
SUMMARY_CLASSES = 8  # that a summary lists


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a classifier predicted for N videos.

    Attributes:
      ids: N ids.
      probabilities: (N, C) floats, of each class; shares of the votes for nearest neighbours.
      class_names: of the C classes.
      labels: (N,) integers, the true classes; None where they are not known.
    """

    ids: Sequence[str]
    probabilities: np.ndarray
    class_names: Sequence[str]
    labels: np.ndarray | None = None

    @property
    def classes(self) -> np.ndarray:
        """(N,) integers, the predicted classes: those of the highest probabilities."""
        return self.probabilities.argmax(axis=1)

    @property
    def confusion(self) -> np.ndarray:
        """(C, C) counts, see `accuracy.confusion_matrix`; `labels` are known."""
        assert self.labels is not None
        return accuracy.confusion_matrix(self.classes, self.labels, len(self.class_names))

    @property
    def counts(self) -> dict[str, int]:
        """How many videos each class is predicted for, the most frequent first."""
        counts = np.bincount(self.classes, minlength=len(self.class_names))
        order = np.argsort(-counts, kind="stable")
        return {self.class_names[label]: int(counts[label]) for label in order if counts[label]}

    def summary(self) -> str:
        """The counts in a line."""
        shown = [f"{name} {count}" for name, count in self.counts.items()]
        more = f" and {len(shown) - SUMMARY_CLASSES} more classes" * (len(shown) > SUMMARY_CLASSES)
        return f"{counted(len(self.ids), 'video')}: {', '.join(shown[:SUMMARY_CLASSES])}{more}"

    def as_csv(self) -> str:
        """A header, then a row for each video.

        Columns: `id`; `true`, if the labels are known; `predicted`; and the probability of each
        class under its name. A class that has the name of another column gets " (class)" after it.
        """
        fixed = ["id", *(["true"] if self.labels is not None else []), "predicted"]
        names = [f"{name} (class)" if name in fixed else name for name in self.class_names]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*fixed, *names])
        for number, (video_id, row) in enumerate(zip(self.ids, self.probabilities, strict=True)):
            true = [] if self.labels is None else [self.class_names[self.labels[number]]]
            predicted = self.class_names[row.argmax()]
            writer.writerow([video_id, *true, predicted, *(f"{value:.7g}" for value in row)])
        return text.getvalue()
