"""Index files: what readers need to know of shards before they read records, in one file a split.

  records/train-00000-of-00128 ...    the shards
  records/.index/train.npz            their index

Without an index the records of a shard are found by hopping from length to length, and their labels
by reading the beginning of each, which takes requests for every record in a bucket. The directory
is hidden, so no pattern of shards matches the file. It is a NumPy archive without pickles, whose
parts have checksums:

  format   1
  names    JSON as bytes (UTF-8): the names of the S shards
  sizes    (S,) int64, bytes of each file
  counts   (S,) int64, records of each
  rows     (N,) `ROW`, the records of all shards in their order
  ids      bytes (UTF-8): the ids of all records in their order
"""

import dataclasses
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data import records, tfrecords

DIRECTORY = ".index"
FORMAT = 1
_COLUMNS = (
    ("length", "<i8"),  # bytes of the record
    ("checksum", "<u4"),  # stored with it
    ("label", "<i8"),  # `labels.RecordLabels`
    ("content", "<i8"),  # `records.content_key`
    ("num_frames", "<i4"),  # 0 where there are no JPEGs in the layout
    ("height", "<i4"),  # of the first frame, pixels
    ("width", "<i4"),
    ("id_bytes", "<i4"),  # of its id
)
_NAMES = [name for name, _ in _COLUMNS]
ROW = np.dtype(list(_COLUMNS))


@dataclasses.dataclass(frozen=True)
class ShardTable:
    """What is known of the N records of a shard.

    Attributes:
      size: bytes of the file.
      rows: (N,) `ROW`.
      text: the ids of the records, joined.
    """

    size: int
    rows: np.ndarray
    text: bytes

    @classmethod
    def of(cls, described: Sequence["DescribedRecord"]) -> "ShardTable":
        """The table of the records of a shard, in their order."""
        rows = np.array([record.row for record in described], ROW)
        size = int(rows["length"].sum()) + len(rows) * tfrecords.OVERHEAD
        return cls(size, rows, b"".join(record.id.encode() for record in described))

    @property
    def places(self) -> tfrecords.RecordPlaces:
        """Where the records lie."""
        lengths = self.rows["length"]
        ends = np.cumsum(lengths + tfrecords.OVERHEAD)
        return tfrecords.RecordPlaces(
            ends - lengths - tfrecords.OVERHEAD, lengths, self.rows["checksum"]
        )

    @property
    def ids(self) -> list[str]:
        """The ids of the records."""
        ends = np.cumsum(self.rows["id_bytes"]).tolist()
        return [
            self.text[start:end].decode(errors="replace")
            for start, end in zip([0, *ends[:-1]], ends, strict=True)
        ]

    def summary(self, number: int) -> records.RecordSummary | None:
        """The size of a record; None where it is not in the layout."""
        row = self.rows[number]
        if not row["num_frames"]:
            return None
        label = int(row["label"])
        num_frames, height, width = (int(row[name]) for name in ("num_frames", "height", "width"))
        return records.RecordSummary(num_frames, height, width, label if label >= 0 else None)


@dataclasses.dataclass(frozen=True)
class DescribedRecord:
    """What an index holds of a record: its id, and the values of `ROW` but the last."""

    id: str
    values: tuple[int, ...]

    @property
    def row(self) -> tuple[int, ...]:
        """The values of `ROW`."""
        return *self.values, len(self.id.encode())

    @property
    def num_frames(self) -> int:
        """As in `ROW`."""
        return self.values[_NAMES.index("num_frames")]


def describe(serialized: bytes, frames: Sequence[bytes]) -> DescribedRecord:
    """Describes a record.

    Args:
      serialized: the record.
      frames: the JPEGs in it, or the first ones and then anything; empty where it has none.
    """
    try:
        found = records.identify(serialized)
    except (ValueError, tf.errors.OpError):
        found = records.Identity(records.UNREADABLE, "", 0)
    height = width = 0
    if frames:
        try:
            height, width, _ = tf.io.extract_jpeg_shape(frames[0]).numpy().tolist()
        except tf.errors.InvalidArgumentError:
            frames = ()
    checksum = tfrecords.checksum(serialized)
    values = (len(serialized), checksum, found.label, found.content, len(frames), height, width)
    return DescribedRecord(found.id, values)


def undescribed(length: int, checksum: int) -> DescribedRecord:
    """What an index holds of a damaged record: the numbers stored with it."""
    return DescribedRecord("", (length, checksum, records.UNREADABLE, 0, 0, 0, 0))


def split_of(name: str) -> str:
    """The split of a shard by its name: `train` of `train-00003-of-00128`, or the whole name."""
    return re.sub(r"-\d+-of-\d+$", "", name)


def path_of(directory: str, split: str) -> str:
    """The path of the index of a split's shards in a directory."""
    return os.path.join(directory, DIRECTORY, f"{split}.npz")


def write(path: str, tables: Mapping[str, ShardTable]) -> None:
    """Writes an index, atomically, unless the same is there: the same bytes for the same tables.

    Args:
      path: of the index; its directory is made.
      tables: of the shards by their names.
    """
    names = sorted(tables)
    chosen = [tables[name] for name in names]
    content = io.BytesIO()
    np.savez(
        content,
        format=np.array(FORMAT),
        names=np.frombuffer(json.dumps(names).encode(), np.uint8),
        sizes=np.array([table.size for table in chosen], "<i8"),
        counts=np.array([len(table.rows) for table in chosen], "<i8"),
        rows=np.concatenate([table.rows for table in chosen]),
        ids=np.frombuffer(b"".join(table.text for table in chosen), np.uint8),
    )
    tf.io.gfile.makedirs(os.path.dirname(path))
    if not tf.io.gfile.exists(path) or files.read_bytes(path) != content.getvalue():
        files.write_atomically(path, content.getvalue())


def read(path: str) -> dict[str, ShardTable]:
    """Reads an index.

    Args:
      path: of the index.

    Returns:
      The tables of its shards by their names.

    Raises:
      ValueError: the file is damaged, or of another format.
      OSError, tf.errors.OpError: it cannot be read.
    """
    content = files.read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            found = int(archive["format"])
            if found != FORMAT:
                raise ValueError(f"its format is {found}, expected {FORMAT}")
            rows, text = archive["rows"], archive["ids"].tobytes()
            sizes, counts = archive["sizes"].tolist(), archive["counts"].tolist()
            names = json.loads(archive["names"].tobytes())
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, OSError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    if rows.dtype != ROW or sum(counts) != len(rows) or sum(rows["id_bytes"]) != len(text):
        raise ValueError("its parts do not go together")
    tables, ids_end = {}, np.concatenate([[0], np.cumsum(rows["id_bytes"], dtype=np.int64)])
    start = 0
    for name, size, count in zip(names, sizes, counts, strict=True):
        end = start + count
        tables[name] = ShardTable(size, rows[start:end], text[ids_end[start] : ids_end[end]])
        start = end
    return tables
