"""R3D backbones inflated from networks of single images: the baselines of the paper's tables.

A 2-D kernel is repeated over time and divided by its temporal length, so that a clip of identical
frames gives the features of the frame (Carreira & Zisserman, CVPR 2017). This holds where the
kernel does not extend beyond the ends of the clip, where zeros replace frames.
"""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator

import keras
import numpy as np

from cvrl_tf.errors import InputError
from cvrl_tf.models.resnet3d import BN_EPSILON, build_backbone

# What `keras.applications.resnet.preprocess_input` subtracts from RGB pixels in [0, 255].
IMAGENET_MEAN = (123.68, 116.779, 103.939)
_EXPECTED = (
    "expected a file that keras.applications.ResNet50(weights='imagenet').save_weights("
    "'resnet50.weights.h5') has written"
)
_BLOCK_PARTS = {"shortcut": "0", "a": "1", "b": "2", "c": "3"}


def inflate_kernel(kernel: np.ndarray, length: int) -> np.ndarray:
    """Repeats a kernel (H, W, C, F) over time: (length, H, W, C, F) / length."""
    return np.repeat(kernel[np.newaxis], length, axis=0) / length


def inflate_single_frame(backbone: keras.Model) -> None:
    """Inflates a backbone that was trained on clips of one frame, in place.

    With one-frame clips only the temporal centre of each kernel receives data; the rest sees zeros
    and keeps its initial values. The centre is used as the 2-D kernel.

    Args:
      backbone: of `build_backbone`.
    """
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv3D):
            length = layer.kernel_size[0]
            layer.kernel.assign(inflate_kernel(layer.kernel.numpy()[length // 2], length))


def inflated_resnet50(path: str, dtype: str = "float32") -> keras.Model:
    """Builds r3d_50 with the weights of an image network, keras.applications' ResNet50.

    Biases, the constant that batch normalisation adds to variances, and the preprocessing of
    `keras.applications.resnet.preprocess_input` (BGR, [0, 255], mean subtracted) go into kernels
    and moving statistics: the backbone takes clips as all of ours do. docs/baselines.md says
    where its features still differ from the image network's.

    Args:
      path: file of `save` or `save_weights`, with or without the classifier: .keras, .weights.h5,
        or the .h5 that Keras downloads.
      dtype: Keras dtype policy.

    Raises:
      InputError: no such file, or it is of another network.
    """
    image_network = _load_resnet50(path)
    backbone = build_backbone("r3d_50", dtype=dtype)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv3D):
            name = layer.name.removesuffix("_conv")
            theirs = image_network.get_layer(_their_name(name) + "_conv")
            norm = image_network.get_layer(_their_name(name) + "_bn")
            _inflate_unit(layer, backbone.get_layer(f"{name}_bn"), theirs, norm)
    return backbone


def _their_name(name: str) -> str:
    """The name in keras.applications of a convolution with normalisation: conv1, res4_5_a."""
    if name == "conv1":
        return name
    stage, block, part = name.removeprefix("res").split("_")
    return f"conv{stage}_block{int(block) + 1}_{_BLOCK_PARTS[part]}"


def _inflate_unit(
    convolution: keras.layers.Conv3D,
    normalization: keras.layers.BatchNormalization,
    their_convolution: keras.layers.Conv2D,
    their_normalization: keras.layers.BatchNormalization,
) -> None:
    """Gives a convolution and its normalisation the weights of a 2-D pair, to the same outputs."""
    kernel, bias = (np.asarray(x, np.float64) for x in their_convolution.get_weights())
    gamma, beta, mean, variance = (
        np.array(x, np.float64) for x in their_normalization.get_weights()
    )
    variance += their_normalization.epsilon
    scale = np.ones_like(gamma)
    if convolution.name == "conv1_conv":
        kernel = kernel[:, :, ::-1]  # theirs is of BGR
        bias = bias - np.einsum("hwcf,c->f", kernel, IMAGENET_MEAN)
        kernel = kernel * 255
        # Normalisation makes up for any scale of a filter. Theirs keeps the kernel trainable: 255
        # times as large, it would hardly move. (A filter that is all but constant gets a larger
        # one, lest its variance became negative.)
        scale = np.maximum(1 / 255, np.sqrt(BN_EPSILON / variance))
    convolution.kernel.assign(inflate_kernel(kernel * scale, convolution.kernel_size[0]))
    variance = np.maximum(variance * scale**2 - BN_EPSILON, 0)
    normalization.set_weights([gamma, beta, (mean - bias) * scale, variance])


def _load_resnet50(path: str) -> keras.Model:
    if not os.path.isfile(path):
        raise InputError(f"There is no file {path}: {_EXPECTED}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file that does not fit, a line for each layer
            try:
                network = _read(path, with_classifier=False)
            except ValueError as error:  # only the old .h5 format minds a classifier
                if "107 saved layers" not in str(error):
                    raise
                network = _read(path, with_classifier=True)
    except Exception as error:  # Keras's own, h5py's, zipfile's
        raise InputError(
            f"{path} cannot be read as weights of keras.applications.ResNet50, nothing was loaded:"
            f" {_reason(error)}; {_EXPECTED}."
        ) from None
    return network


def _read(path: str, with_classifier: bool) -> keras.Model:
    with _defaults_of_keras():
        network = keras.applications.ResNet50(include_top=with_classifier, weights=None)
        network.set_weights([np.full(weight.shape, np.nan) for weight in network.weights])
        network.load_weights(path)
    # Keras may ignore what a file lacks.
    left = [layer.name for layer in network.layers if np.isnan(_sum(layer))]
    if left:
        raise ValueError(f"no values, or values that are no numbers, for {', '.join(left)}")
    return network


@contextlib.contextmanager
def _defaults_of_keras() -> Iterator[None]:
    """Inside, networks of keras.applications are built as if the user had no keras.json."""
    data_format, floatx = keras.config.image_data_format(), keras.config.floatx()
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    try:
        yield
    finally:
        keras.config.set_image_data_format(data_format)
        keras.config.set_floatx(floatx)


def _sum(layer: keras.Layer) -> float:
    return sum(float(np.sum(weight)) for weight in layer.get_weights())


def _reason(error: Exception) -> str:
    """One line of what Keras says; of a list of layers, their names."""
    text, _, listed = str(error).partition("List of objects that could not be loaded:")
    names = re.findall(r"name=(\w+)", listed)
    if not names:
        return " ".join(text.split()).rstrip(".")
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"{len(names)} of its layers are missing or of another shape ({shown})"
