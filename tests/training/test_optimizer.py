import keras
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.training.optimizer import LARS, SGD, build_optimizer
from cvrl_tf.training.schedule import WarmupCosine

SHAPES = [("kernel", (3, 4)), ("bias", (4,)), ("other", (2, 2))]


def _variables():
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
        for name, shape in SHAPES
    ]


def _gradients(steps):
    rng = np.random.default_rng(1)
    return [[rng.normal(size=shape).astype("float32") for _, shape in SHAPES] for _ in range(steps)]


def _apply(optimizer, gradients, step=0):
    return optimizer.apply([tf.constant(gradient) for gradient in gradients], tf.constant(step))


def test_three_steps_by_hand():
    variables = _variables()
    expected = [variable.numpy() for variable in variables]
    optimizer = SGD(variables, lambda step: tf.constant(0.5), 0.01, [variables[0], variables[2]])
    momenta = [0.0, 0.0, 0.0]
    for gradients in _gradients(3):
        figures = _apply(optimizer, gradients)
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
        assert float(figures["gradient_norm"]) == pytest.approx(norm, rel=1e-6)
        assert float(figures["skipped"]) == 0.0
        for index, gradient in enumerate(gradients):
            if index != 1:  # the bias does not decay
                gradient = gradient + 0.01 * expected[index]
            momenta[index] = 0.9 * momenta[index] - 0.5 * gradient
            expected[index] = expected[index] + momenta[index]
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-6)
    for slot, value in zip(optimizer.momentums, momenta, strict=True):
        np.testing.assert_allclose(slot.numpy(), value, rtol=1e-6)


def test_equals_keras_with_a_schedule():
    schedule = WarmupCosine(0.3, 2, 6)
    ours, theirs = _variables(), _variables()
    mine = SGD(ours, schedule, 0.0, [])
    reference = keras.optimizers.SGD(schedule, momentum=0.9)
    for step, gradients in enumerate(_gradients(5)):
        _apply(mine, gradients, step)
        reference.apply([tf.constant(gradient) for gradient in gradients], theirs)
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-6)


def test_two_steps_of_lars_by_hand():
    variables = _variables()
    expected = [variable.numpy() for variable in variables]
    optimizer = LARS(variables, lambda step: tf.constant(0.5), 0.1, variables[:1])
    momenta = [0.0, 0.0, 0.0]
    for gradients in _gradients(2):
        _apply(optimizer, gradients)
        for index, gradient in enumerate(gradients):
            rate = 0.5
            if index == 0:  # the others are excluded, like biases and batch normalisation
                gradient = gradient + 0.1 * expected[0]
                rate *= 0.001 * np.linalg.norm(expected[0]) / np.linalg.norm(gradient)
            momenta[index] = 0.9 * momenta[index] - rate * gradient
            expected[index] = expected[index] + momenta[index]
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5)


def test_lars_moves_a_kernel_of_zeros():
    kernel = keras.Variable(np.zeros(3, "float32"), name="kernel")
    optimizer = LARS([kernel], lambda step: tf.constant(0.5), 0.0, [kernel])
    _apply(optimizer, [np.ones(3, "float32")])
    np.testing.assert_allclose(kernel.numpy(), -0.5)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_gradients_that_are_not_finite_change_nothing(bad):
    variables = _variables()
    optimizer = SGD(variables, lambda step: tf.constant(0.5), 0.01, variables)
    (gradients, spoilt) = _gradients(2)
    _apply(optimizer, gradients)
    before = [value.numpy() for value in [*variables, *optimizer.momentums]]
    spoilt[1][2] = bad
    figures = _apply(optimizer, spoilt)
    assert float(figures["skipped"]) == 1.0
    assert not np.isfinite(figures["gradient_norm"])
    for value, old in zip([*variables, *optimizer.momentums], before, strict=True):
        np.testing.assert_array_equal(value.numpy(), old)


def _replica_step(strategy, optimizer, gradients):
    """Applies the gradient `gradients[r]` on replica r."""

    @tf.function
    def step():
        def replica():
            context = tf.distribute.get_replica_context()
            gradient = tf.fill([3], tf.constant(gradients)[context.replica_id_in_sync_group])
            return optimizer.apply([gradient], tf.constant(0))["skipped"]

        return strategy.run(replica)

    return [float(value) for value in strategy.experimental_local_results(step())]


def test_replicas_sum_their_gradients_and_decay_once(two_replicas):
    with two_replicas.scope():
        variable = keras.Variable(np.full(3, 2.0, "float32"), name="kernel")
        optimizer = SGD([variable], lambda step: tf.constant(0.1), 0.5, [variable])
    assert _replica_step(two_replicas, optimizer, [1.0, 2.0]) == [0.0, 0.0]
    # Gradients 1 + 2, and 0.5 * 2 of decay.
    for value in two_replicas.experimental_local_results(variable.value):
        np.testing.assert_allclose(value.numpy(), 2.0 - 0.1 * 4.0, rtol=1e-6)
    assert _replica_step(two_replicas, optimizer, [1.0, 2.0]) == [0.0, 0.0]
    # Momentum -0.4, decay 0.5 * 1.6.
    expected = 1.6 + (0.9 * -0.4 - 0.1 * (3.0 + 0.8))
    for value in two_replicas.experimental_local_results(variable.value):
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("gradients", [[np.inf, 1.0], [1.0, np.inf], [np.inf, -np.inf]])
def test_an_infinity_on_any_replica_skips_the_step_on_all(two_replicas, gradients):
    with two_replicas.scope():
        variable = keras.Variable(np.full(3, 2.0, "float32"), name="kernel")
        optimizer = SGD([variable], lambda step: tf.constant(0.1), 0.5, [variable])
    assert _replica_step(two_replicas, optimizer, gradients) == [1.0, 1.0]
    for value in two_replicas.experimental_local_results(variable.value):
        np.testing.assert_array_equal(value.numpy(), 2.0)


def test_an_update_makes_no_copies():
    variable = keras.Variable(np.zeros(10, "float32"), name="kernel")
    optimizer = SGD([variable], lambda step: tf.constant(0.1), 0.0, [])
    function = tf.function(lambda g: optimizer.apply([g], tf.constant(0)))
    graph = function.get_concrete_function(tf.TensorSpec([10], tf.float32)).graph
    operations = [
        operation
        for inner in [graph, *graph._functions.values()]
        for operation in getattr(inner, "graph", inner).get_operations()
    ]
    kinds = [operation.type for operation in operations]
    assert kinds.count("ResourceApplyKerasMomentum") == 1
    assert not any(
        operation.outputs and operation.outputs[0].shape == [10]
        for operation in operations
        if operation.type in ("Mul", "AddV2", "Sub")
    )


def test_decay_and_the_ratio_of_lars_are_for_kernels():
    clips = keras.Input((4,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(3)(clips))
    model = keras.Model(clips, hidden)
    optimizer = build_optimizer("lars", [model], lambda step: tf.constant(1.0), 1.0)
    assert isinstance(optimizer, LARS)
    before = [variable.numpy() for variable in model.trainable_variables]
    _apply(
        optimizer, [np.zeros(variable.shape, "float32") for variable in model.trainable_variables]
    )
    for variable, old in zip(model.trainable_variables, before, strict=True):
        moved = np.abs(variable.numpy() - old).max() > 0
        assert moved == variable.path.endswith("kernel"), variable.path
