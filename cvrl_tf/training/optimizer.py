"""Stochastic gradient descent with momentum and weight decay, in place."""

from collections.abc import Sequence

import keras
import tensorflow as tf


class InPlaceSGD(keras.optimizers.SGD):
    """Keras's SGD with momentum, and weight decay as a gradient; the same variables and results.

    One operation updates a weight and its momentum in place, where Keras's makes several passes and
    as many copies. Weight decay is the gradient of half the sum of the squared weights times its
    factor, as if that were added to the loss; Keras's own `weight_decay` is another, decoupled one.

    Args:
      learning_rate: a number or a schedule.
      momentum: above 0; without Nesterov's correction.
      decay: factor of the weight decay.
      decayed: the variables that it holds for.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float,
        decay: float,
        decayed: Sequence[keras.Variable],
    ):
        super().__init__(learning_rate, momentum=momentum)
        self._decay = decay
        self._decayed_paths = {variable.path for variable in decayed}

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable, on each replica, from the summed gradient."""
        index = self._get_variable_index(variable)
        if self._trainable_variables[index].path in self._decayed_paths:
            gradient = gradient + self._decay * variable
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=_handle(variable),
            accum=_handle(self.momentums[index]),
            lr=tf.cast(learning_rate, tf.float32),
            grad=gradient,
            momentum=self.momentum,
        )


def _handle(variable: keras.Variable | tf.Variable) -> tf.Tensor:
    """The resource of a variable: this replica's, where there are several."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
