"""The tf.data graph of pre-training: TFRecord shards in, batches of two augmented views out.

Phases: read -> parse -> sample two clips -> shuffle -> decode and crop -> augment -> batch; the
augmentation may also happen in the training step, on an accelerator.
Sampling comes before the shuffle buffer, which then holds the encoded frames of two clips for each
video instead of the whole video. Every random number comes from a seed folded from (run seed,
epoch, record, view, purpose), so a batch depends neither on parallelism nor on restarts.
"""

import dataclasses
import sys
from typing import NamedTuple

import tensorflow as tf

from cvrl_tf.data import augment, records, sampling
from cvrl_tf.data.sampling import Purpose, fold
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError

READ_PARALLEL_SHARDS = 16


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """A clip: `frames` frames, `stride` apart in the video, `size` pixels high and wide."""

    frames: int
    stride: int
    size: int

    @property
    def span(self) -> int:
        """Frames of the video from the first to the last frame of the clip, both counted."""
        return (self.frames - 1) * self.stride + 1


@dataclasses.dataclass(frozen=True)
class ViewPair:
    """How the two views of a video are made: which clips, how far apart, how augmented."""

    clip: ClipSpec
    interval: sampling.IntervalDistribution = sampling.IntervalDistribution()
    views: tuple[augment.View, augment.View] = augment.AUGMENTATIONS["released"]


def check_shards(source: Source, clip: ClipSpec) -> int:
    """Checks before any long work that clips can be taken from the shards.

    Looks at all record lengths and at the first record of each shard. Says so on stderr when some
    of these are shorter than a clip, whose frames then go round.

    Args:
      source: what to read.
      clip: the clips to be taken.

    Returns:
      The number of records of all shards.

    Raises:
      InputError: a shard that is damaged or not in the layout, frames smaller than the clip, or no
        looked-at video as long as a clip.
    """
    num_videos = source.count_records()
    lengths = []
    for path, summary in records.first_records(source.paths, source.summarize):
        if min(summary.height, summary.width) < clip.size:
            raise InputError(
                f"{path} has frames of {summary.width}x{summary.height} pixels, smaller than"
                f" --crop_size={clip.size}: lower --crop_size, or convert again with a larger"
                " --short_side if the videos allow it."
            )
        lengths.append(summary.num_frames)
    if max(lengths) < clip.span:
        raise InputError(
            f"The first videos of all {len(lengths)} shards are shorter than a clip: the longest"
            f" has {max(lengths)} frames, a clip of --num_frames={clip.frames} at"
            f" --stride={clip.stride} spans {clip.span}; lower --num_frames or --stride."
        )
    short = sum(length < clip.span for length in lengths)
    if short:
        print(
            f"note: the first videos of {short} of {len(lengths)} shards are shorter than a clip"
            f" ({min(lengths)} of {clip.span} frames): their frames are taken cyclically.",
            file=sys.stderr,
        )
    return num_videos


def sample_clips(
    record: dict[str, tf.Tensor], pair: ViewPair, epoch_seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Takes the frames of two clips from a parsed record and drops the others.

    Args:
      record: of `records.parse`.
      pair: the clips to be taken.
      epoch_seed: (2,) int32, of the run and the epoch.

    Returns:
      `frames`, (2, T) string, the JPEGs of each view; `seed`, (2,) int32, of this record in this
      epoch.
    """
    frames, record_id = record["frames"], record["id"]
    num_frames = tf.shape(frames)[0]
    with tf.control_dependencies(
        [tf.debugging.assert_positive(num_frames, "A record has no frames: convert it again.")]
    ):
        # With the first frame, records without an id have seeds of their own too.
        identity = tf.strings.join([record_id, frames[0]])
    seed = fold(epoch_seed, tf.strings.to_hash_bucket_fast(identity, 2**31 - 1))
    clip = pair.clip
    starts = sampling.draw_start_pair(num_frames, clip.frames, clip.stride, seed, pair.interval)
    indices = [
        sampling.clip_indices(starts[view], num_frames, clip.frames, clip.stride)
        for view in range(2)
    ]
    return {"frames": tf.gather(frames, tf.stack(indices)), "seed": seed}


def decode_and_crop(frames: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Decodes one window of each frame; the rest of the JPEG is not decoded.

    Args:
      frames: (T,) string, JPEGs of one size.
      window: (4,) int32, top, left, height and width in pixels.

    Returns:
      (T, height, width, 3) uint8.
    """
    return tf.map_fn(
        lambda frame: tf.image.decode_and_crop_jpeg(frame, window, channels=3),
        frames,
        fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
    )


def resize(frames: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Resizes (..., H, W, 3) uint8 bilinearly to (..., height, width, 3) uint8, rounded down."""
    return tf.cast(tf.image.resize(frames, [height, width]), tf.uint8)


class CroppedClip(NamedTuple):
    """A view before its colours change: `clip`, (T, size, size, 3) uint8, and what to do to it."""

    clip: tf.Tensor
    parameters: augment.Parameters


def crop_views(sample: dict[str, tf.Tensor], pair: ViewPair) -> tuple[CroppedClip, CroppedClip]:
    """Decodes, crops, resizes and flips the two clips of `sample_clips`, and draws what follows."""
    clip, views = pair.clip, []
    for index, view in enumerate(pair.views):
        frames, seed = sample["frames"][index], fold(sample["seed"], index)
        shape = tf.io.extract_jpeg_shape(frames[0])
        window = augment.random_crop_window(shape[0], shape[1], fold(seed, Purpose.CROP))
        # Frame by frame, one after the other: the pixels stay in the cache, and videos are what is
        # worked on in parallel.
        pixels = tf.map_fn(
            lambda frame, window=window: resize(
                tf.image.decode_and_crop_jpeg(frame, window, channels=3), clip.size, clip.size
            ),
            frames,
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([clip.size, clip.size, 3], tf.uint8),
        )
        pixels = tf.ensure_shape(pixels, [clip.frames, clip.size, clip.size, 3])
        pixels = tf.cond(
            augment.random_flip(seed), lambda x=pixels: tf.reverse(x, [2]), lambda x=pixels: x
        )
        views.append(CroppedClip(pixels, augment.draw(view, seed)))
    return tuple(views)


def augment_batch(batch: CroppedClip) -> tf.Tensor:
    """Changes the colours of a batch of clips inside a training step.

    Args:
      batch: one view of n videos, each tensor with a leading axis of n.

    Returns:
      (n, T, size, size, 3) float32 in [0, 1].
    """
    return tf.map_fn(
        lambda clip: augment.apply(*clip),
        batch,
        fn_output_signature=tf.TensorSpec(batch.clip.shape[1:], tf.float32),
    )


def read_epoch(
    source: Source, pair: ViewPair, shuffle_buffer: int, epoch_seed: tf.Tensor
) -> tf.data.Dataset:
    """One epoch of sampled, still encoded clips (`sample_clips`) in an order drawn anew.

    Args:
      source: what to read.
      pair: the clips to be taken.
      shuffle_buffer: videos held for shuffling.
      epoch_seed: (2,) int32, of the run and the epoch.
    """
    order = tf.random.experimental.stateless_shuffle(
        tf.constant(list(source.paths)), fold(epoch_seed, Purpose.FILE_ORDER)
    )
    shuffle_seed = tf.cast(fold(epoch_seed, Purpose.SHUFFLE)[0], tf.int64)
    return (
        tf.data.Dataset.from_tensor_slices(order)
        .interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(len(source.paths), READ_PARALLEL_SHARDS),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .map(
            lambda serialized: sample_clips(source.parse(serialized), pair, epoch_seed),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .shuffle(shuffle_buffer, seed=shuffle_seed, reshuffle_each_iteration=False)
    )


def pretraining_batches(
    source: Source,
    num_videos: int,
    pair: ViewPair,
    batch_size: int,
    shuffle_buffer: int,
    seed: int,
    first_video: int = 0,
    augmented: bool = True,
) -> tf.data.Dataset:
    """Endless batches of two views of each video, epoch after epoch.

    A batch may straddle two epochs: no video is dropped.

    Args:
      source: what to read.
      num_videos: records of all shards (`check_shards`).
      pair: how the two views are made.
      batch_size: videos of a batch.
      shuffle_buffer: videos held for shuffling.
      seed: of the run.
      first_video: videos already trained on: the stream goes on after them.
      augmented: whether the colours change here; otherwise that is left to `augment_batch`, and a
        quarter of the bytes goes to the device.

    Returns:
      Dataset of pairs, first and second views: each (batch_size, T, size, size, 3) float32 in
      [0, 1], or a `CroppedClip` with batch_size as the first axis.
    """
    augment.start_compiler()
    first_epoch, videos_to_skip = divmod(first_video, num_videos)
    run_seed = tf.constant([seed, 0], tf.int32)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        samples = read_epoch(source, pair, shuffle_buffer, fold(run_seed, epoch))
        return samples.skip(
            tf.where(epoch == first_epoch, tf.constant(videos_to_skip, tf.int64), 0)
        )

    def views(sample: dict[str, tf.Tensor]) -> tuple[tf.Tensor | CroppedClip, ...]:
        cropped = crop_views(sample, pair)
        return tuple(augment.apply(*view) for view in cropped) if augmented else cropped

    return (
        tf.data.Dataset.counter(first_epoch)
        .flat_map(one_epoch)
        .map(views, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(2)
    )
