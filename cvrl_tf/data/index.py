"""Where each record of a data set lies, so that any of them can be read at any time."""

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data import tfrecords
from cvrl_tf.errors import reason

_READ_BUFFER = 2**18  # bytes, read at a time
_REMOTE_SHARDS_AT_ONCE = 16


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """The places of N records in TFRecord files; 28 bytes of memory for each.

    Attributes:
      paths: the files.
      shards: (N,) int32, the position in `paths` of the file of each record.
      offsets: (N,) int64, the first byte of each record in its file.
      places: (N,) int32, how many records are before each in its file.
      lengths: (N,) int64, bytes of the data of each.
      checksums: (N,) uint32, stored with the data of each.
    """

    paths: Sequence[str]
    shards: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    lengths: np.ndarray
    checksums: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, number: tf.Tensor) -> tf.Tensor:
        """Reads a record, also in a tf.data graph.

        Args:
          number: scalar integer in [0, N - 1].

        Returns:
          Scalar string, the record.

        Raises:
          tf.errors.OpError: when run on a record that is damaged or gone.
        """
        shard, offset = tf.gather(self.shards, [number]), tf.gather(self.offsets, [number])
        record = tf.raw_ops.TFRecordDatasetV2(
            filenames=tf.gather(tf.constant(list(self.paths)), shard),
            compression_type="",
            buffer_size=_READ_BUFFER,
            byte_offsets=offset,
            metadata="",
        )
        dataset = tf.data.experimental.from_variant(record, tf.TensorSpec([], tf.string))
        return dataset.take(1).get_single_element()

    def select(self, numbers: np.ndarray) -> "RecordIndex":
        """The index of some of the records: those of the given numbers, (n,) int64."""
        columns = [field.name for field in dataclasses.fields(self) if field.name != "paths"]
        return RecordIndex(self.paths, **{x: getattr(self, x)[numbers] for x in columns})

    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify the records by content and order.

        Made of the lengths and checksums that are stored with them: nothing is read for it.
        """
        order = np.argsort(self.shards, kind="stable")
        pairs = zip(self.lengths[order].tolist(), self.checksums[order].tolist(), strict=True)
        text = "".join(f"{length} {checksum}\n" for length, checksum in pairs)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def repeated(self) -> np.ndarray:
        """The numbers, (n,) int64 ascending, of the records whose content an earlier one has."""
        content = np.stack([self.lengths, self.checksums.astype(np.int64)], axis=1)
        _, first = np.unique(content, axis=0, return_index=True)
        return np.setdiff1d(np.arange(len(self)), first)

    def origin(self, number: int) -> str:
        """The file and the position in it, from 0, of a record, for messages."""
        return f"{self.paths[self.shards[number]]}, record {self.places[number]}"

    def problem(self, number: int) -> str | None:
        """What is damaged in the bytes of a record; None where they are as they were written."""
        path, offset = self.paths[self.shards[number]], int(self.offsets[number])
        try:
            return next(tfrecords.read_shard(path, offset)).problem
        except StopIteration:
            return "the file ends before it"
        except tf.errors.OpError as error:
            return f"the file cannot be read: {reason(error)}"


def index_records(paths: Sequence[str]) -> RecordIndex:
    """Finds all records of TFRecord files, from their lengths alone.

    Args:
      paths: the files.

    Raises:
      InputError: a file is empty, cut off, compressed, not a TFRecord file, or cannot be read.
    """
    remote = any(map(files.is_remote, paths))
    with concurrent.futures.ThreadPoolExecutor(_REMOTE_SHARDS_AT_ONCE if remote else 1) as pool:
        found = list(pool.map(_find_records, paths))
    counts = [len(part.offsets) for part in found]
    offsets, lengths, checksums = map(np.concatenate, zip(*found, strict=True))
    return RecordIndex(
        paths=tuple(paths),
        shards=np.repeat(np.arange(len(paths), dtype=np.int32), counts),
        offsets=offsets,
        places=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        lengths=lengths,
        checksums=checksums,
    )


def _find_records(path: str) -> tfrecords.RecordPlaces:
    with files.reading(path):
        return tfrecords.find_records(path)
