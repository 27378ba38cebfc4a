"""Videos of a TensorFlow Datasets (TFDS) data set, for conversion.

The path of such a video is `tfds:FILE@BYTE`: a TFRecord file that TFDS has written, beside the
description of its features, and where the video's record begins. The module imports
tensorflow_datasets.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from cvrl_tf.conversion.catalogs.catalog import Catalog, Entry
from cvrl_tf.data import records, stream, tfds_source, tfrecords
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress

_FLAG = "tfds_name"


def tfds(name: str) -> Catalog:
    """The videos of a split that TFDS has prepared.

    All its records are read once for their labels.

    Args:
      name: `tfds:NAME[/CONFIG][:VERSION]:SPLIT` (`tfds_source`).

    Returns:
      The one split, under TFDS's name, in TFDS's order; ids as in `tfds_source.find_source`.

    Raises:
      InputError: see `tfds_source.find_source`; or a file is damaged.
    """
    source = tfds_source.find_source(name, _FLAG)
    split = name.rpartition(":")[2]
    if "+" in split:
        raise InputError(f"{_FLAG}={name}: expected one split; convert one after the other.")
    classes = tfds_source.class_names(name, _FLAG)
    videos = source.indexed()
    index = videos.index
    entries = []
    with (
        Progress(f"labels of {split}", len(videos), "video") as progress,
        records.naming_bad_records(name),
    ):
        found = tf.data.Dataset.range(len(videos)).map(
            lambda number: _label_and_id(videos, number), num_parallel_calls=stream.PARALLEL_CALLS
        )
        found = found.with_options(stream.steady_options())
        for number, (label, video_id) in enumerate(found.as_numpy_iterator()):
            path, offset = index.paths[index.shards[number]], index.offsets[number]
            label = int(label) if label >= 0 else None
            label_name = None if label is None else classes[label]
            entries.append(Entry(video_id.decode(), f"tfds:{path}@{offset}", label, label_name))
            progress.update()
    notes = ["TFDS keeps no frame rates: 25 frames per second are assumed."]
    return Catalog(name.rpartition(":")[0], {split: entries}, classes, notes)


def _label_and_id(videos: IndexedSource, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    record = videos.read(number)
    return record["label"], record["id"]


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """The frames of a video as a file that FFmpeg opens, removed afterwards.

    Args:
      path: `tfds:FILE@BYTE`.

    Yields:
      The path of a file of consecutive JPEGs or PNGs.
    """
    path, _, position = path.removeprefix("tfds:").rpartition("@")
    with tf.io.gfile.GFile(path, "rb") as file:
        _, length = tfrecords.read_head(file, int(position), 0)
        serialized, _ = tfrecords.read_head(file, int(position), length)
    parse = _parser(os.path.dirname(path))
    with tempfile.TemporaryDirectory(prefix="cvrl_") as directory:
        frames = os.path.join(directory, "frames")
        with open(frames, "wb") as file:
            file.writelines(parse(tf.constant(serialized))["frames"].numpy())
        yield frames


# One data set is converted by a process.
_parser = functools.lru_cache(maxsize=1)(tfds_source.parser_of_directory)
