"""The labels and ids of all records of a data set, read before any long work."""

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data.index import RecordIndex
from cvrl_tf.data.source import Source
from cvrl_tf.data.tfrecords import HEAD

UNLABELLED = -1
UNREADABLE = -2
_HEAD_BYTES = 4096  # hold the context of most records
_REMOTE_SHARDS_AT_ONCE = 16


@dataclasses.dataclass(frozen=True)
class RecordLabels:
    """What N records are labelled.

    Attributes:
      labels: (N,) int64, class indices; `UNLABELLED`, or `UNREADABLE` for a damaged record.
      ids: N ids, empty where a record has none.
    """

    labels: np.ndarray
    ids: Sequence[str]


def read_labels(source: Source, index: RecordIndex) -> RecordLabels:
    """Reads the labels of records, where the layout allows it without reading the frames.

    Args:
      source: how records are read.
      index: the records.

    Returns:
      Labels and ids in the order of the index.
    """

    labels = np.full(len(index), UNREADABLE, np.int64)
    ids = [""] * len(index)

    def read_shard(shard: int) -> None:
        path = index.paths[shard]
        # TensorFlow's files read half a megabyte at each place.
        with tf.io.gfile.GFile(path, "rb") if files.is_remote(path) else open(path, "rb", 0) as file:
            for number in np.flatnonzero(index.shards == shard):
                with contextlib.suppress(ValueError, tf.errors.OpError):
                    labels[number], ids[number] = _read(source, file, int(index.offsets[number]))

    remote = any(map(files.is_remote, index.paths))
    with concurrent.futures.ThreadPoolExecutor(_REMOTE_SHARDS_AT_ONCE if remote else 1) as pool:
        list(pool.map(read_shard, np.unique(index.shards)))
    return RecordLabels(labels, ids)


def _read(source: Source, file: BinaryIO, offset: int) -> tuple[int, str]:
    """Label and id of the record at an offset of a file."""
    file.seek(offset)
    head = file.read(HEAD.size + _HEAD_BYTES)
    length, _ = HEAD.unpack_from(head)
    if source.context:
        context = source.context(head[HEAD.size :][:length])
        if context:
            return context
    file.seek(offset + HEAD.size)
    record = source.parse(tf.constant(file.read(length)))
    return int(record["label"]), record["id"].numpy().decode(errors="replace")
