"""Faster forms of some convolutions, with the same results as `convolution.convolve`.

What each of them saves: docs/performance.md.
"""

from collections.abc import Callable

import tensorflow as tf

from cvrl_tf.models.folding import fold_space, fold_time, unfold_space, unfold_time
from cvrl_tf.models.padding import same_padding

# From this many input channels on, products are faster than the convolutions on CPUs.
CHANNELS_OF_PRODUCTS = 512

Strides = tuple[int, int, int]
Form = Callable[[tf.Tensor, tf.Tensor, Strides], tf.Tensor]


def form_on_accelerators(kernel: tf.Tensor, strides: Strides) -> Form | None:
    """Returns the function to call instead of `convolution.convolve`; None if there is none.

    A 1x1x1 kernel is a matrix product, which takes a third to nine tenths of the time of cuDNN's
    convolution; the first convolution takes 2x2 pixels as the channels of one, for which cuDNN has
    faster programs than for three channels.

    Args:
      kernel: (t, h, w, channels, filters), in the type of the computation.
      strides: over time, height and width.
    """
    if kernel.shape[:3] == (1, 1, 1):
        return lambda inputs, kernel, strides: _product(_every_nth(inputs, strides), kernel)
    if kernel.shape[0] > 1 and strides[1:] == (2, 2):
        return _of_pixel_blocks
    return None


def form_on_cpus(kernel: tf.Tensor, strides: Strides) -> Form | None:
    """Returns the function to call instead of `convolution.convolve`; None if there is none.

    Strided 1x1x1 convolutions subsample first, then convolve with stride 1: in bfloat16 the
    gradient of the strided kernel takes up to six times as long.

    Kernels of many channels are products of matrices:
    - a 1x1x1 kernel is one: 0.7 to 0.8 of the time in float32;
    - the gradient of a kernel over space is one over shifted copies of the inputs, a sixth to two
      thirds of the time of the convolution's own in bfloat16;
    - so is that of a kernel over time in reduced precision; in float32 the convolution itself is
      one for all taps of its kernel: 0.4 to 0.9 of the time, forward and backward.

    In reduced precision also
    - 1x1x1 kernels of fewer channels are products: the gradient takes a sixth to a half of the time
      of a convolution's;
    - a kernel over time and space of spatial stride 2, the first convolution, takes 2x2 pixels as
      the channels of one, with stride 1: half of the time.

    Args:
      kernel: (t, h, w, channels, filters), in the type of the computation.
      strides: over time, height and width.
    """
    reduced, size = kernel.dtype != tf.float32, tuple(kernel.shape[:3])
    many_channels = kernel.shape[-2] >= CHANNELS_OF_PRODUCTS
    if size == (1, 1, 1):
        if reduced or many_channels:
            return lambda inputs, kernel, strides: _product(_subsample(inputs, strides), kernel)
        return _subsample_first if strides != (1, 1, 1) else None
    if many_channels and size[1:] == (1, 1) and strides == (1, 1, 1):
        return _over_time if reduced else _product_of_taps
    if many_channels and size[0] == 1:
        return _frame_by_frame
    if reduced and size[0] > 1 and strides[1:] == (2, 2):
        return _of_pixel_blocks
    return None


def _product(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution with a kernel (1, 1, 1, channels, filters), of stride 1."""
    kernel = tf.squeeze(kernel, [0, 1, 2])
    outputs = tf.matmul(tf.reshape(inputs, [-1, kernel.shape[0]]), kernel)
    return tf.reshape(outputs, tf.concat([tf.shape(inputs)[:-1], [kernel.shape[1]]], axis=0))


def _subsample_first(inputs: tf.Tensor, kernel: tf.Tensor, strides: Strides) -> tf.Tensor:
    return tf.nn.conv3d(_subsample(inputs, strides), kernel, strides=[1] * 5, padding="SAME")


def _every_nth(inputs: tf.Tensor, strides: Strides) -> tf.Tensor:
    """Every n-th frame, row and column."""
    return (
        inputs if strides == (1, 1, 1) else inputs[:, :: strides[0], :: strides[1], :: strides[2]]
    )


def _subsample(inputs: tf.Tensor, strides: Strides) -> tf.Tensor:
    """`_every_nth`, without strided slices over space, which are slow on CPUs."""
    inputs = inputs[:, :: strides[0]] if strides[0] > 1 else inputs
    if strides[1:] == (1, 1):
        return inputs
    return unfold_time(_every_nth_pixel(fold_time(inputs), strides[1:]), inputs)


def _every_nth_pixel(images: tf.Tensor, strides: tuple[int, int]) -> tf.Tensor:
    # A strided slice and its gradient take ten times as long.
    return tf.nn.avg_pool2d(images, ksize=1, strides=strides, padding="SAME")


def _over_time(inputs: tf.Tensor, kernel: tf.Tensor, strides: Strides) -> tf.Tensor:
    """A convolution with a kernel (t, 1, 1, channels, filters), of stride 1."""
    images, kernel = fold_space(inputs), tf.squeeze(kernel, 2)
    outputs = tf.nn.conv2d(images, tf.stop_gradient(kernel), strides=1, padding="SAME")
    return unfold_space(_with_kernel_gradient(outputs, images, kernel, 1), inputs)


def _product_of_taps(inputs: tf.Tensor, kernel: tf.Tensor, strides: Strides) -> tf.Tensor:
    """A convolution with a kernel (t, 1, 1, channels, filters), of stride 1.

    One product computes what every frame adds to the frames around it.
    """
    taps, _, _, channels, filters = kernel.shape
    kernel = tf.reshape(tf.transpose(kernel, [1, 2, 3, 0, 4]), [1, 1, 1, channels, taps * filters])
    products = tf.split(fold_space(_product(inputs, kernel)), taps, axis=-1)
    padding = [[0, 0], [(taps - 1) // 2, taps // 2], [0, 0], [0, 0]]
    # Not strided slices, whose gradients are slow on CPUs.
    shares = [
        tf.slice(tf.pad(product, padding), [0, tap, 0, 0], tf.shape(product))
        for tap, product in enumerate(products)
    ]
    return unfold_space(tf.add_n(shares), inputs)


def _frame_by_frame(inputs: tf.Tensor, kernel: tf.Tensor, strides: Strides) -> tf.Tensor:
    """A convolution with a kernel (1, height, width, channels, filters)."""
    stride = strides[1]
    outputs = tf.nn.conv3d(
        inputs, tf.stop_gradient(kernel), strides=[1, 1, stride, stride, 1], padding="SAME"
    )
    frames = _with_kernel_gradient(
        fold_time(outputs), fold_time(inputs), tf.squeeze(kernel, 0), stride
    )
    return unfold_time(frames, outputs)


def _with_kernel_gradient(
    outputs: tf.Tensor, images: tf.Tensor, kernel: tf.Tensor, stride: int
) -> tf.Tensor:
    """`outputs`, of a 2-D convolution with padding 'SAME', with a gradient for `kernel`."""

    @tf.custom_gradient
    def attached(outputs: tf.Tensor, kernel: tf.Tensor) -> tuple:
        height, width, channels, filters = kernel.shape

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Otherwise they are made in the forward pass already, and kept until here.
            with tf.control_dependencies([upstream]):
                shifted = _shifted_copies(tf.identity(images), (height, width), stride)
            product = tf.matmul(
                tf.reshape(shifted, [-1, height * width * channels]),
                tf.reshape(upstream, [-1, filters]),
                transpose_a=True,
            )
            return upstream, tf.reshape(product, kernel.shape)

        return tf.identity(outputs), gradient

    return attached(outputs, kernel)


def _shifted_copies(images: tf.Tensor, size: tuple[int, int], stride: int) -> tf.Tensor:
    """What each element of a 2-D kernel sees, side by side in the channels."""
    lengths = tf.shape(images)[1:3]
    padding = [same_padding(lengths[axis], size[axis], stride) for axis in range(2)]
    padded = tf.pad(images, [[0, 0], *padding, [0, 0]])
    rows, columns = [(lengths[axis] - 1) // stride * stride + 1 for axis in range(2)]
    copies = [
        padded[:, row : row + rows, column : column + columns]
        for row in range(size[0])
        for column in range(size[1])
    ]
    if stride > 1:
        copies = [_every_nth_pixel(copy, (stride, stride)) for copy in copies]
    return tf.concat(copies, axis=-1)


def _of_pixel_blocks(inputs: tf.Tensor, kernel: tf.Tensor, strides: Strides) -> tf.Tensor:
    """A convolution of spatial stride 2 as one of stride 1 over blocks of 2x2 pixels."""
    time, height, width, channels, filters = kernel.shape
    tall, wide = -(-height // 2), -(-width // 2)
    padding = [
        same_padding(tf.shape(inputs)[axis], size, stride, covered)
        for axis, size, stride, covered in (
            (1, time, strides[0], time),
            (2, height, 2, 2 * tall),
            (3, width, 2, 2 * wide),
        )
    ]
    padded = tf.pad(inputs, [[0, 0], *padding, [0, 0]])
    blocks = unfold_time(tf.nn.space_to_depth(fold_time(padded), 2), padded)
    # The kernel's odd rows and columns are filled up with zeros, and fold in the same way.
    kernel = tf.pad(kernel, [[0, 0], [0, 2 * tall - height], [0, 2 * wide - width], [0, 0], [0, 0]])
    kernel = tf.reshape(kernel, [time, tall, 2, wide, 2, channels, filters])
    kernel = tf.transpose(kernel, [0, 1, 3, 2, 4, 5, 6])
    kernel = tf.reshape(kernel, [time, tall, wide, 4 * channels, filters])
    return tf.nn.conv3d(blocks, kernel, strides=[1, strides[0], 1, 1, 1], padding="VALID")
