import keras
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.models.pooling import ClipMaxPooling3D


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_values_and_gradients_are_keras_own(size):
    clips = tf.random.stateless_normal([2, 3, *size, 4], [0, 1])
    arguments = ((1, 3, 3), (1, 2, 2), "same")
    results = []
    for layer in (ClipMaxPooling3D(*arguments), keras.layers.MaxPooling3D(*arguments)):
        with tf.GradientTape() as tape:
            tape.watch(clips)
            pooled = layer(clips)
            total = tf.reduce_sum(pooled**2)
        results.append((pooled, tape.gradient(total, clips)))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_float16_on_a_cpu():
    clips = tf.cast(tf.random.stateless_normal([1, 2, 8, 8, 4], [0, 1]), tf.float16)
    layer = ClipMaxPooling3D((1, 3, 3), (1, 2, 2), "same", dtype="float16")
    exact = keras.layers.MaxPooling3D((1, 3, 3), (1, 2, 2), "same")(tf.cast(clips, tf.float32))
    np.testing.assert_array_equal(tf.cast(layer(clips), tf.float32), exact)
    assert layer(keras.Input((None, None, None, 4))).shape == (None, None, None, None, 4)
