"""The tf.data graph of pre-training: TFRecord shards in, batches of two augmented views out.

Phases: read -> parse -> sample two clips -> shuffle -> decode and crop -> augment -> batch.
Sampling comes before the shuffle buffer, which then holds the encoded frames of two clips for each
video instead of the whole video. Every random number comes from a seed folded from (run seed,
epoch, record, view, purpose), so a batch depends neither on parallelism nor on restarts.
"""

import dataclasses
import sys

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
    record: dict[str, tf.Tensor], clip: ClipSpec, epoch_seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Takes the frames of two clips from a parsed record and drops the others.

    Args:
      record: of `records.parse`.
      clip: the clips to be taken.
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
    starts = sampling.draw_start_pair(num_frames, clip.frames, clip.stride, seed)
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


def resize(clip: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Resizes (T, H, W, 3) uint8 frames bilinearly to (T, height, width, 3) float32 in [0, 1]."""
    return tf.image.resize(clip, [height, width]) / 255.0


def make_views(sample: dict[str, tf.Tensor], clip: ClipSpec) -> tf.Tensor:
    """Decodes, crops and augments the two clips of `sample_clips`.

    Returns:
      (2, T, size, size, 3) float32 in [0, 1].
    """
    clips = []
    for index, view in enumerate(augment.VIEWS):
        frames, seed = sample["frames"][index], fold(sample["seed"], index)
        shape = tf.io.extract_jpeg_shape(frames[0])
        window = augment.random_crop_window(shape[0], shape[1], fold(seed, Purpose.CROP))
        pixels = resize(decode_and_crop(frames, window), clip.size, clip.size)
        pixels = tf.ensure_shape(pixels, [clip.frames, clip.size, clip.size, 3])
        clips.append(augment.augment(pixels, view, seed))
    return tf.stack(clips)


def read_epoch(
    source: Source, clip: ClipSpec, shuffle_buffer: int, epoch_seed: tf.Tensor
) -> tf.data.Dataset:
    """One epoch of sampled, still encoded clips (`sample_clips`) in an order drawn anew.

    Args:
      source: what to read.
      clip: the clips to be taken.
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
            lambda serialized: sample_clips(source.parse(serialized), clip, epoch_seed),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .shuffle(shuffle_buffer, seed=shuffle_seed, reshuffle_each_iteration=False)
    )


def pretraining_batches(
    source: Source,
    num_videos: int,
    clip: ClipSpec,
    batch_size: int,
    shuffle_buffer: int,
    seed: int,
    first_video: int = 0,
) -> tf.data.Dataset:
    """Endless batches of two augmented views for each video, epoch after epoch.

    A batch may straddle two epochs: no video is dropped.

    Args:
      source: what to read.
      num_videos: records of all shards (`check_shards`).
      clip: the clips to be taken.
      batch_size: videos of a batch.
      shuffle_buffer: videos held for shuffling.
      seed: of the run.
      first_video: videos already trained on: the stream goes on after them.

    Returns:
      Dataset of (batch_size, 2, T, size, size, 3) float32 in [0, 1].
    """
    first_epoch, videos_to_skip = divmod(first_video, num_videos)
    run_seed = tf.constant([seed, 0], tf.int32)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        samples = read_epoch(source, clip, shuffle_buffer, fold(run_seed, epoch))
        return samples.skip(
            tf.where(epoch == first_epoch, tf.constant(videos_to_skip, tf.int64), 0)
        )

    return (
        tf.data.Dataset.counter(first_epoch)
        .flat_map(one_epoch)
        .map(lambda sample: make_views(sample, clip), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(2)
    )
