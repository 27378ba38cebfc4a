"""Convolutions of clips that are safe in reduced precision, and fast on each device."""

import keras
import tensorflow as tf

from cvrl_tf.models import faster_convolution, placement
from cvrl_tf.models.folding import fold_space, unfold_space
from cvrl_tf.models.padding import same_padding


class ClipConv3D(keras.layers.Conv3D):
    """Keras's Conv3D without bias and with 'same' padding: the same variables, the same results.

    `convolve` computes it everywhere, but for kernels that have a faster form where it runs.

    Inputs are (N, T, H, W, C); outputs (N, T', H', W', filters) in the compute dtype.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `inputs`, with zeros beyond the border."""
        inputs = tf.cast(inputs, self.compute_dtype)
        kernel = tf.cast(self.kernel, self.compute_dtype)
        forms = faster_convolution
        form_of = forms.form_on_cpus if placement.on_cpu() else forms.form_on_accelerators
        return (form_of(kernel, self.strides) or convolve)(inputs, kernel, self.strides)


def convolve(inputs: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int, int]) -> tf.Tensor:
    """Convolves with 'same' padding, without the faults of TensorFlow's 3-D convolution.

    In reduced precision on CPUs, the kernel of TensorFlow 2.17 returns NaN or ends the process
    - where a kernel (t, 1, 1) is convolved, forward or backward, in some of the calls; a 2-D
      convolution over (time, space folded) is used instead;
    - where a kernel over time and space is longer than the clip; zeros are added explicitly instead
      of by the kernel.

    Args:
      inputs: (N, T, H, W, C), a floating-point type.
      kernel: (t, h, w, C, filters), the same type.
      strides: over time, height and width.

    Returns:
      (N, T', H', W', filters), the same type.
    """
    if inputs.dtype == tf.float32 or kernel.shape[0] == 1:
        return tf.nn.conv3d(inputs, kernel, strides=[1, *strides, 1], padding="SAME")
    if kernel.shape[1:3] == (1, 1) and strides == (1, 1, 1):
        images, kernel = fold_space(inputs), tf.squeeze(kernel, 2)
        return unfold_space(tf.nn.conv2d(images, kernel, strides=1, padding="SAME"), inputs)
    padding = [
        same_padding(tf.shape(inputs)[axis + 1], kernel.shape[axis], strides[axis])
        for axis in range(3)
    ]
    padded = tf.pad(inputs, [[0, 0], *padding, [0, 0]])
    return tf.nn.conv3d(padded, kernel, strides=[1, *strides, 1], padding="VALID")
