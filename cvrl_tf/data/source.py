"""The input of training and evaluation: TFRecords in the layout of `records`, or TFDS data sets."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from cvrl_tf.data import records
from cvrl_tf.data.index import RecordIndex, index_records
from cvrl_tf.data.service import DataService
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

    @property
    def has_own_layout(self) -> bool:
        """Whether the records are in the layout of `records`, which index files describe."""
        return self.label_and_id is records.label_and_id

    def indexed(self) -> "IndexedSource":
        """Finds the records of all files; raises as `index.index_records`."""
        return IndexedSource(self, index_records(self.paths))


@dataclasses.dataclass(frozen=True)
class IndexedSource:
    """The N videos of a source, or some of them; each can be read by its number from 0 to N - 1.

    Attributes:
      source: how their records are read.
      index: where their records are.
      service: what reads and decodes them for training; None for this process.
    """

    source: Source
    index: RecordIndex
    service: DataService | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def name(self) -> str:
        """What the user calls the source, for messages."""
        return self.source.name

    def read(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Reads and parses a record, also in a tf.data graph.

        Args:
          number: scalar integer in [0, N - 1].

        Returns:
          What `records.parse` returns.

        Raises:
          tf.errors.OpError: when run on a record that is damaged, gone or not in the layout.
        """
        return self.source.parse(self.index.read(number))

    def reading(self, parallel_reads: int) -> "IndexedSource":
        """The same videos, of which this number of records is read at once; 0 for the default."""
        index = dataclasses.replace(self.index, given_reads=parallel_reads)
        return dataclasses.replace(self, index=index)

    def select(self, numbers: np.ndarray) -> "IndexedSource":
        """Some of the videos: those of the given numbers, (n,) int64."""
        return dataclasses.replace(self, index=self.index.select(numbers))

    def read_by(self, service: DataService | None) -> "IndexedSource":
        """The same videos, which a service reads for training; None for this process."""
        return dataclasses.replace(self, service=service)

    def problem(self, number: int) -> str:
        """Why the record of this number could not be used."""
        damage = self.index.problem(number)
        if damage:
            return damage
        try:
            frames = self.read(tf.constant(number))["frames"]
        except tf.errors.OpError as error:
            return f"the record cannot be parsed: {reason(error)}"
        for frame in range(len(frames)):
            try:
                tf.io.decode_jpeg(frames[frame])
            except tf.errors.OpError as error:
                return f"frame {frame} cannot be decoded: {reason(error)}"
        return "the record has no frames" if not len(frames) else "it can be read now"
