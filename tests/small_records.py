"""Small records for tests."""

import numpy as np
import tensorflow as tf

from cvrl_tf.data import records
from cvrl_tf.data.lookup import find_source


def make_video(
    index: int, num_frames: int = 20, height: int = 40, width: int = 48, label: int | None = 0
) -> records.Video:
    """A video of a random coarse pattern that moves up, with noise, drawn from `index`."""
    rng = np.random.default_rng(index)
    pattern = rng.uniform(0, 255, (height // 8 + num_frames, width // 8, 3))
    frames = []
    for t in range(num_frames):
        window = tf.image.resize(pattern[t : t + height // 8], [height, width], "bicubic")
        pixels = np.clip(window + rng.normal(0, 8, (height, width, 3)), 0, 255).astype("uint8")
        frames.append(tf.io.encode_jpeg(pixels, quality=95).numpy())
    return records.Video(
        video_id=f"video_{index}",
        frames=frames,
        timestamps=[40_000 * t for t in range(num_frames)],
        frame_rate=25.0,
        height=height,
        width=width,
        path=f"/videos/video_{index}.mp4",
        label=label,
        label_name=None if label is None else f"class_{label}",
    )


def write_shard(path, videos) -> str:
    """Writes videos as one TFRecord shard and returns its path."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for video in videos:
            writer.write(records.serialize(video))
    return str(path)


def damage(path: str, *numbers: int) -> str:
    """Changes a byte in the middle of records of a shard, by their numbers; returns its path."""
    index = find_source(path, "x").indexed().index
    with open(path, "r+b") as file:
        for number in numbers:
            place = int(index.offsets[number] + index.lengths[number] // 2)
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ 255]))
    return path
