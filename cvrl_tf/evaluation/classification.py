"""What the supervised evaluations share: labelled data, the test on many views, its result."""

import dataclasses
from typing import Any

import numpy as np

from cvrl_tf.data import checks, subset
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.labels import RecordLabels, check_classes, read_labels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.evaluation import accuracy, class_names, overlap, report
from cvrl_tf.evaluation.inference import Computation, map_records
from cvrl_tf.evaluation.overlap import Overlap
from cvrl_tf.evaluation.predictions import Predictions
from cvrl_tf.evaluation.report import Checkpoint, Result
from cvrl_tf.evaluation.views import EvaluationViews


@dataclasses.dataclass(frozen=True)
class LabelledData:
    """Labelled records, checked.

    Attributes:
      videos: the records.
      labels: of all of them, in their order.
      ids_file: the list of ids that chose them; empty where they are all records.
    """

    videos: IndexedSource
    labels: RecordLabels
    ids_file: str = ""

    def describe(self) -> report.Data:
        """For the result."""
        return report.describe_data(
            self.videos.name, self.labels.ids, self.labels.labels, self.ids_file
        )

    def restrict(self, ids_file: str) -> "LabelledData":
        """Those that a list of ids names; raises as `subset.read_ids` and `subset.restrict`."""
        chosen = subset.read_ids(ids_file)
        return LabelledData(*subset.restrict(self.videos, self.labels, chosen), ids_file)


@dataclasses.dataclass(frozen=True)
class Task:
    """Training videos, test videos, and their classes.

    Attributes:
      train: the training videos.
      test: the test videos.
      class_names: of the C classes: all labels up to the largest of `train`.
      overlap: test videos that are training videos too.
      validation: videos that select the weights; None for none.
    """

    train: LabelledData
    test: LabelledData
    class_names: list[str]
    overlap: Overlap = Overlap()
    validation: LabelledData | None = None

    @property
    def num_classes(self) -> int:
        """C, the number of outputs of a classifier."""
        return len(self.class_names)

    def subject(self, protocol: str, views: EvaluationViews, weights: str = "") -> report.Subject:
        """What an evaluation on these videos is of; arguments as of `report.Subject`."""
        return report.Subject(protocol, self.train.describe(), self.test.describe(), views, weights)

    def predictions(self, probabilities: np.ndarray) -> Predictions:
        """For the test videos, with probabilities (N, C) in the order of their records."""
        labels = self.test.labels
        return Predictions(labels.ids, probabilities, self.class_names, labels.labels)


@dataclasses.dataclass(frozen=True)
class DataChoice:
    """Labelled videos that the user chose, and what clips are taken of them.

    Attributes:
      name: what `lookup.find_source` takes.
      flag: name of the flag that holds it, for messages.
      clip: the clips to be taken.
      ids_file: text file with the ids of the records to use; all when empty.
      enlarge: whether frames smaller than the clip are enlarged or refused.
    """

    name: str
    flag: str
    clip: ClipSpec
    ids_file: str = ""
    enlarge: bool = False

    def __str__(self) -> str:
        return f"--{self.flag}={self.name}"

    def read(self) -> LabelledData:
        """Finds the records and reads their labels; some may have none.

        Raises:
          InputError: as `lookup.find_source`, `checks.check_shards` and `LabelledData.restrict`.
        """
        source = find_source(self.name, self.flag)
        videos = checks.check_shards(source, self.clip, self.enlarge)
        data = LabelledData(videos, read_labels(videos))
        return data.restrict(self.ids_file) if self.ids_file else data


def read_task(train: DataChoice, test: DataChoice, allow_overlap: bool = False) -> Task:
    """Finds and checks labelled records before any long work.

    Args:
      train: the training videos.
      test: the test videos.
      allow_overlap: whether all test videos may be training videos.

    Raises:
      InputError: as `DataChoice.read`, `labels.check_classes`, `class_names.check_same` and
        `overlap.check`.
    """
    train_data, test_data = train.read(), test.read()
    class_names.check_same(train.name, test.name, (train.flag, test.flag))
    labels, test_labels = train_data.labels, test_data.labels
    num_classes = check_classes(train.name, labels, test.name, test_labels)
    both = str(train), str(test)
    shared = overlap.check(labels, test_labels, both, allow_overlap)
    overlap.note_twins((train_data.videos, labels), (test_data.videos, test_labels), both)
    names = class_names.name_all(class_names.read(train.name), num_classes)
    return Task(train_data, test_data, names, shared)


def predict(
    probabilities: Computation,
    data: LabelledData,
    views: EvaluationViews,
    description: str = "testing",
) -> np.ndarray:
    """The mean over the views of each video of its class probabilities.

    Args:
      probabilities: (n, C) float32 of clips.
      data: the N videos.
      views: the views of each video.
      description: of the progress bar.

    Returns:
      (N, C) float32, in the order of the records.

    Raises:
      InputError: a record that cannot be read.

    Source: paper section 4.2.
    """
    videos = map_records(probabilities, data.videos, views, description)
    return np.stack([video.values.mean(axis=0) for video in videos])


def describe(
    task: Task,
    probabilities: np.ndarray,
    checkpoint: Checkpoint,
    views: EvaluationViews,
    **about: Any,
) -> Result:
    """The result of a classifier.

    Args:
      task: the data.
      probabilities: (N, C) of the test videos, in the order of their records.
      checkpoint: the weights that were tested.
      views: of each test video.
      **about: `protocol`, `settings` and `wall_seconds` of `report.Result`.
    """
    return Result(
        checkpoint=checkpoint,
        train=task.train.describe(),
        test=task.test.describe(),
        overlap=task.overlap,
        views=views,
        figures=accuracy.classification_figures(probabilities, task.test.labels.labels),
        baselines=accuracy.baselines(task.train.labels.labels, task.test.labels.labels),
        predictions=task.predictions(probabilities),
        **about,
    )
