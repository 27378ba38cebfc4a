"""The zeros of 'same' padding, for operations that do not add them."""

import tensorflow as tf


def same_padding(
    length: tf.Tensor, size: int, stride: int, covered: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The zeros before and after an axis, as many as TensorFlow's padding 'SAME' adds.

    Args:
      length: scalar int32, of the axis.
      size: of the kernel.
      stride: of the kernel.
      covered: elements from the kernel's last position on that must exist; `size` when None.
    """
    last = ((length - 1) // stride) * stride
    before = tf.maximum(last + size - length, 0) // 2
    return before, tf.maximum(last + (covered or size) - length - before, 0)
