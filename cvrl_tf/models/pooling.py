"""Pooling of clips."""

import keras
import tensorflow as tf

from cvrl_tf.models.folding import fold_time, unfold_time


class ClipMaxPooling3D(keras.layers.MaxPooling3D):
    """Keras's MaxPooling3D over space alone, with 'same' padding: frame by frame, the same results.

    TensorFlow has no 3-D maximum in float16 on CPUs.

    Inputs are (N, T, H, W, C); outputs (N, T, H', W', C), both in the compute dtype.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pools `inputs`, of pool size and strides (1, n, n)."""
        pooled = tf.nn.max_pool2d(
            fold_time(inputs), self.pool_size[1:], self.strides[1:], padding="SAME"
        )
        return unfold_time(pooled, inputs)
