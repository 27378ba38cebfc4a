"""Finds test videos that are training videos too: figures on those say little about others."""

import contextlib
import dataclasses

import numpy as np
import tensorflow as tf

from cvrl_tf import progress
from cvrl_tf.conversion import twins
from cvrl_tf.data.labels import RecordLabels
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import PARALLEL_CALLS, steady_options
from cvrl_tf.errors import InputError

MAX_COMPARED = 2000  # videos whose frames are read before an evaluation


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Test videos that are training videos too.

    Attributes:
      ids: test videos with the id of a training video.
      contents: other test videos with the frames of a training video, under another id.
    """

    ids: int = 0
    contents: int = 0

    def __str__(self) -> str:
        return f"{self.ids} by id, {self.contents} by content under another id"


def check(
    train: RecordLabels, test: RecordLabels, names: tuple[str, str], allow: bool = False
) -> Overlap:
    """Counts the test videos that are training videos too, and notes them on stderr.

    Args:
      train: of the training videos that are used.
      test: of the test videos that are used.
      names: what the user gave for both, for messages: "--train_data=records/train-*".
      allow: whether all test videos may be training videos.

    Raises:
      InputError: all test videos are training videos, and `allow` is false.
    """
    known = set(train.ids) - {""}
    by_id = np.array([record_id in known for record_id in test.ids], bool)
    by_content = np.isin(test.contents, train.contents[train.contents != 0]) & ~by_id
    overlap = Overlap(int(by_id.sum()), int(by_content.sum()))
    total, (train_name, test_name) = len(test.ids), names
    if overlap.ids + overlap.contents == total and not allow:
        raise InputError(
            f"All {total} videos of {test_name} are also in {train_name} ({overlap}): the figures"
            " would not hold for other videos. Give test videos that are not trained on, or"
            " --allow_overlap."
        )
    for count, hits, how in (
        (overlap.ids, by_id, "by their ids"),
        (overlap.contents, by_content, "by their frames, under other ids"),
    ):
        if count:
            first = test.ids[int(np.flatnonzero(hits)[0])]
            progress.note(
                f"note: {count} of {total} videos of {test_name} are also in {train_name}, {how}"
                f" (first: '{first}'): figures are higher than on other videos."
            )
    return overlap


def note_twins(
    train: tuple[IndexedSource, RecordLabels],
    test: tuple[IndexedSource, RecordLabels],
    names: tuple[str, str],
) -> list[int]:
    """Notes on stderr how many test videos are nearly equal to training videos, as copies are.

    Those that `check` finds are not counted. Where there are more than `MAX_COMPARED` videos,
    nothing is read: cvrl_tf.inspect_tfrecords compares them.

    Args:
      train: the training videos and what they are labelled.
      test: the test videos and what they are labelled.
      names: as for `check`.

    Returns:
      The numbers of those test videos.
    """
    if len(train[0]) + len(test[0]) > MAX_COMPARED:
        return []
    known, contents = set(train[1].ids) - {""}, set(train[1].contents.tolist()) - {0}
    found: dict[int, twins.Twins] = {}
    for pair in twins.between(signatures(train[0]), signatures(test[0])):
        number = pair.second
        if test[1].ids[number] not in known and int(test[1].contents[number]) not in contents:
            found.setdefault(number, pair)
    if found:
        number = min(found)
        pair = found[number]
        progress.note(
            f"note: {len(found)} of {len(test[0])} videos of {names[1]} are nearly equal to videos"
            f" of {names[0]} (first: '{test[1].ids[number]}', like '{train[1].ids[pair.first]}'"
            f"{', mirrored' if pair.mirrored else ''}): figures are higher than on other videos;"
            " cvrl_tf.split_videos keeps such videos in one split."
        )
    return sorted(found)


def signatures(videos: IndexedSource) -> list[np.ndarray | None]:
    """`twins.signature` of each video; None for one that cannot be read."""

    def needed(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        jpegs = videos.read(number)["frames"]
        parts = (2 * tf.range(twins.FRAMES) + 1) * tf.shape(jpegs)[0] // (2 * twins.FRAMES)
        return number, tf.gather(jpegs, parts)

    found: list[np.ndarray | None] = [None] * len(videos)
    dataset = (
        tf.data.Dataset.range(len(videos))
        .map(needed, num_parallel_calls=PARALLEL_CALLS)
        .ignore_errors()
        .with_options(steady_options())
    )
    for number, jpegs in dataset:
        with contextlib.suppress(ValueError):
            found[int(number)] = twins.signature(jpegs.numpy().tolist())
    return found
