import keras
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.models.normalization import ClipBatchNormalization


def _pair(shape):
    """Keras's layer, not synchronised, and ours, with the same random variables."""
    layers = [
        cls(momentum=0.9, epsilon=1e-5)
        for cls in (keras.layers.BatchNormalization, ClipBatchNormalization)
    ]
    rng = np.random.default_rng(1)
    values = [rng.uniform(0.5, 2, shape[-1]) for _ in range(4)]
    for layer in layers:
        layer.build(shape)
        layer.set_weights(values)
    return layers


@pytest.fixture
def inputs():
    return np.random.default_rng(0).normal(2.0, 3.0, (8, 3, 4, 5, 6)).astype("float32")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rank", [2, 5])
def test_equals_keras_forward_backward_and_in_moving_statistics(inputs, training, rank):
    inputs = tf.constant(inputs if rank == 5 else inputs[:, 0, 0, 0])
    theirs, ours = _pair(inputs.shape)
    results = []
    for layer in (theirs, ours):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(outputs**3)
        sources = [inputs, layer.gamma.value, layer.beta.value]
        results.append([outputs, *tape.gradient(loss, sources), *layer.get_weights()])
    for their, our in zip(*results, strict=True):
        scale = np.abs(their).max()
        np.testing.assert_allclose(our / scale, their / scale, atol=2e-5)


def test_two_replicas_use_the_statistics_of_the_joint_batch(inputs, two_replicas):
    # A mean far from zero: E[x^2] - E[x]^2 in float32 would have lost the variance.
    inputs = inputs * 0.01 + 100.0
    with two_replicas.scope():
        layer = ClipBatchNormalization(momentum=0.9, epsilon=1e-5)
        layer.build(inputs.shape)
    joint = _pair(inputs.shape)[1]
    joint.set_weights([np.ones(6), np.zeros(6), np.zeros(6), np.ones(6)])
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(inputs[4 * context.replica_id_in_sync_group :][:4])
    )

    @tf.function
    def run():
        def step(half):
            with tf.GradientTape() as tape:
                tape.watch(half)
                outputs = layer(half, training=True)
                loss = tf.reduce_sum(outputs**3)
            sources = [half, layer.gamma.value, layer.beta.value]
            return outputs, *tape.gradient(loss, sources)

        return two_replicas.run(step, args=(halves,))

    results = [np.concatenate(two_replicas.experimental_local_results(value)) for value in run()]
    x = inputs.astype("float64")
    centred = x - x.mean(axis=(0, 1, 2, 3))
    deviation = np.sqrt((centred**2).mean(axis=(0, 1, 2, 3)) + 1e-5)
    np.testing.assert_allclose(results[0], centred / deviation, atol=5e-3)
    tensor = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        loss = tf.reduce_sum(joint(tensor, training=True) ** 3)
    expected = tape.gradient(loss, tensor).numpy()
    np.testing.assert_allclose(results[1], expected, atol=5e-3 * np.abs(expected).max())
    # Of scale and offset, the sum over the replicas; outputs may be off by 5e-3, as above.
    y = centred / deviation
    for found, terms, derivative in zip(results[2:], (3 * y**3, 3 * y**2), (y**2, y), strict=True):
        tolerance = 5e-3 * 9 * np.abs(derivative).sum(axis=(0, 1, 2, 3)).max()
        whole = terms.sum(axis=(0, 1, 2, 3))
        np.testing.assert_allclose(found.reshape(2, -1).sum(axis=0), whole, atol=tolerance)
    np.testing.assert_allclose(layer.moving_mean.numpy(), joint.moving_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), joint.moving_variance.numpy(), rtol=1e-4
    )


def test_a_frozen_layer_keeps_its_statistics(inputs):
    layer = _pair(inputs.shape)[1]
    layer.trainable = False
    before = layer.get_weights()
    frozen = layer(inputs, training=True)
    np.testing.assert_array_equal(frozen, layer(inputs, training=False))
    for one, two in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_bfloat16_outputs_and_float32_statistics(inputs):
    layer = ClipBatchNormalization(dtype="mixed_bfloat16")
    outputs = layer(inputs, training=True)
    assert outputs.dtype == tf.bfloat16
    assert layer.moving_mean.dtype == "float32"
    np.testing.assert_allclose(
        layer.moving_mean.numpy(), 0.01 * inputs.mean(axis=(0, 1, 2, 3)), rtol=0.02
    )


def test_configuration_is_that_of_keras():
    layer = ClipBatchNormalization(momentum=0.9, epsilon=1e-5, name="bn")
    again = keras.layers.BatchNormalization.from_config(layer.get_config())
    assert (again.momentum, again.epsilon, again.name) == (0.9, 1e-5, "bn")
