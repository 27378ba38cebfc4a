"""A network on all views of all videos: each video is read once, memory is bounded."""

import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from cvrl_tf.data import records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.index import RecordIndex
from cvrl_tf.data.source import Source
from cvrl_tf.evaluation.views import sample_view_pixels
from cvrl_tf.progress import Progress

# Of the views that the network sees at a time: eight of 32 x 256 x 256, more of smaller ones.
BATCH_PIXELS = 8 * 32 * 256 * 256
BATCH_VIEWS = 64  # at most: more are no faster, and progress would be seen late
# A video in the making takes some five times its views, which are of 8 bits.
VIDEOS_AT_ONCE_BYTES = 2 * 2**30
_PEAK_FACTOR = 5


def map_views(
    function: Callable[[tf.Tensor], tf.Tensor],
    source: Source,
    index: RecordIndex,
    clip: ClipSpec,
    num_clips: int,
    num_crops: int,
    description: str,
    first_video: int = 0,
) -> Iterator[tuple[np.ndarray, int, str]]:
    """Applies a function to the views of each video, in the order of the records.

    Args:
      function: from clips (n, T, size, size, 3) float32 in [0, 1] to (n, K), clip by clip.
      source: what to read, checked with `pipeline.check_shards`.
      index: of the records to take.
      clip: the clips to be taken.
      num_clips: evenly spaced clips of each video.
      num_crops: crops of each, 1 or 3.
      description: for the progress bar.
      first_video: videos that are done already: the stream goes on after them.

    Yields:
      For each video, values (num_clips * num_crops, K); label, -1 when unlabelled; id.

    Raises:
      InputError: a record that cannot be read.
    """
    num_videos = len(index)

    def parse(number: tf.Tensor) -> dict[str, tf.Tensor]:
        return source.parse(index.read(number))

    videos = tf.data.Dataset.range(first_video, num_videos)
    with (
        Progress(description, num_videos, "video", initial=first_video) as progress,
        records.naming_bad_records(source.name),
    ):
        for video in stream_views(function, videos, parse, clip, num_clips, num_crops):
            yield video
            progress.update()


def stream_views(
    function: Callable[[tf.Tensor], tf.Tensor],
    videos: tf.data.Dataset,
    parse: Callable[..., dict[str, tf.Tensor]],
    clip: ClipSpec,
    num_clips: int,
    num_crops: int,
) -> Iterator[tuple[np.ndarray, int, str]]:
    """As `map_views`, of any data set.

    Args:
      function: as for `map_views`.
      videos: one element for each video.
      parse: from an element to `frames`, `label` and `id`, as `records.parse`.
      clip: the clips to be taken.
      num_clips: evenly spaced clips of each video.
      num_crops: crops of each, 1 or 3.

    Yields:
      As `map_views`.
    """
    num_views = num_clips * num_crops
    view_pixels = clip.frames * clip.size**2
    at_once = VIDEOS_AT_ONCE_BYTES // (_PEAK_FACTOR * 3 * num_views * view_pixels)

    def read(*element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        record = parse(*element)
        views = sample_view_pixels(record["frames"], clip, num_clips, num_crops)
        return views, tf.repeat(record["label"], num_views), tf.repeat(record["id"], num_views)

    # One trace: the last batch is smaller.
    @tf.function(
        input_signature=[tf.TensorSpec([None, clip.frames, clip.size, clip.size, 3], tf.uint8)]
    )
    def compute(pixels: tf.Tensor) -> tf.Tensor:
        return function(tf.cast(pixels, tf.float32) / 255.0)

    batches = (
        videos.map(read, num_parallel_calls=int(np.clip(at_once, 1, os.cpu_count() or 1)))
        .rebatch(int(np.clip(BATCH_PIXELS // view_pixels, 1, BATCH_VIEWS)))
        .prefetch(1)
    )
    values = []
    for pixels, labels, ids in batches:
        values += zip(compute(pixels).numpy(), labels.numpy(), ids.numpy(), strict=True)
        while len(values) >= num_views:
            video, values = values[:num_views], values[num_views:]
            rows, (label, *_), (record_id, *_) = zip(*video, strict=True)
            yield np.stack(rows), int(label), record_id.decode(errors="replace")
