"""Convolution over time alone, safe in reduced precision."""

import keras
import tensorflow as tf


class TemporalConv3D(keras.layers.Conv3D):
    """Keras's Conv3D for a kernel (t, 1, 1) and strides of 1, with the same variables and results.

    In bfloat16 on CPUs TensorFlow 2.17's 3-D convolution with such a kernel now and then gives NaN,
    forward and backward. There it is computed as a 2-D convolution over (time, space folded).

    Inputs are (N, T, H, W, C); outputs (N, T, H, W, filters) in the compute dtype.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `inputs` over time, with zeros beyond its ends."""
        if self.compute_dtype == "float32":
            return super().call(inputs)
        shape = tf.shape(inputs)
        folded = tf.reshape(inputs, [shape[0], shape[1], -1, inputs.shape[-1]])
        kernel = tf.cast(self.kernel[:, 0], self.compute_dtype)  # (t, 1, C, filters)
        outputs = tf.nn.conv2d(folded, kernel, strides=1, padding="SAME")
        return tf.reshape(outputs, tf.concat([shape[:4], [self.filters]], axis=0))
