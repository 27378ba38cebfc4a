"""Where each record of a data set lies, so that any of them can be read at any time."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from cvrl_tf import environment, files, progress
from cvrl_tf.data import index_file, tfrecords
from cvrl_tf.data.index_file import ShardTable
from cvrl_tf.errors import reason

_READ_BUFFER = 2**18  # bytes, read at a time
_REMOTE_SHARDS_AT_ONCE = 16
# A CPU makes clips of at most some 50 records a second, a request takes 50 ms or more.
READS_FOR_EACH_CPU, REMOTE_READS, MOST_REMOTE_READS = 4, 16, 256


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
      tables: what index files hold of the shards that they list, by the path of the shard.
      given_reads: the number of records to read at once; 0 to choose it by the paths.
    """

    paths: Sequence[str]
    shards: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    lengths: np.ndarray
    checksums: np.ndarray
    tables: Mapping[str, ShardTable] = dataclasses.field(default_factory=dict)
    given_reads: int = 0

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
        if self.remote:
            serialized = tf.numpy_function(self._read, [number], tf.string)
            return tf.ensure_shape(serialized, [])
        return self.read_by_tensorflow(number)

    def read_by_tensorflow(self, number: tf.Tensor) -> tf.Tensor:
        """As `read`, also in a graph that another process runs, where no Python of this one is."""
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

    @functools.cached_property
    def remote(self) -> bool:
        """Whether some of the files are remote."""
        return any(map(files.is_remote, self.paths))

    @property
    def parallel_reads(self) -> int:
        """The number of records to read at once: more where each waits for a remote disk."""
        cpus = environment.granted_cpus()
        remote = min(max(READS_FOR_EACH_CPU * cpus, REMOTE_READS), MOST_REMOTE_READS)
        return self.given_reads or (remote if self.remote else cpus)

    def _read(self, number: np.ndarray) -> bytes:
        """Reads a record as `tfrecords.read_record` does."""
        path, place = self.paths[self.shards[number]], int(self.offsets[number])
        return tfrecords.read_record(
            path, place, int(self.lengths[number]), int(self.checksums[number])
        )

    def select(self, numbers: np.ndarray) -> "RecordIndex":
        """The index of some of the records: those of the given numbers, (n,) int64."""
        columns = ("shards", "offsets", "places", "lengths", "checksums")
        return dataclasses.replace(self, **{x: getattr(self, x)[numbers] for x in columns})

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
            stored = next(tfrecords.read_shard(path, offset), None)
        except (OSError, tf.errors.OpError) as error:
            return f"the file cannot be read: {reason(error)}"
        if stored is None:
            return "the file ends before it"
        serialized = stored.serialized
        if serialized is not None and tfrecords.checksum(serialized) != self.checksums[number]:
            return "the file holds another record there than its index lists"
        return stored.problem


def index_records(paths: Sequence[str]) -> RecordIndex:
    """Finds all records of TFRecord files: in index files that fit, or else from their lengths.

    Args:
      paths: the files.

    Raises:
      InputError: a file is empty, cut off, compressed, not a TFRecord file, or cannot be read.
    """
    tables = fitting_tables(paths)

    def find(path: str) -> tfrecords.RecordPlaces:
        if path in tables:
            return tables[path].places
        with files.reading(path):
            return tfrecords.find_records(path)

    remote = [path for path in paths if files.is_remote(path)]
    hopped = [path for path in remote if path not in tables]
    if hopped:
        progress.note(
            f"note: no index lists {len(hopped)} of {len(paths)} shards (first: {hopped[0]}):"
            " several requests for each record find the records; python -m"
            " cvrl_tf.inspect_tfrecords --write_index makes an index."
        )
    with concurrent.futures.ThreadPoolExecutor(_REMOTE_SHARDS_AT_ONCE if remote else 1) as pool:
        found = list(pool.map(find, paths))
    counts = [len(part.offsets) for part in found]
    offsets, lengths, checksums = map(np.concatenate, zip(*found, strict=True))
    return RecordIndex(
        paths=tuple(paths),
        shards=np.repeat(np.arange(len(paths), dtype=np.int32), counts),
        offsets=offsets,
        places=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        lengths=lengths,
        checksums=checksums,
        tables=tables,
    )


def fitting_tables(paths: Sequence[str]) -> dict[str, ShardTable]:
    """Reads the index files beside shards, and notes on stderr those that do not fit them.

    Args:
      paths: of the shards.

    Returns:
      The tables of the shards that an index lists with the size that they have, by path.
    """
    names: dict[str, dict[str, str]] = {}  # of the shards' paths, by directory and name
    for path in paths:
        directory, name = os.path.split(path)
        names.setdefault(directory, {})[name] = path
    tables: dict[str, ShardTable] = {}
    for directory, of_names in names.items():
        splits = {f"{index_file.split_of(name)}.npz" for name in of_names}
        with files.reading(os.path.join(directory, index_file.DIRECTORY)):
            existing = set(files.names_in(os.path.join(directory, index_file.DIRECTORY)))
        for name in sorted(splits & existing):
            path = os.path.join(directory, index_file.DIRECTORY, name)
            tables |= _fitting(path, of_names)
    return tables


def _fitting(index_path: str, paths: Mapping[str, str]) -> dict[str, ShardTable]:
    """The tables of an index that fit the shards at `paths`, by path."""
    unused = "the records are found without it; python -m cvrl_tf.inspect_tfrecords --write_index"
    try:
        listed = index_file.read(index_path)
    except (ValueError, OSError, tf.errors.OpError) as error:
        progress.note(
            f"note: the index {index_path} cannot be used ({reason(error)}): {unused} makes it"
            " again."
        )
        return {}
    tables = {paths[name]: table for name, table in listed.items() if name in paths}
    with files.reading(index_path):
        sizes = files.sizes(list(tables))
    others = [path for path in tables if not _fits(path, sizes[path], tables[path])]
    if others:
        progress.note(
            f"note: the index {index_path} is of other shards: {len(others)} of {len(tables)} do"
            f" not have the size and the last record that it lists (first: {others[0]}):"
            f" {unused} makes it again."
        )
    return {path: table for path, table in tables.items() if path not in set(others)}


def _fits(path: str, size: int | None, table: ShardTable) -> bool:
    """Whether a shard of `size` bytes is the one of a table; of a remote one, by its size alone."""
    if size != table.size:
        return False
    if files.is_remote(path):  # reading the record compares its checksum with the table's
        return True
    with files.reading(path), tfrecords.open_at_places(path) as file:
        file.seek(size - tfrecords.TAIL.size)
        return file.read(tfrecords.TAIL.size) == tfrecords.TAIL.pack(table.rows["checksum"][-1])
