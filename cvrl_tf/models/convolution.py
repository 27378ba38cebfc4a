"""Convolutions of clips, computed in the way that is fastest and safe in reduced precision."""

import keras
import tensorflow as tf


class ClipConv3D(keras.layers.Conv3D):
    """Keras's Conv3D without bias and with 'same' padding: the same variables, the same results.

    A strided 1x1x1 kernel takes the inputs that it looks at and leaves the stride to that: in
    bfloat16 on CPUs the gradient of the strided kernel takes up to six times as long.

    A kernel (t, 1, 1) becomes a 2-D convolution over (time, space folded) in reduced precision:
    there TensorFlow 2.17's 3-D convolution now and then gives NaN on CPUs, forward and backward.

    Inputs are (N, T, H, W, C); outputs (N, T', H', W', filters) in the compute dtype.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `inputs`, with zeros beyond the border."""
        inputs = tf.cast(inputs, self.compute_dtype)
        kernel = tf.cast(self.kernel, self.compute_dtype)
        strides = self.strides
        if self.kernel_size == (1, 1, 1) and strides != (1, 1, 1):
            inputs = inputs[:, :: strides[0], :: strides[1], :: strides[2]]
            strides = (1, 1, 1)
        temporal = self.kernel_size[1:] == (1, 1) and self.kernel_size[0] > 1
        if temporal and strides == (1, 1, 1) and self.compute_dtype != "float32":
            shape = tf.shape(inputs)
            folded = tf.reshape(inputs, [shape[0], shape[1], -1, inputs.shape[-1]])
            outputs = tf.nn.conv2d(folded, tf.squeeze(kernel, axis=1), strides=1, padding="SAME")
            return tf.reshape(outputs, tf.concat([shape[:4], [self.filters]], axis=0))
        return tf.nn.conv3d(inputs, kernel, strides=[1, *strides, 1], padding="SAME")
