"""Rendered records for training, and damaged ones."""

import itertools
import os
from collections.abc import Callable

import numpy as np
import simplejpeg
import tensorflow as tf

from cvrl_tf.data import records, tfrecords
from cvrl_tf.demo import drawing

VIDEOS, SHARDS = 300, 4
HEIGHT, WIDTH, FRAMES = 48, 64, 12

Damage = Callable[[records.Video, bytes, np.random.Generator], bytes]


def _cut(video: records.Video, serialized: bytes, rng: np.random.Generator) -> bytes:
    return serialized[: len(serialized) // 3]


def _no_jpegs(video: records.Video, serialized: bytes, rng: np.random.Generator) -> bytes:
    frames = [frame[:2] + rng.bytes(len(frame) - 2) for frame in video.frames]
    return records.serialize(records.Video(**{**vars(video), "frames": frames}))


# Damage with a correct checksum, which only parsing or decoding reveals; and flipped bits on the
# disk, for which the written file is changed (None here).
DAMAGES: dict[str, Damage | None] = {
    "bytes flipped": None,
    "record cut to a third": _cut,
    "no JPEGs as frames": _no_jpegs,
}


def render(directory: str, damaged: dict[int, str] | None = None, seed: int = 0) -> str:
    """Writes shards of rendered videos.

    Args:
      directory: of the shards; it is created.
      damaged: from the number of a record to a key of `DAMAGES`.
      seed: of the damage.

    Returns:
      A glob pattern of the shards.
    """
    damaged, rng = damaged or {}, np.random.default_rng(seed)
    os.makedirs(directory)
    classes = itertools.cycle(drawing.CLASSES)
    for shard, numbers in enumerate(np.array_split(np.arange(VIDEOS), SHARDS)):
        path = os.path.join(directory, f"train-{shard:05d}-of-{SHARDS:05d}")
        with tf.io.TFRecordWriter(path) as writer:
            for number in map(int, numbers):
                video = _video(next(classes), number)
                serialized, damage = records.serialize(video), DAMAGES.get(damaged.get(number, ""))
                writer.write(damage(video, serialized, rng) if damage else serialized)
        flipped = [
            number - int(numbers[0])
            for number in numbers
            if damaged.get(int(number)) == "bytes flipped"
        ]
        _flip_bytes(path, flipped, rng)
    return os.path.join(directory, "train-*")


def origin(pattern: str, number: int) -> str:
    """The file of a record and its number there, as `bad_records.txt` names them."""
    for shard, numbers in enumerate(np.array_split(np.arange(VIDEOS), SHARDS)):
        if number in numbers:
            path = os.path.join(os.path.dirname(pattern), f"train-{shard:05d}-of-{SHARDS:05d}")
            return f"{path}, record {number - int(numbers[0])}"
    raise ValueError(number)


def _video(class_name: str, number: int) -> records.Video:
    frames = [
        simplejpeg.encode_jpeg(np.ascontiguousarray(frame), 90, colorsubsampling="420")
        for frame in drawing.render_video(class_name, number, HEIGHT, WIDTH, FRAMES)
    ]
    times = [40_000 * index for index in range(len(frames))]
    return records.Video(f"{number}", frames, times, 25.0, HEIGHT, WIDTH, f"{number}.mp4")


def _flip_bytes(path: str, numbers: list[int], rng: np.random.Generator) -> None:
    """Flips bits in five bytes of the data of each of these records of a shard."""
    places = tfrecords.find_records(path)
    with open(path, "r+b") as file:
        for number in numbers:
            first = int(places.offsets[number]) + tfrecords.HEAD.size
            last = first + int(places.lengths[number])
            for place in rng.choice(np.arange(first, last), 5, replace=False):
                file.seek(int(place))
                byte = file.read(1)[0]
                file.seek(int(place))
                file.write(bytes([byte ^ int(rng.integers(1, 256))]))
