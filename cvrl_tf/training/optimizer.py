"""Optimizers that update each replica's copy of the weights and skip steps that are not finite."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

OPTIMIZERS = ("sgd", "lars")
MOMENTUM = 0.9
LARS_COEFFICIENT = 0.001  # of the trust ratio; as in SimCLR and BYOL


class SGD(tf.Module):
    """Stochastic gradient descent with momentum, without Nesterov's correction, in place.

    One operation updates a weight and its momentum in place; Keras's optimizer makes several passes
    and copies. Weight decay is the gradient of `weight_decay` times half the sum of the squared
    weights, as if that were added to the loss. (Keras's own `weight_decay` is decoupled.)

    Args:
      variables: the weights. Create the optimizer inside the strategy's scope, like the weights.
      learning_rate: function from the number of finished steps to a scalar float32.
      weight_decay: factor of the weight decay.
      decayed: the variables with weight decay.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        learning_rate: Callable[[tf.Tensor], tf.Tensor],
        weight_decay: float,
        decayed: Sequence[keras.Variable],
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self._variables = list(variables)
        self._weight_decay = weight_decay
        self._scaled_paths: set[str] = set()
        self._factor = 1.0
        self._decayed_paths = {variable.path for variable in decayed}
        self.momentums = [
            tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in variables
        ]

    def scale_rate(self, variables: Sequence[keras.Variable], factor: float) -> None:
        """Multiplies the learning rate of some of the weights; call it before the first step."""
        self._scaled_paths, self._factor = {variable.path for variable in variables}, factor

    def apply(self, gradients: Sequence[tf.Tensor], step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Updates the weights by the gradients summed over replicas. Call it in replica context.

        If the sum is not finite, no replica changes anything.

        Args:
          gradients: of this replica, float32, one for each weight, in the order of the weights.
          step: number of finished steps.

        Returns:
          `gradient_norm`, of the summed gradients; `skipped`, 1 if nothing was changed, else 0.
        """
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)
        rate = tf.cast(self.learning_rate(step), tf.float32)

        def update() -> tf.Tensor:
            for index, gradient in enumerate(gradients):
                self._update(index, gradient, rate)
            return tf.constant(0.0)

        skipped = tf.cond(finite, update, lambda: tf.constant(1.0))
        return {"gradient_norm": norm, "skipped": skipped}

    def _update(self, index: int, gradient: tf.Tensor, learning_rate: tf.Tensor) -> None:
        variable, momentum = self._variables[index].value, self.momentums[index]
        rate = self._rate(index, gradient, learning_rate)
        if self._factor != 1.0 and self._variables[index].path in self._scaled_paths:
            rate *= self._factor
        if self._decays(index):
            # Into the momentum, in place: adding it to the gradient makes two copies of a weight.
            tf.raw_ops.ResourceApplyGradientDescent(
                var=momentum.handle,
                alpha=rate * (self._weight_decay / MOMENTUM),
                delta=variable,
            )
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,  # this replica's
            accum=momentum.handle,
            lr=rate,
            grad=gradient,
            momentum=MOMENTUM,
        )

    def _decays(self, index: int) -> bool:
        return self._variables[index].path in self._decayed_paths

    def _rate(self, index: int, gradient: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
        return learning_rate


class LARS(SGD):
    """SGD whose learning rate is scaled for each kernel by the norm of kernel over gradient.

    The scaling and the weight decay apply to `decayed` only: not to biases and batch normalisation.

    Source: You et al., arXiv 1708.03888; exclusions and coefficient as in SimCLR.
    """

    def _rate(self, index: int, gradient: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
        if not self._decays(index):
            return learning_rate
        weight = self._variables[index].value
        weight_norm = tf.norm(weight)
        gradient_norm = tf.norm(gradient + self._weight_decay * weight)
        ratio = LARS_COEFFICIENT * tf.math.divide_no_nan(weight_norm, gradient_norm)
        return learning_rate * tf.where(ratio > 0.0, ratio, 1.0)


def build_optimizer(
    name: str,
    models: Sequence[keras.Model],
    learning_rate: Callable[[tf.Tensor], tf.Tensor],
    weight_decay: float,
) -> SGD:
    """The optimizer of the trainable weights of `models`; weight decay applies to kernels only.

    Args:
      name: one of `OPTIMIZERS`.
      models: networks whose trainable variables are updated, in this order.
      learning_rate: function from the number of finished steps to a scalar float32.
      weight_decay: factor of half the sum of the squared kernels, as if added to the loss.
    """
    variables = [variable for model in models for variable in model.trainable_variables]
    kernels = [variable for variable in variables if variable.path.endswith("/kernel")]
    kind = {"sgd": SGD, "lars": LARS}[name]
    return kind(variables, learning_rate, weight_decay, kernels)
