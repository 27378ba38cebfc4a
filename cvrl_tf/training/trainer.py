"""Base class of what the loop trains: networks, their optimizer, and one step on a global batch.

A batch comes in one part or several (`data.parts`), so that the host never holds two whole ones.
"""

import abc
from typing import Any

import keras
import tensorflow as tf

from cvrl_tf.training.optimizer import build_optimizer
from cvrl_tf.training.precision import LossScale
from cvrl_tf.training.schedule import WarmupCosine

Figures = dict[str, tf.Tensor]


class Trainer(abc.ABC):
    """Networks and their optimizer. Create it inside the strategy's scope.

    A subclass computes the gradients of one replica's share of a batch.

    Args:
      trained: networks whose trainable weights are trained, by their names in checkpoints.
      schedule: the learning rate.
      weight_decay: factor of half the sum of the squared kernels, as if added to the loss.
      optimizer: one of `optimizer.OPTIMIZERS`.
      precision: a key of `precision.DTYPE_POLICIES`.
      frozen: networks that are not trained, by their names in checkpoints.

    Attributes:
      checkpoint: everything that a run resumes from; `checkpoint.step` counts finished steps.
      weights: the networks and the step alone.
      schedule: the learning rate.
      strategy: in whose scope it was created.
    """

    def __init__(
        self,
        trained: dict[str, keras.Model],
        schedule: WarmupCosine,
        weight_decay: float,
        optimizer: str = "sgd",
        precision: str = "float32",
        frozen: dict[str, keras.Model] | None = None,
    ):
        self.schedule = schedule
        self.strategy = tf.distribute.get_strategy()
        models = list(trained.values())
        self.variables = [variable for model in models for variable in model.trainable_variables]
        self.optimizer = build_optimizer(optimizer, models, schedule, weight_decay)
        self._loss_scale = LossScale(precision)
        parts = trained | (frozen or {}) | {"step": tf.Variable(0, dtype=tf.int64)}
        self.weights = tf.train.Checkpoint(**parts)
        self.checkpoint = tf.train.Checkpoint(
            optimizer=self.optimizer, loss_scale=self._loss_scale, **parts
        )

    @abc.abstractmethod
    def gradients(self, *parts: Any) -> tuple[list[tf.Tensor], Figures]:
        """Gradients and figures of this replica's share of a batch, called in replica context.

        Args:
          *parts: of its share, one after another.

        Returns:
          Gradients of the loss of the joint batch, one for each of `self.variables`. The optimizer
          sums them over replicas; `differentiate` computes them. Figures: scalars whose mean over
          replicas is the value of the joint batch; `loss` is one of them.
        """

    def differentiate(self, tape: tf.GradientTape, scaled_loss: tf.Tensor) -> list[tf.Tensor]:
        """The gradients that `gradients` returns, of a loss from `scale`."""
        return self._loss_scale.divide(tape.gradient(scaled_loss, self.variables))

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss to differentiate, divided by the replicas because gradients are summed."""
        return self._loss_scale.multiply(loss / self.strategy.num_replicas_in_sync)

    def _replica_step(self, *parts: Any) -> Figures:
        gradients, figures = self.gradients(*parts)
        return figures | self.update(gradients)

    def update(self, gradients: list[tf.Tensor]) -> Figures:
        """Changes the weights, in replica context; see `optimizer.SGD.apply`."""
        return self.optimizer.apply(gradients, self.checkpoint.step)

    @tf.function
    def step(self, *parts: Any) -> Figures:
        """Trains on one global batch.

        Args:
          *parts: the arguments of `gradients`, per replica.

        Returns:
          Scalars of the joint batch: the figures of `gradients`; `gradient_norm`; `skipped`, 1 if
          the gradients were not finite and nothing was changed, else 0; `loss_scale` with float16.
        """
        return self.finish(self.strategy.run(self._replica_step, args=parts))

    def finish(self, figures: Figures) -> Figures:
        """Averages the figures over replicas and counts the step."""
        means = {
            name: self.strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in figures.items()
        }
        self.checkpoint.step.assign_add(1)
        return means | self._loss_scale.update(means["skipped"])
