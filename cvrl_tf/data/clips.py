"""A clip of a video: its size in frames and pixels, and its frames decoded, cropped and resized."""

import dataclasses

import tensorflow as tf

from cvrl_tf.data import augment
from cvrl_tf.data.augment import Geometry


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """A clip: `frames` frames at intervals of `stride` frames, `size` pixels high and wide."""

    frames: int
    stride: int
    size: int

    @property
    def span(self) -> int:
        """Frames of the video from the first to the last frame of the clip, both counted."""
        return (self.frames - 1) * self.stride + 1

    @property
    def num_values(self) -> int:
        """Numbers in the clip: frames x pixels x channels."""
        return self.frames * self.size**2 * 3


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
    # As float32 already: resizing bytes gives the same and takes 1.5 times as long.
    return tf.cast(tf.image.resize(tf.cast(frames, tf.float32), [height, width]), tf.uint8)


def crop_clip(frames: tf.Tensor, size: int, seed: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Decodes a window, the same for all frames of a clip, resizes it and flips it or not.

    Args:
      frames: (T,) string, JPEGs of one size.
      size: pixels, height and width of the result.
      seed: (2,) int32, of this clip in this epoch.
      geometry: how window and flip are drawn.

    Returns:
      (T, size, size, 3) uint8.
    """
    shape = tf.io.extract_jpeg_shape(frames[0])
    window = augment.crop_window(geometry, shape[0], shape[1], seed)
    # Frame by frame in sequence: the pixels stay in the cache, and the parallel work is on
    # several videos.
    pixels = tf.map_fn(
        lambda frame: resize(tf.image.decode_and_crop_jpeg(frame, window, channels=3), size, size),
        frames,
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
    )
    pixels = tf.ensure_shape(pixels, [frames.shape[0], size, size, 3])
    flipped = augment.random_flip(geometry, seed)
    return tf.cond(flipped, lambda: augment.flip(pixels), lambda: pixels)
