"""Batch normalisation of clips: exact over replicas, and fast on each device."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import tensorflow as tf

from cvrl_tf import compiler
from cvrl_tf.models import placement
from cvrl_tf.models.folding import fold_time


class _Moving(threading.local):
    """Whether moving statistics are fixed, for each thread: every replica is traced in its own."""

    on = True


_moving = _Moving()


@contextlib.contextmanager
def fixed_moving_statistics(fixed: bool = True) -> Iterator[None]:
    """Within the block, if `fixed`, training does not change the moving statistics."""
    before, _moving.on = _moving.on, _moving.on and not fixed
    try:
        yield
    finally:
        _moving.on = before


Average = Callable[[tf.Tensor], tf.Tensor]


def _average_over(context: tf.distribute.ReplicaContext) -> Average:
    """The mean over replicas of a value of each."""
    return lambda value: context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


class ClipBatchNormalization(keras.layers.BatchNormalization):
    """Keras's BatchNormalization over the last axis, with the same variables and results.

    In training the statistics are those of the joint batch of all replicas. `_normalized` computes
    them, with passes that XLA compiles on accelerators. A single replica where XLA is not used,
    such as a CPU, has TensorFlow's fused kernel instead.

    Inputs are (N, ..., C) of rank 2 to 5; outputs have their shape and the compute dtype.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalises `inputs`; `training` uses and moves the statistics of the batch."""
        inputs = tf.cast(inputs, self.compute_dtype)
        if not (training and self.trainable):
            return self._fused(inputs, self.moving_mean, self.moving_variance)[0]
        context = tf.distribute.get_replica_context()
        joint = context is not None and context.num_replicas_in_sync > 1
        compiled = not (placement.on_cpu() or compiler.problem())
        if joint or compiled:
            average = _average_over(context) if joint else tf.identity
            outputs, mean, variance = self._normalized(inputs, _passes(compiled), average)
        else:
            outputs, mean, variance, *_ = self._fused(inputs)
            # The kernel returns the unbiased variance; moving statistics keep the biased one.
            count = tf.cast(tf.size(inputs, tf.int64) // inputs.shape[-1], tf.float32)
            variance = variance * (count - 1.0) / count
        self._move(mean, variance)
        return outputs

    def _fused(self, inputs: tf.Tensor, *statistics: tf.Tensor) -> list[tf.Tensor]:
        """Results of TensorFlow's kernel, with `statistics` or, without, those of the batch."""
        mean, variance = statistics or (tf.zeros([0]), tf.zeros([0]))
        results = tf.raw_ops.FusedBatchNormV3(
            x=_as_images(inputs),
            scale=self.gamma,
            offset=self.beta,
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            is_training=not statistics,
        )
        return [tf.reshape(results[0], tf.shape(inputs)), *results[1:]]

    def _normalized(
        self, inputs: tf.Tensor, passes: "Passes", average: Average
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """`inputs` normalised by the statistics of the joint batch, with a gradient of its own.

        The backward pass keeps `inputs` alone. Compiled, a pass reads and writes them once.
        TensorFlow calls cuDNN's normalisation of bfloat16 in another layout only, so copies from
        and to it were a fifth of a training step; its own operations make a float32 copy each.

        Args:
          inputs: (N, ..., C), a floating-point type.
          passes: over the inputs.
          average: the mean over replicas of a tensor (C,) or (2, C).

        Returns:
          Outputs of the shape and type of `inputs`; mean and variance (C,) float32, biased and
          without gradients.
        """

        @tf.custom_gradient
        def normalize(rows: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple:
            mean = average(passes.mean(rows))
            # Centred on the joint mean: a second pass, and no cancellation as in E[x^2] - E[x]^2.
            variance = average(passes.second_moment(rows, mean))
            inverse = tf.math.rsqrt(variance + self.epsilon)
            scale = gamma * inverse

            def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> tuple:
                means = passes.upstream_means(upstream, rows, mean)
                joint = average(means)
                count = tf.cast(tf.shape(rows)[0], tf.float32)
                slope = tf.square(inverse) * joint[1]
                inner = passes.input_gradient(upstream, rows, mean, scale, joint[0], slope)
                return inner, count * means[1] * inverse, count * means[0]

            return (passes.scaled(rows, scale, beta - mean * scale), mean, variance), gradient

        rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
        weights = (tf.convert_to_tensor(value) for value in (self.gamma, self.beta))
        outputs, mean, variance = normalize(rows, *weights)
        outputs = tf.reshape(outputs, tf.shape(inputs))
        return outputs, tf.stop_gradient(mean), tf.stop_gradient(variance)

    def _move(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        if not _moving.on:
            return
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moved = moving * self.momentum + value * (1.0 - self.momentum)
            # A step that overflows is skipped; its statistics must not be kept either.
            moving.assign(tf.where(tf.math.is_finite(moved), moved, moving))


def _as_images(inputs: tf.Tensor) -> tf.Tensor:
    """(N, ..., C) as images for the fused kernel.

    On CPUs the kernel is fastest when each position is an image of one pixel. On accelerators that
    batch may be too large: others reported that cuDNN refuses more than 65,535 images in inference.
    There, only the frames of clips are folded into the batch.
    """
    if placement.on_cpu():
        return tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])
    if inputs.shape.rank == 5:
        return fold_time(inputs)
    missing = [1] * (4 - inputs.shape.rank)
    return tf.reshape(inputs, tf.concat([tf.shape(inputs)[:-1], [*missing, inputs.shape[-1]]], 0))


class Passes(NamedTuple):
    """The functions below: passes over rows (M, C), with values (C,) float32 for each channel."""

    mean: Callable[..., tf.Tensor]
    second_moment: Callable[..., tf.Tensor]
    scaled: Callable[..., tf.Tensor]
    upstream_means: Callable[..., tf.Tensor]
    input_gradient: Callable[..., tf.Tensor]


@functools.cache
def _passes(compiled: bool) -> Passes:
    functions = Passes(_mean, _second_moment, _scaled, _upstream_means, _input_gradient)
    if not compiled:
        return functions
    return Passes(*(tf.function(function, jit_compile=True) for function in functions))


def _mean(rows: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(rows, tf.float32), 0)


def _second_moment(rows: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.math.squared_difference(tf.cast(rows, tf.float32), mean), 0)


def _scaled(rows: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.cast(rows, tf.float32) * scale + offset, rows.dtype)


def _upstream_means(upstream: tf.Tensor, rows: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    """(2, C): means of the upstream gradient, and of its products with the centred rows."""
    upstream = tf.cast(upstream, tf.float32)
    centred = tf.cast(rows, tf.float32) - mean
    return tf.stack([tf.reduce_mean(upstream, 0), tf.reduce_mean(upstream * centred, 0)])


def _input_gradient(
    upstream: tf.Tensor,
    rows: tf.Tensor,
    mean: tf.Tensor,
    scale: tf.Tensor,
    shift: tf.Tensor,
    slope: tf.Tensor,
) -> tf.Tensor:
    centred = tf.cast(rows, tf.float32) - mean
    inner = scale * (tf.cast(upstream, tf.float32) - shift - centred * slope)
    return tf.cast(inner, rows.dtype)
