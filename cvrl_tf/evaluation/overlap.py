"""Finds test videos that are training videos too: figures on those say little about others."""

import dataclasses

import numpy as np

from cvrl_tf import progress
from cvrl_tf.data.labels import RecordLabels
from cvrl_tf.errors import InputError


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
