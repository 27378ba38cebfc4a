import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.models.activation import ClipReLU
from cvrl_tf.models.normalization import ClipBatchNormalization

# Zeros of both signs, the smallest and largest numbers, infinities, a NaN.
SPECIAL = [0.0, -0.0, 1e-40, -1e-40, 3e38, -3e38, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_values_and_gradients_are_exactly_those_of_tensorflow(dtype):
    layer = ClipReLU(dtype=dtype)
    numbers = np.concatenate([SPECIAL, np.random.default_rng(0).normal(size=1000)])
    inputs = tf.cast(numbers, layer.compute_dtype)
    upstream = tf.cast(np.random.default_rng(1).normal(size=len(numbers)), layer.compute_dtype)
    results = []
    for function in (tf.nn.relu, layer):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(inputs)
        results.append([outputs, tape.gradient(outputs, inputs, output_gradients=upstream)])
    for their, our in zip(*results, strict=True):
        assert our.dtype == their.dtype
        np.testing.assert_array_equal(tf.cast(our, tf.float32), tf.cast(their, tf.float32))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_nan_of_either_sign_reaches_the_gradients_through_batch_normalisation(sign):
    # So that its step is skipped, although a NaN with a sign is no longer in the outputs.
    normalization = ClipBatchNormalization(dtype="mixed_bfloat16")
    normalization.build((None, None, None, None, 3))
    numbers = np.random.default_rng(0).normal(size=(2, 2, 4, 4, 3))
    numbers[0, 0, 0, 0, 1] = np.copysign(np.nan, sign)
    inputs = tf.cast(numbers, tf.bfloat16)
    with tf.GradientTape() as tape:
        outputs = ClipReLU(dtype="mixed_bfloat16")(normalization(inputs, training=True))
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2)
    (scale,) = tape.gradient(loss, [normalization.gamma.value])
    assert np.isfinite(scale.numpy()).tolist() == [True, False, True]
