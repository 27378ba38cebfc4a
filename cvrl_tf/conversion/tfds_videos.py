"""Videos of a TensorFlow Datasets (TFDS) data set, for conversion.

The path of such a video is `tfds:FILE@BYTE`: a TFRecord file that TFDS has written, beside the
description of its features, and where the video's record begins. The module imports
tensorflow_datasets.
"""

import contextlib
import functools
import os
import re
import struct
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from cvrl_tf.conversion.catalogs.catalog import Catalog, Entry
from cvrl_tf.data import records, tfds_source
from cvrl_tf.data.source import Source
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
        raise InputError(f"--{_FLAG}={name}: expected one split; convert one after the other.")
    classes = tfds_source.class_names(name, _FLAG)
    entries = []
    with (
        Progress(f"labels of {split}", source.count_records(), "video") as progress,
        records.naming_bad_records(name),
    ):
        for path in source.paths:
            examples = tf.data.TFRecordDataset(path).map(
                lambda serialized: _label_and_id(source, serialized),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            position = 0
            for label, video_id, length in examples.as_numpy_iterator():
                label_name = classes[label] if label >= 0 else None
                entries.append(
                    Entry(
                        video_id.decode(),
                        f"tfds:{path}@{position}",
                        int(label) if label >= 0 else None,
                        label_name,
                    )
                )
                # A record is its length (8 bytes), a checksum (4), the data, and a checksum.
                position += 8 + 4 + int(length) + 4
                progress.update()
    notes = ["TFDS keeps no frame rates: 25 frames per second are assumed."]
    return Catalog({split: entries}, classes, notes)


def _label_and_id(source: Source, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    record = source.parse(serialized)
    return record["label"], record["id"], tf.strings.length(serialized)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """The frames of a video as a file that FFmpeg opens, removed afterwards.

    Args:
      path: `tfds:FILE@BYTE`.

    Yields:
      The path of a file of JPEGs, or of PNGs, one after the other.
    """
    path, position = re.fullmatch(r"tfds:(.*)@(\d+)", path).groups()
    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(int(position))
        (length,) = struct.unpack("<Q", file.read(8))
        file.seek(int(position) + 8 + 4)
        serialized = file.read(length)
    parse = _parser(os.path.dirname(path))
    with tempfile.TemporaryDirectory(prefix="cvrl_") as directory:
        frames = os.path.join(directory, "frames")
        with open(frames, "wb") as file:
            file.writelines(parse(tf.constant(serialized))["frames"].numpy())
        yield frames


# One data set is converted by a process.
_parser = functools.lru_cache(maxsize=1)(tfds_source.parser_of_directory)
