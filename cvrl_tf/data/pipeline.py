"""The tf.data graphs of training: TFRecord shards in, batches of clips out.

Phases: order -> read -> parse -> sample clips -> decode and crop -> augment colours -> batch. The
colours may also change before the training step, in a function of their own, on the device that
trains. Pre-training takes K augmented views of a video, supervised training one clip and the
label. The order is computed before anything is read (`stream`), so there is no shuffle buffer.
Every random number comes from a seed folded from (run seed, epoch, record, view, purpose), so a
batch depends neither on parallelism nor on restarts.
"""

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from cvrl_tf import compiler
from cvrl_tf.data import augment, sampling
from cvrl_tf.data.augment import RELEASED_GEOMETRY, Augmentation, Geometry
from cvrl_tf.data.clips import ClipSpec, crop_clip
from cvrl_tf.data.sampling import Purpose, fold
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import WHOLE, Order, Share, read_stream


@dataclasses.dataclass(frozen=True)
class ViewsSpec:
    """How the views of a video are made in pre-training.

    Attributes:
      clip: the clip that each view shows.
      interval: distribution of the time between the first clip and each other one.
      augmentation: how crop, flip and colours are drawn.
      number: K >= 2, of the views.
    """

    clip: ClipSpec
    interval: sampling.IntervalDistribution = sampling.IntervalDistribution()
    augmentation: Augmentation = Augmentation()
    number: int = 2

    def video_bytes(self, augmented: bool) -> int:
        """Bytes of the views of a video, whose colours have changed (float32) or not (uint8)."""
        dtype = tf.float32 if augmented else tf.uint8
        return self.number * self.clip.num_values * dtype.size


def record_seed(record: dict[str, tf.Tensor], epoch_seed: tf.Tensor) -> tf.Tensor:
    """The seed, (2,) int32, of a record of `records.parse` in an epoch."""
    frames = record["frames"]
    with tf.control_dependencies(
        [tf.debugging.assert_positive(tf.size(frames), "A record has no frames: convert it again.")]
    ):
        # With the first frame, records without an id have seeds of their own too.
        identity = tf.strings.join([record["id"], frames[0]])
    return fold(epoch_seed, tf.strings.to_hash_bucket_fast(identity, 2**31 - 1))


def sample_clips(
    record: dict[str, tf.Tensor], views: ViewsSpec, epoch_seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Takes the frames of K clips from a parsed record and drops the others.

    Args:
      record: of `records.parse`.
      views: the clips to be taken.
      epoch_seed: (2,) int32, of the run and the epoch.

    Returns:
      `frames`, (K, T) string, the JPEGs of each view; `intervals`, (K - 1,) int32, frames between
      the start of the first clip and those of the others; `seed`, (2,) int32, of this record in
      this epoch.
    """
    frames, clip = record["frames"], views.clip
    num_frames, seed = tf.shape(frames)[0], record_seed(record, epoch_seed)
    starts = sampling.draw_starts(
        num_frames, clip.frames, clip.stride, seed, views.interval, views.number
    )
    indices = [
        sampling.clip_indices(starts[view], num_frames, clip.frames, clip.stride)
        for view in range(views.number)
    ]
    return {
        "frames": tf.gather(frames, tf.stack(indices)),
        "intervals": tf.abs(starts[1:] - starts[0]),
        "seed": seed,
    }


class CroppedClip(NamedTuple):
    """A view before its colours change: `clip`, (T, size, size, 3) uint8, and what to do to it."""

    clip: tf.Tensor
    parameters: augment.Parameters


def crop_views(sample: dict[str, tf.Tensor], views: ViewsSpec) -> tuple[CroppedClip, ...]:
    """Decodes, crops, resizes and flips the clips of `sample_clips`; draws their augmentation."""
    return tuple(
        _crop_view(sample["frames"][view], view, fold(sample["seed"], view), views)
        for view in range(views.number)
    )


def _crop_view(frames: tf.Tensor, view: int, seed: tf.Tensor, views: ViewsSpec) -> CroppedClip:
    """The clip of one view, from its JPEGs, (T,) string, with the draws of `seed`."""
    augmentation, size = views.augmentation, views.clip.size

    def crop(frames: tf.Tensor, seed: tf.Tensor) -> CroppedClip:
        pixels = crop_clip(frames, size, seed, augmentation)
        return CroppedClip(pixels, augment.draw(augmentation, view, seed))

    if augmentation.consistent:
        return crop(frames, seed)

    def crop_frame(number: tf.Tensor) -> CroppedClip:
        return crop(frames[number, tf.newaxis], fold(seed, Purpose.FRAME, number))

    cropped = tf.map_fn(
        crop_frame,
        tf.range(views.clip.frames),
        fn_output_signature=CroppedClip(
            tf.TensorSpec([1, size, size, 3], tf.uint8), augment.PARAMETERS
        ),
        parallel_iterations=1,
    )
    return cropped._replace(clip=tf.squeeze(cropped.clip, axis=1))


def augment_batch(batch: CroppedClip, compiled: bool = True) -> tf.Tensor:
    """Changes the colours of a batch of clips on the device that trains.

    Args:
      batch: one view of n videos, each tensor with a leading axis of n.
      compiled: as of `augment.apply`.

    Returns:
      (n, T, size, size, 3) float32 in [0, 1].
    """
    return tf.map_fn(
        lambda clip: augment.apply(*clip, compiled=compiled),
        batch,
        fn_output_signature=tf.TensorSpec(batch.clip.shape[1:], tf.float32),
    )


class ViewBatch(NamedTuple):
    """A batch of K views of n videos.

    Attributes:
      views: K of them: each (n, T, size, size, 3) float32 in [0, 1], or a `CroppedClip` with n as
        the first axis.
      intervals: (n, K - 1) int32, frames between the start of the first clip and those of the
        others.
      positions: (n,) int64, of the videos in the stream (`stream.read_stream`).
    """

    views: tuple[tf.Tensor | CroppedClip, ...]
    intervals: tf.Tensor
    positions: tf.Tensor


def pretraining_batches(
    videos: IndexedSource,
    views: ViewsSpec,
    batch_size: int,
    order: Order,
    share: Share = WHOLE,
    augmented: bool = True,
) -> tf.data.Dataset:
    """Endless batches of the views of each video, epoch after epoch, each in an order of its own.

    A batch may straddle two epochs: no video is dropped except those that cannot be read.

    Args:
      videos: what to read (`check_shards`).
      views: how the views are made.
      batch_size: videos of a batch.
      order: of the run.
      share: what this worker reads of the stream.
      augmented: whether the colours change here; otherwise `augment_batch` changes them later, and
        a quarter of the bytes goes to the device.

    Returns:
      Dataset of `ViewBatch`.
    """
    compiler.start()

    def sample(serialized: tf.Tensor, epoch_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return sample_clips(videos.source.parse(serialized), views, epoch_seed)

    def finish(sample: dict[str, tf.Tensor]) -> tuple[Any, tf.Tensor]:
        cropped = crop_views(sample, views)
        if not augmented:
            return cropped, sample["intervals"]
        return tuple(augment.apply(*view) for view in cropped), sample["intervals"]

    return (
        read_stream(videos.index, order, sample, finish, share, videos.service)
        .batch(batch_size, drop_remainder=True)
        .map(lambda element, positions: ViewBatch(element[0], element[1], positions))
    )


class LabelledBatch(NamedTuple):
    """A batch of n clips, one of a video.

    Attributes:
      clips: (n, T, size, size, 3) uint8.
      labels: (n,) int64, class indices.
      positions: (n,) int64, of the videos in the stream (`stream.read_stream`).
    """

    clips: tf.Tensor
    labels: tf.Tensor
    positions: tf.Tensor


def labelled_batches(
    videos: IndexedSource,
    clip: ClipSpec,
    batch_size: int,
    order: Order,
    share: Share = WHOLE,
    geometry: Geometry = RELEASED_GEOMETRY,
) -> tf.data.Dataset:
    """Endless batches of a random clip of each video, cropped and flipped, and its label.

    Colours are unchanged; all else is as in `pretraining_batches`, in the same order.

    Args:
      videos: what to read (`check_shards`).
      clip: the clips to be taken.
      batch_size: videos of a batch.
      order: of the run.
      share: what this worker reads of the stream.
      geometry: how crop and flip are drawn.

    Returns:
      Dataset of `LabelledBatch`.

    Source: paper section 4.2; the released code.
    """
    compiler.start()

    def sample(serialized: tf.Tensor, epoch_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        record = videos.source.parse(serialized)
        frames, video_seed = record["frames"], record_seed(record, epoch_seed)
        num_frames = tf.shape(frames)[0]
        start = sampling.draw_start(num_frames, clip.frames, clip.stride, video_seed)
        indices = sampling.clip_indices(start, num_frames, clip.frames, clip.stride)
        return {
            "frames": tf.gather(frames, indices),
            "label": record["label"],
            "seed": fold(video_seed, 0),
        }

    def finish(sample: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = crop_clip(sample["frames"], clip.size, sample["seed"], geometry)
        return pixels, sample["label"]

    return (
        read_stream(videos.index, order, sample, finish, share, videos.service)
        .batch(batch_size, drop_remainder=True)
        .map(lambda element, positions: LabelledBatch(element[0], element[1], positions))
    )
