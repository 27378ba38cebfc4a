"""The learning rate over a run."""

import math

import keras
import tensorflow as tf


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then cosine decay to 0 at the last step.

    The cosine covers all steps, and the warm-up ends at its value of that step, as in the released
    code. So the peak, at step `warmup_steps`, is a little below `learning_rate`.

    Args:
      learning_rate: value of the cosine at step 0.
      warmup_steps: steps of the warm-up; may be 0.
      total_steps: steps of the run.

    Source: paper section 4, implementation details.
    """

    def __init__(self, learning_rate: float, warmup_steps: int, total_steps: int):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """The learning rate of the step that follows `step` finished steps, scalar float32."""
        step = tf.cast(step, tf.float32)

        def cosine(step: tf.Tensor) -> tf.Tensor:
            done = tf.minimum(step / self.total_steps, 1.0)
            return 0.5 * self.learning_rate * (1.0 + tf.cos(math.pi * done))

        warmup_steps = tf.constant(float(self.warmup_steps))
        warmup = cosine(warmup_steps) * tf.math.divide_no_nan(step, warmup_steps)
        return tf.where(step < warmup_steps, warmup, cosine(step))

    def get_config(self) -> dict[str, float | int]:
        """The arguments of the constructor."""
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }
