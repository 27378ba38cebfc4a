"""Validation videos of a supervised evaluation: given, or held out of the training videos."""

import dataclasses

import numpy as np

from cvrl_tf import progress
from cvrl_tf.data import subset
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.groups import groups_of
from cvrl_tf.data.labels import check_classes
from cvrl_tf.evaluation import class_names, overlap
from cvrl_tf.evaluation.classification import DataChoice, LabelledData, Task
from cvrl_tf.evaluation.inference import Computation, OmittedRecords, map_records
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import Validation


def add(task: Task, validation: Validation, clip: ClipSpec, seed: int) -> Task:
    """The same task with validation videos, if there are to be any.

    Args:
      task: its training videos lose those that are held out.
      validation: which videos validate.
      clip: the clips to take of them.
      seed: of the choice of those that are held out.

    Raises:
      InputError: there are no such videos, their labels do not fit, or a class would be left
        without a training or validation video.
    """
    if validation.validation_data:
        return dataclasses.replace(task, validation=_given(task, validation, clip))
    if not validation.validation_fraction:
        return task
    train, name = task.train, task.train.videos.name
    subset.check(name, train.labels.ids, train.labels.labels)
    groups = train.labels.ids
    if validation.group_pattern:
        groups = groups_of(train.labels.ids, validation.group_pattern)
    classes = [task.class_names[label] for label in train.labels.labels]
    held = subset.hold_out(groups, classes, validation.validation_fraction, seed)
    kept = np.setdiff1d(np.arange(len(train.videos)), held)
    progress.note(f"validation: {len(held)} of {len(train.videos)} videos of {name} are held out")
    return dataclasses.replace(
        task, train=_selected(train, kept), validation=_selected(train, held)
    )


def accuracy(
    probabilities: Computation,
    data: LabelledData,
    views: EvaluationViews,
    omitted: OmittedRecords,
) -> float | None:
    """The top-1 accuracy on validation videos, of the mean probabilities over the views.

    Args:
      probabilities: as of `classification.predict`.
      data: the videos.
      views: the views of each video.
      omitted: gets the records that cannot be read.

    Returns:
      In [0, 1], of the videos that can be read; None if none can.
    """
    found = map_records(probabilities, data.videos, views, "validating", omitted=omitted)
    labels = data.labels.labels
    hits = [video.values.mean(axis=0).argmax() == labels[video.number] for video in found]
    return float(np.mean(hits)) if hits else None


def _selected(data: LabelledData, numbers: np.ndarray) -> LabelledData:
    return dataclasses.replace(
        data, videos=data.videos.select(numbers), labels=data.labels.select(numbers)
    )


def _given(task: Task, validation: Validation, clip: ClipSpec) -> LabelledData:
    """The videos that the user named, checked against those of training and test."""
    choice = DataChoice(validation.validation_data, "validation_data", clip, enlarge=True)
    data, train = choice.read(), task.train
    class_names.check_same(train.videos.name, choice.name, ("train_data", choice.flag))
    check_classes(train.videos.name, train.labels, choice.name, data.labels)
    names = f"--train_data={train.videos.name}", str(choice)
    overlap.check(train.labels, data.labels, names)
    overlap.note_twins((train.videos, train.labels), (data.videos, data.labels), names)
    shared = set(data.labels.ids) & set(task.test.labels.ids) - {""}
    if shared:
        progress.note(
            f"note: {len(shared)} of {len(task.test.labels.ids)} test videos are validation videos"
            " too, by id: their accuracy is too high, because they select the weights."
        )
    if len(data.videos) > len(train.videos):
        progress.note(
            f"note: there are more validation videos ({len(data.videos)}) than training videos"
            f" ({len(train.videos)}): are --train_data and --validation_data exchanged?"
        )
    return data
