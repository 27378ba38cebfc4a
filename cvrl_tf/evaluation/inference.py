"""Applies a network to all views of all videos: each video is read once, memory is bounded."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from cvrl_tf import environment
from cvrl_tf.data import records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import steady_options
from cvrl_tf.evaluation.views import EvaluationViews, sample_view_pixels
from cvrl_tf.progress import Progress

# Of the views of one batch: eight of 32 x 256 x 256, more of smaller ones.
BATCH_PIXELS = 8 * 32 * 256 * 256
BATCH_VIEWS = 64  # the maximum of a batch: more are not faster, and delay the progress
# A video takes about five times the memory of its uint8 views while they are sampled.
VIDEOS_AT_ONCE_BYTES = 2 * 2**30
_PEAK_FACTOR = 5


def map_records(
    function: Callable[[tf.Tensor], tf.Tensor],
    videos: IndexedSource,
    views: EvaluationViews,
    description: str,
    first_video: int = 0,
) -> Iterator[tuple[np.ndarray, int, str]]:
    """Applies a function to the views of each record, in their order.

    Args:
      function: from clips (n, T, size, size, 3) float32 in [0, 1] to (n, K), clip by clip. If it
        equals that of the last call, it is not traced again.
      videos: what to read, checked with `checks.check_shards`.
      views: the views of each video.
      description: of the progress bar.
      first_video: number of videos that an earlier call has finished; they are skipped.

    Yields:
      For each video, values (V, K) of its V views; label, -1 when unlabelled; id.

    Raises:
      InputError: a record that cannot be read.
    """
    numbers = tf.data.Dataset.range(first_video, len(videos))
    with (
        Progress(description, len(videos), "video", initial=first_video) as progress,
        records.naming_bad_records(videos.name),
    ):
        for video in map_videos(function, numbers, videos.read, views):
            yield video
            progress.update()


def map_videos(
    function: Callable[[tf.Tensor], tf.Tensor],
    videos: tf.data.Dataset,
    parse: Callable[..., dict[str, tf.Tensor]],
    views: EvaluationViews,
) -> Iterator[tuple[np.ndarray, int, str]]:
    """Applies a function to the views of each element of a dataset.

    Args:
      function: as for `map_records`.
      videos: one element for each video.
      parse: from an element to `frames`, `label` and `id`, as `records.parse`.
      views: the views of each video.

    Yields:
      As `map_records`.
    """
    clip, num_views = views.clip, len(views)
    view_pixels = clip.frames * clip.size**2
    at_once = VIDEOS_AT_ONCE_BYTES // (_PEAK_FACTOR * 3 * num_views * view_pixels)

    def read(*element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        record = parse(*element)
        pixels = sample_view_pixels(record["frames"], views)
        return pixels, tf.repeat(record["label"], num_views), tf.repeat(record["id"], num_views)

    compute = _traced(function, clip)
    batches = (
        videos.map(read, num_parallel_calls=int(np.clip(at_once, 1, environment.granted_cpus())))
        .rebatch(int(np.clip(BATCH_PIXELS // view_pixels, 1, BATCH_VIEWS)))
        .prefetch(1)
        .with_options(steady_options())
    )
    values: list[tuple[np.ndarray, int, bytes]] = []
    for pixels, labels, ids in batches:
        values += zip(compute(pixels).numpy(), labels.numpy(), ids.numpy(), strict=True)
        while len(values) >= num_views:
            video, values = values[:num_views], values[num_views:]
            rows, (label, *_), (record_id, *_) = zip(*video, strict=True)
            yield np.stack(rows), int(label), record_id.decode(errors="replace")


@functools.lru_cache(maxsize=1)  # a network is evaluated again and again during training
def _traced(
    function: Callable[[tf.Tensor], tf.Tensor], clip: ClipSpec
) -> Callable[[tf.Tensor], tf.Tensor]:
    """`function` of uint8 pixels; one trace for batches of any size, since the last is smaller."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, clip.frames, clip.size, clip.size, 3], tf.uint8)]
    )
    def compute(pixels: tf.Tensor) -> tf.Tensor:
        return function(tf.cast(pixels, tf.float32) / 255.0)

    return compute
