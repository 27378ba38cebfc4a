"""What training and evaluation read: TFRecords in the layout of `records`, or a TFDS data set."""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from cvrl_tf.data import records
from cvrl_tf.data.index import RecordIndex, index_records
from cvrl_tf.errors import reason


@dataclasses.dataclass(frozen=True)
class Source:
    """TFRecord files of videos, and how their records are read.

    Attributes:
      name: what the user calls them, for messages.
      paths: the files.
      parse: in a tf.data graph, from a record, scalar string, to what `records.parse` returns.
      summarize: from a record and its origin to what `records.summarize` returns.
      label_and_id: from a record's first bytes to what `records.label_and_id` returns; None where
        the layout does not allow it.
    """

    name: str
    paths: Sequence[str]
    parse: Callable[[tf.Tensor], dict[str, tf.Tensor]] = records.parse
    summarize: Callable[[bytes, str], records.RecordSummary] = records.summarize
    label_and_id: Callable[[bytes], tuple[int, str] | None] | None = records.label_and_id

    def index(self) -> RecordIndex:
        """The place of each record; raises as `index.index_records`."""
        return index_records(self.paths)

    def problem(self, index: RecordIndex, number: int) -> str:
        """Why a record that could not be used could not.

        Args:
          index: of this source.
          number: of the record.
        """
        damage = index.problem(number)
        if damage:
            return damage
        try:
            frames = self.parse(index.read(tf.constant(number)))["frames"]
        except tf.errors.OpError as error:
            return f"the record cannot be parsed: {reason(error)}"
        for frame in range(len(frames)):
            try:
                tf.io.decode_jpeg(frames[frame])
            except tf.errors.OpError as error:
                return f"frame {frame} cannot be decoded: {reason(error)}"
        return "the record has no frames" if not len(frames) else "it can be read now"

    def count_records(self) -> int:
        """The number of records of all files; raises as `index.index_records`."""
        return len(self.index())
