"""Backbones that recompute activations in the backward pass, to save memory."""

import re
from collections.abc import Callable

import keras
import tensorflow as tf

from cvrl_tf.models.normalization import fixed_moving_statistics


class Rematerialized:
    """A backbone that keeps only the outputs of its blocks for the backward pass.

    The interior of a block is recomputed for its gradient. Values, gradients and
    moving statistics are those of the backbone.

    Args:
      backbone: of `build_backbone`.
    """

    def __init__(self, backbone: keras.Model):
        ends = ["pool1"] + [
            layer.name for layer in backbone.layers if re.fullmatch(r"res\d_\d+_relu", layer.name)
        ]
        tensors = [backbone.input] + [backbone.get_layer(name).output for name in ends]
        tensors.append(backbone.output)
        self._segments = [
            keras.Model(first, last) for first, last in zip(tensors, tensors[1:], strict=False)
        ]

    def __call__(self, clips: tf.Tensor, training: bool) -> tf.Tensor:
        """The backbone's features of `clips`."""
        x = clips
        for segment in self._segments:
            x = _recomputed(segment, training)(x)
        return x


def _recomputed(segment: keras.Model, training: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    first = True

    def run(x: tf.Tensor) -> tf.Tensor:
        nonlocal first
        again, first = not first, False
        with fixed_moving_statistics(again):
            return segment(x, training=training)

    return tf.recompute_grad(run)
