"""A small configuration of pre-training on the small shards."""

import contextlib

import pytest

from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer


@pytest.fixture
def config(shards):
    return PretrainConfig(
        train_data=shards,
        num_frames=4,
        crop_size=32,
        backbone="r3d_small",
        batch_size=4,
        epochs=2.0,
        warmup_epochs=0.5,
        learning_rate=0.002,
        weight_decay=1e-2,
    )


@contextlib.contextmanager
def _interrupted_at(number):
    step, calls = ContrastiveTrainer.step, []

    def failing_step(self, *parts):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return step(self, *parts)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ContrastiveTrainer, "step", failing_step)
        yield


@pytest.fixture
def interrupted_at():
    """A context in which the step of a number, from 1, is interrupted, as by a kill."""
    return _interrupted_at
