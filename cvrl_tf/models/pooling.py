"""Pooling of clips."""

import keras
import tensorflow as tf


class ClipMaxPooling3D(keras.layers.MaxPooling3D):
    """Keras's MaxPooling3D over space alone, with 'same' padding: frame by frame, the same results.

    TensorFlow has no 3-D maximum in float16 on CPUs.

    Inputs are (N, T, H, W, C); outputs (N, T, H', W', C), both in the compute dtype.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pools `inputs`, of pool size and strides (1, n, n)."""
        shape = tf.shape(inputs)
        frames = tf.reshape(inputs, tf.concat([[-1], shape[2:]], axis=0))
        frames = tf.ensure_shape(frames, [None, *inputs.shape[2:]])
        pooled = tf.nn.max_pool2d(frames, self.pool_size[1:], self.strides[1:], padding="SAME")
        return tf.reshape(pooled, tf.concat([shape[:2], tf.shape(pooled)[1:]], axis=0))
