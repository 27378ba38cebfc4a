import keras
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.training.optimizer import InPlaceSGD
from cvrl_tf.training.schedule import WarmupCosine


def _variables():
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
        for name, shape in [("kernel", (3, 4)), ("bias", (4,)), ("other", (2, 2))]
    ]


def _gradients(steps):
    rng = np.random.default_rng(1)
    return [
        [rng.normal(size=shape).astype("float32") for shape in [(3, 4), (4,), (2, 2)]]
        for _ in range(steps)
    ]


def test_three_steps_by_hand():
    variables = _variables()
    expected = [variable.numpy() for variable in variables]
    optimizer = InPlaceSGD(0.5, 0.9, 0.01, [variables[0], variables[2]])
    momenta = [0.0, 0.0, 0.0]
    for gradients in _gradients(3):
        optimizer.apply([tf.constant(gradient) for gradient in gradients], variables)
        for index, gradient in enumerate(gradients):
            if index != 1:  # the bias does not decay
                gradient = gradient + 0.01 * expected[index]
            momenta[index] = 0.9 * momenta[index] - 0.5 * gradient
            expected[index] = expected[index] + momenta[index]
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-6)
    for slot, value in zip(optimizer.momentums, momenta, strict=True):
        np.testing.assert_allclose(slot.numpy(), value, rtol=1e-6)


def test_equals_keras_with_a_schedule_and_counts_its_steps():
    schedule = WarmupCosine(0.3, 2, 6)
    ours, theirs = _variables(), _variables()
    mine = InPlaceSGD(schedule, 0.9, 0.0, [])
    reference = keras.optimizers.SGD(schedule, momentum=0.9)
    for gradients in _gradients(5):
        mine.apply([tf.constant(gradient) for gradient in gradients], ours)
        reference.apply([tf.constant(gradient) for gradient in gradients], theirs)
    assert int(mine.iterations.numpy()) == 5
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-6)
    assert [v.path.split("/")[-1] for v in mine.variables] == [
        v.path.split("/")[-1] for v in reference.variables
    ]


def test_replicas_sum_their_gradients_and_decay_once(two_replicas):
    with two_replicas.scope():
        variable = keras.Variable(np.full(3, 2.0, "float32"), name="kernel")
        optimizer = InPlaceSGD(0.1, 0.9, 0.5, [variable])
        optimizer.build([variable])

    @tf.function
    def step():
        def replica():
            context = tf.distribute.get_replica_context()
            gradient = tf.fill([3], 1.0 + tf.cast(context.replica_id_in_sync_group, tf.float32))
            optimizer.apply([gradient], [variable])

        two_replicas.run(replica)

    step()
    # Gradients 1 + 2, and 0.5 * 2 of decay.
    for value in two_replicas.experimental_local_results(variable.value):
        np.testing.assert_allclose(value.numpy(), 2.0 - 0.1 * 4.0, rtol=1e-6)
    step()
    # Momentum -0.4, decay 0.5 * 1.6.
    expected = 1.6 + (0.9 * -0.4 - 0.1 * (3.0 + 0.8))
    for value in two_replicas.experimental_local_results(variable.value):
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)


def test_an_update_makes_no_copies():
    variable = keras.Variable(np.zeros(10, "float32"), name="kernel")
    optimizer = InPlaceSGD(0.1, 0.9, 0.0, [])
    optimizer.build([variable])
    graph = tf.function(lambda g: optimizer.apply([g], [variable])).get_concrete_function(
        tf.TensorSpec([10], tf.float32)
    )
    operations = [operation.type for operation in graph.graph.get_operations()]
    assert operations.count("ResourceApplyKerasMomentum") == 1
    assert not any(
        operation.outputs and operation.outputs[0].shape == [10]
        for operation in graph.graph.get_operations()
        if operation.type in ("Mul", "AddV2", "Sub")
    )


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_decay_is_the_gradient_of_half_the_squared_weights(decay):
    variables = _variables()
    before = variables[0].numpy()
    optimizer = InPlaceSGD(1.0, 0.9, decay, [variables[0]])
    optimizer.apply([tf.zeros([3, 4]), tf.zeros([4]), tf.zeros([2, 2])], variables)
    np.testing.assert_allclose(variables[0].numpy(), before * (1 - decay), rtol=1e-6)
