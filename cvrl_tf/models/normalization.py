"""Batch normalisation of clips that is exact over replicas and fused on one."""

import contextlib
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

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


class ClipBatchNormalization(keras.layers.BatchNormalization):
    """Keras's BatchNormalization over the last axis, with the same variables and results.

    In training the statistics are those of the joint batch of all replicas. On one replica the
    fused kernel computes them. Over several, each replica's mean and centred second moment are
    combined, which does not lose the variance of channels with a large mean, as the difference of
    E[x^2] and E[x]^2 does in Keras's own synchronised layer.

    Inputs are (N, ..., C) of rank 2 to 5; outputs have their shape and the compute dtype.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalises `inputs`; `training` uses and moves the statistics of the batch."""
        inputs = tf.cast(inputs, self.compute_dtype)
        context = tf.distribute.get_replica_context()
        use_batch = bool(training) and self.trainable
        if use_batch and context is not None and context.num_replicas_in_sync > 1:
            mean, variance = _joint_moments(inputs, context)
            self._move(mean, variance)
            scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
            outputs = tf.cast(inputs, tf.float32) * scale + (self.beta - mean * scale)
            return tf.cast(outputs, self.compute_dtype)
        images = _as_images(inputs)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=self.gamma,
            offset=self.beta,
            mean=self.moving_mean if not use_batch else tf.zeros([0]),
            variance=self.moving_variance if not use_batch else tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=use_batch,
        )
        if use_batch:
            # The kernel returns the unbiased variance; moving statistics keep the biased one.
            count = tf.cast(tf.size(images, tf.int64) // images.shape[-1], tf.float32)
            self._move(mean, variance * (count - 1.0) / count)
        return tf.reshape(outputs, tf.shape(inputs))

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
    batch may be too large: others reported that cuDNN refuses more than 65,535 images in inference
    and 880,801 in training. There, only the frames of clips are folded into the batch.
    """
    if placement.on_cpu():
        return tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])
    if inputs.shape.rank == 5:
        return fold_time(inputs)
    missing = [1] * (4 - inputs.shape.rank)
    return tf.reshape(inputs, tf.concat([tf.shape(inputs)[:-1], [*missing, inputs.shape[-1]]], 0))


def _joint_moments(
    inputs: tf.Tensor, context: tf.distribute.ReplicaContext
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance (C,) float32 over all axes but the last and over all replicas."""
    inputs = tf.cast(inputs, tf.float32)
    axes = list(range(inputs.shape.rank - 1))
    mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.reduce_mean(inputs, axes))
    # Centred on the joint mean: a second pass, and no cancellation.
    squares = tf.reduce_mean(tf.math.squared_difference(inputs, mean), axes)
    return mean, context.all_reduce(tf.distribute.ReduceOp.MEAN, squares)
