"""Clips as batches of images: two of the axes of (N, T, H, W, C) as one, and back.

The products of axes that are folded here, N * T and H * W, are far below 2^31, the bound of an axis
in the kernels of TensorFlow and cuDNN, for any batch whose activations fit into memory.
"""

import tensorflow as tf


def fold_time(clips: tf.Tensor) -> tf.Tensor:
    """(N, T, H, W, C) to (N * T, H, W, C)."""
    frames = tf.reshape(clips, tf.concat([[-1], tf.shape(clips)[2:]], axis=0))
    return tf.ensure_shape(frames, [None, *clips.shape[2:]])


def unfold_time(frames: tf.Tensor, clips: tf.Tensor) -> tf.Tensor:
    """(N * T, H, W, C) to (N, T, H, W, C), with N and T of `clips`."""
    return tf.reshape(frames, tf.concat([tf.shape(clips)[:2], tf.shape(frames)[1:]], axis=0))


def fold_space(clips: tf.Tensor) -> tf.Tensor:
    """(N, T, H, W, C) to (N, T, H * W, C)."""
    shape = tf.shape(clips)
    return tf.reshape(clips, [shape[0], shape[1], -1, clips.shape[-1]])


def unfold_space(images: tf.Tensor, clips: tf.Tensor) -> tf.Tensor:
    """(N, T, H * W, C) to (N, T, H, W, C), with N, T, H and W of `clips`."""
    return tf.reshape(images, tf.concat([tf.shape(clips)[:4], [images.shape[-1]]], axis=0))
