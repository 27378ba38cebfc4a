"""Precisions of computation, and the loss scale that keeps float16 gradients from vanishing."""

import tensorflow as tf

# Keras dtype policies by precision; weights are float32 in all of them.
DTYPE_POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


class LossScale(tf.Module):
    """A factor of the loss: halved when gradients overflow, doubled after many steps without.

    It is dynamic for float16 and constant 1 for other precisions. Keras's loss scale checks the
    gradients of one replica only; here `SGD.apply` finds an overflow on any of them. Create it in
    the scope of the strategy.

    Args:
      precision: a key of `DTYPE_POLICIES`.
    """

    INITIAL = 2.0**15
    GROWTH_STEPS = 2000

    def __init__(self, precision: str):
        super().__init__()
        self.dynamic = precision == "float16"
        if self.dynamic:
            self.scale = tf.Variable(self.INITIAL, trainable=False)
            self.good_steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def multiply(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss to differentiate."""
        return loss * self.scale if self.dynamic else loss

    def divide(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients of the loss, from those of the scaled loss."""
        if not self.dynamic:
            return gradients
        return [gradient / self.scale for gradient in gradients]

    def update(self, skipped: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adapts the scale after a step, outside of replicas.

        Args:
          skipped: scalar, 1 if the gradients were not finite and the step was skipped, else 0.

        Returns:
          `loss_scale`, the scale of the finished step, if it is dynamic; else nothing.
        """
        if not self.dynamic:
            return {}
        before = tf.identity(self.scale)
        good_steps = tf.where(skipped > 0.0, tf.constant(0, tf.int64), self.good_steps + 1)
        grows = good_steps >= self.GROWTH_STEPS
        self.scale.assign(before * tf.where(skipped > 0.0, 0.5, tf.where(grows, 2.0, 1.0)))
        self.good_steps.assign(tf.where(grows, tf.constant(0, tf.int64), good_steps))
        return {"loss_scale": before}
