"""Pre-training in a process of its own, with a network of one convolution."""

import sys
import time

from tiny_backbone import tiny_backbone

from cvrl_tf import train
from cvrl_tf.training.config import NetworkConfig
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer


def pretrain(arguments, output, step_seconds):
    """Does what the command does; each step also waits.

    Args:
      arguments: of `cvrl_tf.train`.
      output: file for what is printed.
      step_seconds: to wait before each step.
    """
    step = ContrastiveTrainer.step

    def slow_step(self, *parts):
        time.sleep(step_seconds)
        return step(self, *parts)

    def build(config, dtype="float32", layers="clip"):
        return tiny_backbone(config.seed, dtype)

    ContrastiveTrainer.step = slow_step
    NetworkConfig.build_backbone = build
    with open(output, "w") as file:
        sys.stdout = sys.stderr = file
        train.COMMAND.call(*arguments)
