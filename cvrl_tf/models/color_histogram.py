"""Colours of a clip as features: the baseline that any learned feature should beat."""

import keras
import tensorflow as tf

BINS = 8  # of each channel


class ColorHistogram(keras.layers.Layer):
    """The joint RGB histogram of a clip: the fraction of its pixels with each colour.

    Inputs are (N, T, H, W, 3) float32 in [0, 1]; outputs (N, 512) float32 that sum to 1. Bin
    64 r + 8 g + b holds the colours whose channels are in the r-th, g-th and b-th eighth of [0, 1].
    """

    def call(self, clips: tf.Tensor) -> tf.Tensor:
        """Counts the colours of `clips`."""
        levels = tf.minimum(tf.cast(tf.cast(clips, tf.float32) * BINS, tf.int32), BINS - 1)
        bins = tf.reduce_sum(levels * [BINS**2, BINS, 1], axis=-1)
        bins = tf.reshape(bins, [tf.shape(bins)[0], -1])
        counts = tf.math.bincount(bins, minlength=BINS**3, maxlength=BINS**3, axis=-1)
        shares = tf.cast(counts, tf.float32) / tf.cast(tf.shape(bins)[1], tf.float32)
        return tf.ensure_shape(shares, [None, BINS**3])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """(N, 512)."""
        return (input_shape[0], BINS**3)


def build_color_histogram() -> keras.Model:
    """A model without weights that takes what a backbone takes and returns (N, 512) features."""
    clips = keras.Input((None, None, None, 3), dtype="float32", name="clips")
    features = ColorHistogram(dtype="float32", name="features")(clips)
    return keras.Model(clips, features, name="color_histogram")
