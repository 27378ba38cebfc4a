"""Applies a network to all views of all videos: each video is read once, memory is bounded.

A batch of views is split over the devices that hold the weights of the network.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf import environment, progress
from cvrl_tf.data import records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import steady_options
from cvrl_tf.evaluation.views import EvaluationViews, sample_view_pixels
from cvrl_tf.progress import Progress
from cvrl_tf.training.strategy import strategy_of

# Of the views of one batch on one device: eight of 32 x 256 x 256, more of smaller ones.
BATCH_PIXELS = 8 * 32 * 256 * 256
BATCH_VIEWS = 64  # the maximum on a device: more are not faster, and delay the progress
# A video takes about five times the memory of its uint8 views while they are sampled.
VIDEOS_AT_ONCE_BYTES = 2 * 2**30
_PEAK_FACTOR = 5


@dataclasses.dataclass(frozen=True)
class Computation:
    """What is computed of clips, and by which networks.

    Attributes:
      function: from clips (n, T, size, size, 3) float32 in [0, 1] to (n, K), clip by clip.
      models: the networks in it. Those made in the scope of a `MirroredStrategy` have their weights
        on each of its devices, and each device computes a part of every batch.
    """

    function: Callable[[tf.Tensor], tf.Tensor]
    models: tuple[keras.Model, ...]

    @property
    def strategy(self) -> tf.distribute.Strategy | None:
        """That of the networks; None where their weights are on one device."""
        return strategy_of(self.models[0]) if self.models else None


class VideoValues(NamedTuple):
    """What a function computes of a video.

    Attributes:
      values: (V, K), of its V views.
      label: -1 when unlabelled.
      id: of the video.
      number: its place among the videos, from 0.
    """

    values: np.ndarray
    label: int
    id: str
    number: int


class OmittedRecords:
    """Reports the records that cannot be read and are omitted, each once.

    Args:
      videos: that are read.
      name: of what omits them, for the message.
    """

    def __init__(self, videos: IndexedSource, name: str):
        self._videos, self._name = videos, name
        self._known: set[int] = set()

    def add(self, numbers: Iterable[int]) -> None:
        """Reports the records of these numbers, except those that are known."""
        for number in numbers:
            if number not in self._known:
                self._known.add(number)
                place, problem = self._videos.index.origin(number), self._videos.problem(number)
                progress.note(f"note: {self._name} omits {place}: {problem}")


def map_records(
    computation: Computation,
    videos: IndexedSource,
    views: EvaluationViews,
    description: str,
    first_video: int = 0,
    omitted: OmittedRecords | None = None,
) -> Iterator[VideoValues]:
    """Applies a function to the views of each record, in their order.

    Args:
      computation: the function. If it equals that of the last call, it is not traced again.
      videos: what to read, checked with `checks.check_shards`.
      views: the views of each video.
      description: of the progress bar.
      first_video: number of videos that an earlier call has finished; they are skipped.
      omitted: gets the records that cannot be read; None where such a record is an error.

    Yields:
      For each video, or each that can be read, its values.

    Raises:
      InputError: a record that cannot be read, unless they are omitted.
    """
    numbers = tf.data.Dataset.range(first_video, len(videos))
    next_number = first_video
    with (
        Progress(description, len(videos), "video", initial=first_video) as bar,
        records.naming_bad_records(videos.name),
    ):
        for video in map_videos(computation, numbers, videos.read, views, omitted is not None):
            number = first_video + video.number
            if omitted:
                omitted.add(range(next_number, number))
            yield video._replace(number=number)
            bar.update(1 + number - next_number)
            next_number = number + 1
        if omitted:
            omitted.add(range(next_number, len(videos)))
            bar.update(len(videos) - next_number)


def map_videos(
    computation: Computation,
    videos: tf.data.Dataset,
    parse: Callable[..., dict[str, tf.Tensor]],
    views: EvaluationViews,
    ignore_errors: bool = False,
) -> Iterator[VideoValues]:
    """Applies a function to the views of each element of a dataset.

    Args:
      computation: as for `map_records`.
      videos: one element for each video.
      parse: from an element to `frames`, `label` and `id`, as `records.parse`.
      views: the views of each video.
      ignore_errors: whether elements at which `parse` or sampling fails are omitted.

    Yields:
      For each video, its values.
    """
    clip, num_views = views.clip, len(views)
    view_pixels = clip.frames * clip.size**2
    at_once = VIDEOS_AT_ONCE_BYTES // (_PEAK_FACTOR * 3 * num_views * view_pixels)

    def read(place: tf.Tensor, element: Any) -> tuple[tf.Tensor, ...]:
        record = parse(element)
        about = record["label"], record["id"], place
        pixels = sample_view_pixels(record["frames"], views)
        return pixels, *(tf.repeat(value, num_views) for value in about)

    compute = _on_devices(computation, clip)
    calls = int(np.clip(at_once, 1, environment.granted_cpus()))
    views_of_videos = videos.enumerate().map(read, num_parallel_calls=calls)
    if ignore_errors:
        views_of_videos = views_of_videos.ignore_errors()
    batches = (
        views_of_videos.rebatch(
            compute.num_devices * int(np.clip(BATCH_PIXELS // view_pixels, 1, BATCH_VIEWS))
        )
        .prefetch(1)
        .with_options(steady_options())
    )
    values: list[tuple[np.ndarray, int, bytes, int]] = []
    for pixels, *about in batches:
        values += zip(compute(pixels), *(one.numpy() for one in about), strict=True)
        while len(values) >= num_views:
            video, values = values[:num_views], values[num_views:]
            rows, (label, *_), (record_id, *_), (number, *_) = zip(*video, strict=True)
            name = record_id.decode(errors="replace")
            yield VideoValues(np.stack(rows), int(label), name, int(number))


class _OnDevices:
    """A computation of uint8 pixels, split over the devices of its networks.

    One trace serves batches of any size, since the last is smaller.

    Attributes:
      num_devices: of this process; batches of a multiple of their number need no padding.
    """

    def __init__(self, computation: Computation, clip: ClipSpec):
        self._function, self._strategy = computation.function, computation.strategy
        self.num_devices = len(self._strategy.extended.worker_devices) if self._strategy else 1
        shape = [None, clip.frames, clip.size, clip.size, 3]
        self._compute = tf.function(
            self._of_pixels if self.num_devices == 1 else self._of_parts,
            input_signature=[tf.TensorSpec(shape, tf.uint8)],
        )

    def __call__(self, pixels: tf.Tensor) -> np.ndarray:
        """Values (n, K) of pixels (n, T, size, size, 3) uint8."""
        number = len(pixels)
        padding = -number % self.num_devices
        if padding:
            pixels = tf.concat([pixels, tf.repeat(pixels[-1:], padding, axis=0)], axis=0)
        return self._compute(pixels).numpy()[:number]

    def _of_pixels(self, pixels: tf.Tensor) -> tf.Tensor:
        return self._function(tf.cast(pixels, tf.float32) / 255.0)

    def _of_parts(self, pixels: tf.Tensor) -> tf.Tensor:
        """The first device computes the first part, and so on."""
        assert self._strategy is not None
        size = tf.shape(pixels)[0] // self.num_devices

        def of_part() -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            start = replica % self.num_devices * size
            with tf.device("CPU:0"):  # a device is sent its part only, as uint8
                part = pixels[start : start + size]
            return self._of_pixels(part)

        parts = self._strategy.experimental_local_results(self._strategy.run(of_part))
        return tf.concat(parts, axis=0)


# A network is evaluated again and again during training.
_on_devices = functools.lru_cache(maxsize=1)(_OnDevices)
