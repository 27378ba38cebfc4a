"""A small configuration of pre-training on the small shards."""

import pytest

from cvrl_tf.training.config import PretrainConfig


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
