"""Convolutions of clips, computed in the way that is fastest and safe in reduced precision."""

import keras
import tensorflow as tf

# On CPUs the gradient of a kernel of this many input channels or more is faster as a product.
CHANNELS_OF_PRODUCTS = 512


def on_cpu() -> bool:
    """Whether there is no accelerator to compute on."""
    return not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


class ClipConv3D(keras.layers.Conv3D):
    """Keras's Conv3D without bias and with 'same' padding: the same variables, the same results.

    A strided 1x1x1 kernel takes the inputs that it looks at and leaves the stride to that: in
    bfloat16 on CPUs the gradient of the strided kernel takes up to six times as long.

    In reduced precision
    - a 1x1x1 kernel is a matrix product: its gradient is one too, and takes a sixth to a half of
      the time of a convolution's on CPUs;
    - a kernel (t, 1, 1) is a 2-D convolution over (time, space folded): TensorFlow 2.17's 3-D
      convolution now and then gives NaN there on CPUs, forward and backward;
    - a kernel over time and space of spatial stride 2, the first convolution, takes 2x2 pixels as
      the channels of one, with stride 1: half of the time on CPUs. Zeros beyond the border are
      real ones: where a kernel reaches over all of a short clip, TensorFlow's own padding gives
      NaN there, or the process crashes;
    - on CPUs the gradient of other kernels of many channels is one product over shifted copies of
      the inputs, a sixth to two thirds of the time of the convolution's own.

    Inputs are (N, T, H, W, C); outputs (N, T', H', W', filters) in the compute dtype.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `inputs`, with zeros beyond the border."""
        inputs = tf.cast(inputs, self.compute_dtype)
        kernel = tf.cast(self.kernel, self.compute_dtype)
        strides = self.strides
        reduced = self.compute_dtype != "float32"
        if self.kernel_size == (1, 1, 1):
            inputs, strides = _subsample(inputs, strides), (1, 1, 1)
            if reduced:
                return _product(inputs, tf.squeeze(kernel, [0, 1, 2]))
        if reduced and self.kernel_size[1:] == (1, 1) and strides == (1, 1, 1):
            return _over_time(inputs, tf.squeeze(kernel, 2))
        if reduced and strides[1:] == (2, 2) and self.kernel_size[0] > 1:
            return _of_pixel_blocks(inputs, kernel, strides[0])
        if reduced and self.kernel_size[0] == 1 and _gains_from_product(kernel):
            return _frame_by_frame(inputs, kernel, strides[1])
        return tf.nn.conv3d(inputs, kernel, strides=[1, *strides, 1], padding="SAME")


def _subsample(inputs: tf.Tensor, strides: tuple[int, int, int]) -> tf.Tensor:
    """Every n-th frame, row and column."""
    inputs = inputs[:, :: strides[0]] if strides[0] > 1 else inputs
    if strides[1:] == (1, 1):
        return inputs
    return _unfold_time(_every_nth_pixel(_fold_time(inputs), strides[1:]), inputs)


def _every_nth_pixel(images: tf.Tensor, strides: tuple[int, int]) -> tf.Tensor:
    # A strided slice and its gradient take ten times as long on CPUs.
    return tf.nn.avg_pool2d(images, ksize=1, strides=strides, padding="SAME")


def _fold_time(clips: tf.Tensor) -> tf.Tensor:
    """(N, T, H, W, C) to (N * T, H, W, C)."""
    frames = tf.reshape(clips, tf.concat([[-1], tf.shape(clips)[2:]], axis=0))
    return tf.ensure_shape(frames, [None, None, None, clips.shape[-1]])


def _unfold_time(frames: tf.Tensor, clips: tf.Tensor) -> tf.Tensor:
    """(N * T, H, W, C) to (N, T, H, W, C), with N and T of `clips`."""
    return tf.reshape(frames, tf.concat([tf.shape(clips)[:2], tf.shape(frames)[1:]], axis=0))


def _product(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    outputs = tf.matmul(tf.reshape(inputs, [-1, kernel.shape[0]]), kernel)
    return tf.reshape(outputs, tf.concat([tf.shape(inputs)[:-1], [kernel.shape[1]]], axis=0))


def _over_time(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution over the second axis; `kernel` is (t, 1, channels, filters)."""
    shape = tf.shape(inputs)
    folded = tf.reshape(inputs, [shape[0], shape[1], -1, inputs.shape[-1]])
    if _gains_from_product(kernel):
        outputs = tf.nn.conv2d(folded, tf.stop_gradient(kernel), strides=1, padding="SAME")
        outputs = _with_kernel_gradient(outputs, folded, kernel, 1)
    else:
        outputs = tf.nn.conv2d(folded, kernel, strides=1, padding="SAME")
    return tf.reshape(outputs, tf.concat([shape[:4], [kernel.shape[-1]]], axis=0))


def _frame_by_frame(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """A convolution with a kernel (1, height, width, channels, filters)."""
    outputs = tf.nn.conv3d(
        inputs, tf.stop_gradient(kernel), strides=[1, 1, stride, stride, 1], padding="SAME"
    )
    frames = _with_kernel_gradient(
        _fold_time(outputs), _fold_time(inputs), tf.squeeze(kernel, 0), stride
    )
    return _unfold_time(frames, outputs)


def _gains_from_product(kernel: tf.Tensor) -> bool:
    return kernel.shape[-2] >= CHANNELS_OF_PRODUCTS and on_cpu()


def _with_kernel_gradient(
    outputs: tf.Tensor, images: tf.Tensor, kernel: tf.Tensor, stride: int
) -> tf.Tensor:
    """`outputs`, of a 2-D convolution with padding 'SAME', with a gradient for `kernel`."""

    @tf.custom_gradient
    def attached(outputs: tf.Tensor, kernel: tf.Tensor) -> tuple:
        height, width, channels, filters = kernel.shape

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            shifted = _shifted_copies(images, (height, width), stride)
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
    padding = [_same_padding(lengths[axis], size[axis], stride, size[axis]) for axis in range(2)]
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


def _of_pixel_blocks(inputs: tf.Tensor, kernel: tf.Tensor, time_stride: int) -> tf.Tensor:
    """A convolution of spatial stride 2 as one of stride 1 over blocks of 2x2 pixels."""
    time, height, width, channels, filters = kernel.shape
    tall, wide = -(-height // 2), -(-width // 2)
    padding = [
        _same_padding(tf.shape(inputs)[axis], size, stride, covered)
        for axis, size, stride, covered in (
            (1, time, time_stride, time),
            (2, height, 2, 2 * tall),
            (3, width, 2, 2 * wide),
        )
    ]
    padded = tf.pad(inputs, [[0, 0], *padding, [0, 0]])
    blocks = _unfold_time(tf.nn.space_to_depth(_fold_time(padded), 2), padded)
    # The kernel's odd rows and columns are filled up with zeros, and fold in the same way.
    kernel = tf.pad(kernel, [[0, 0], [0, 2 * tall - height], [0, 2 * wide - width], [0, 0], [0, 0]])
    kernel = tf.reshape(kernel, [time, tall, 2, wide, 2, channels, filters])
    kernel = tf.transpose(kernel, [0, 1, 3, 2, 4, 5, 6])
    kernel = tf.reshape(kernel, [time, tall, wide, 4 * channels, filters])
    return tf.nn.conv3d(blocks, kernel, strides=[1, time_stride, 1, 1, 1], padding="VALID")


def _same_padding(
    length: tf.Tensor, size: int, stride: int, covered: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Zeros before and after an axis as in 'SAME', the last place `covered` wide."""
    last = ((length - 1) // stride) * stride
    before = tf.maximum(last + size - length, 0) // 2
    return before, tf.maximum(last + covered - length - before, 0)
