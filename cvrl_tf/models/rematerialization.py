"""Backbones that recompute activations in the backward pass, to save memory."""

import re
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.models.normalization import fixed_moving_statistics

REMAT = ("none", "norm", "block")


class Rematerialized:
    """A backbone that keeps few activations for the backward pass, and recomputes the others.

    Values, gradients and moving statistics are those of the backbone. What it keeps:
    - "norm": the outputs of the blocks, and those of the convolutions but for the last ones and the
      shortcuts of blocks. Batch normalisation and rectifiers are recomputed, which takes a pass
      over memory, and those 1x1x1 convolutions.
    - "block": only the outputs of the blocks.

    Args:
      backbone: of `build_backbone`.
      kind: "norm" or "block".

    Raises:
      InputError: another kind.
    """

    def __init__(self, backbone: keras.Model, kind: str = "block"):
        if kind not in REMAT[1:]:
            raise InputError(f"Found remat={kind}, expected {' or '.join(REMAT[1:])}.")
        tensors = {layer.name: layer.output for layer in backbone.layers}
        self._input, self._output = backbone.layers[0].name, backbone.layers[-1].name
        self._segments = [
            (names, output, keras.Model([tensors[name] for name in names], tensors[output]))
            for names, output in _segments([layer.name for layer in backbone.layers], kind)
        ]

    def __call__(self, clips: tf.Tensor, training: bool) -> tf.Tensor:
        """The backbone's features of `clips`."""
        values = {self._input: clips}
        for names, output, segment in self._segments:
            values[output] = _recomputed(segment, training)(*[values[name] for name in names])
        return values[self._output]


def _segments(layers: Sequence[str], kind: str) -> list[tuple[list[str], str]]:
    """The layers whose outputs a segment starts from, and the layer whose output it ends with.

    Those are kept. The gradient of a convolution does not need its output, so the convolution that
    ends a segment is not computed again.

    Args:
      layers: names of all layers of a backbone, in their order.
      kind: of `Rematerialized`.
    """
    ends = [name for name in layers if re.fullmatch(r"res\d_\d+_relu", name)]
    first, last = layers[0], "pool1"
    chain = [first, "conv1_conv", last] if kind == "norm" else [first, last]
    found = [([before], after) for before, after in zip(chain, chain[1:], strict=False)]
    for output in ends:
        if kind == "norm":
            a, b = (output.replace("_relu", f"_{part}_conv") for part in "ab")
            found += [([last], a), ([a], b), ([b, last], output)]
        else:
            found.append(([last], output))
        last = output
    return [*found, ([last], layers[-1])]


def _recomputed(segment: keras.Model, training: bool) -> Callable[..., tf.Tensor]:
    """A function of the inputs of a segment that keeps nothing else for its gradient.

    `tf.recompute_grad` also copies the inputs, for compilers that ignore control dependencies.
    """

    @tf.custom_gradient
    def run(*inputs: tf.Tensor) -> tuple:
        def gradient(
            upstream: tf.Tensor, variables: Sequence[tf.Variable] | None = None
        ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            with (
                tf.control_dependencies([upstream]),  # not before the backward pass
                fixed_moving_statistics(),
                tf.GradientTape() as tape,
            ):
                again = [tf.identity(value) for value in inputs]
                tape.watch(again)
                outputs = segment(again, training=training)
            sources = [*again, *(variables or [])]
            gradients = tape.gradient(outputs, sources, output_gradients=upstream)
            return gradients[: len(inputs)], gradients[len(inputs) :]

        return segment(list(inputs), training=training), gradient

    return run
