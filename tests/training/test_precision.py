import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.training.precision import LossScale


def test_float16_halves_on_overflow_and_doubles_after_a_while():
    scale = LossScale("float16")
    scale.GROWTH_STEPS = 3
    told = [
        float(scale.update(tf.constant(skipped))["loss_scale"])
        for skipped in (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    ]
    whole = 2.0**15
    assert told == [whole, whole, whole / 2, whole / 2, whole / 2, whole, whole, whole / 2]


def test_multiplied_and_divided_gradients_are_those_of_the_loss():
    scale = LossScale("float16")
    weight = tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        loss = scale.multiply(tf.reduce_sum(weight**2))
    assert float(loss) == 5 * 2.0**15
    (gradient,) = scale.divide(tape.gradient(loss, [weight]))
    np.testing.assert_array_equal(gradient, [2.0, 4.0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_other_types_have_none(precision):
    scale = LossScale(precision)
    assert scale.update(tf.constant(1.0)) == {} and not scale.variables
    assert float(scale.multiply(tf.constant(3.0))) == 3.0
