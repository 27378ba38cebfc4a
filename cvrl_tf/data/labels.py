"""The labels and ids of all records of a data set, read before any long work."""

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data import records, tfrecords
from cvrl_tf.data.records import UNLABELLED, UNREADABLE, Identity
from cvrl_tf.data.source import IndexedSource, Source
from cvrl_tf.errors import InputError

_REMOTE_SHARDS_AT_ONCE = 16


@dataclasses.dataclass(frozen=True)
class RecordLabels:
    """What N records are labelled.

    Attributes:
      labels: (N,) int64, class indices; `UNLABELLED`, or `UNREADABLE` for a damaged record.
      ids: N ids, empty where a record has none.
      contents: (N,) int64, `records.content_key` of each; 0 where it is unknown.
    """

    labels: np.ndarray
    ids: Sequence[str]
    contents: np.ndarray

    def select(self, numbers: np.ndarray) -> "RecordLabels":
        """Those of some of the records: of the given numbers, (n,) int64."""
        ids = [self.ids[number] for number in numbers]
        return RecordLabels(self.labels[numbers], ids, self.contents[numbers])


def read_labels(videos: IndexedSource) -> RecordLabels:
    """Finds the labels of records: in an index, or else without the frames if the layout allows.

    Args:
      videos: whose records are read.

    Returns:
      Labels, ids and contents in the order of the videos.

    Raises:
      InputError: a file cannot be opened.
    """
    source, index = videos.source, videos.index
    labels = np.full(len(index), UNREADABLE, np.int64)
    contents = np.zeros(len(index), np.int64)
    ids = [""] * len(index)

    def read_shard(shard: int) -> None:
        path, numbers = index.paths[shard], np.flatnonzero(index.shards == shard)
        table = index.tables.get(path) if source.has_own_layout else None
        if table:
            rows, table_ids = table.rows[index.places[numbers]], table.ids
            labels[numbers], contents[numbers] = rows["label"], rows["content"]
            for number in numbers:
                ids[number] = table_ids[index.places[number]]
            return
        with files.reading(path), tfrecords.open_at_places(path) as file:
            for number in numbers:
                with contextlib.suppress(ValueError, tf.errors.OpError):
                    found = _read(source, file, int(index.offsets[number]))
                    labels[number], ids[number] = found.label, found.id
                    contents[number] = found.content

    remote = any(map(files.is_remote, index.paths))
    with concurrent.futures.ThreadPoolExecutor(_REMOTE_SHARDS_AT_ONCE if remote else 1) as pool:
        list(pool.map(read_shard, np.unique(index.shards)))
    return RecordLabels(labels, ids, contents)


def _read(source: Source, file: BinaryIO, offset: int) -> Identity:
    """The identity of the record at an offset of a file."""
    head, length = tfrecords.read_head(file, offset, records.HEAD_BYTES)
    if source.label_and_id:
        found = source.label_and_id(head)
        if found:
            return Identity(*found, records.content_key(head))
    serialized, _ = tfrecords.read_head(file, offset, length)
    return Identity.of_parsed(source.parse(tf.constant(serialized)))


def check_classes(train_name: str, train: RecordLabels, test_name: str, test: RecordLabels) -> int:
    """Checks that a classifier can be trained and tested.

    Args:
      train_name: what the user calls the training records.
      train: their labels.
      test_name: what the user calls the test records.
      test: their labels.

    Returns:
      The number of classes: one more than the largest label of the training records.

    Raises:
      InputError: records without a label, fewer than two classes to train on, or a class to test
        that none of the training records has.
    """
    for name, found in ((train_name, train), (test_name, test)):
        absent = np.flatnonzero(found.labels == UNLABELLED)
        if absent.size:
            raise InputError(
                f"{absent.size} of {len(found.ids)} records of {name} have no label, the first"
                f" is '{found.ids[absent[0]]}': expected labelled records; convert with class"
                " folders or lists."
            )
    classes, test_classes = (np.unique(x.labels[x.labels >= 0]) for x in (train, test))
    if len(classes) < 2:
        raise InputError(
            f"{train_name} has {len(classes)} class{'es' * (len(classes) != 1)}, expected two or"
            " more: give labelled records of several classes."
        )
    foreign = np.setdiff1d(test_classes, classes)
    if foreign.size:
        count = int(np.isin(test.labels, foreign).sum())
        raise InputError(
            f"{count} of {len(test.ids)} records of {test_name} are of classes that {train_name}"
            f" has no record of: {_listed(foreign)}, where the training records have"
            f" {_listed(classes)}; convert both with the same class list."
        )
    return int(classes.max()) + 1


def _listed(numbers: np.ndarray) -> str:
    """Up to eight numbers in words."""
    shown = ", ".join(map(str, numbers[:8]))
    return shown + (f" and {numbers.size - 8} more" if numbers.size > 8 else "")
