"""A network that is traced in a second, and batches for it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.data.pipeline import ViewBatch
from cvrl_tf.models.layers import LAYERS
from cvrl_tf.training.config import NetworkConfig, PretrainConfig

CLIP = (4, 16, 16, 3)


def _tiny_backbone(config, dtype="float32", layers="clip"):
    kinds = LAYERS[layers]
    clips = keras.Input((None, None, None, 3), dtype="float32")
    initializer = keras.initializers.VarianceScaling(seed=config.seed)
    x = kinds.convolution(
        *(8, 3),
        strides=2,
        use_bias=False,
        kernel_initializer=initializer,
        dtype=dtype,
        name="conv",
    )(clips)
    x = kinds.normalization(momentum=0.9, dtype=dtype, name="bn")(x)
    x = kinds.relu(dtype=dtype, name="relu")(x)
    return keras.Model(clips, keras.layers.GlobalAveragePooling3D(dtype="float32")(x))


@pytest.fixture
def tiny(monkeypatch):
    """A configuration whose backbone has one convolution."""
    monkeypatch.setattr(NetworkConfig, "build_backbone", _tiny_backbone)
    return PretrainConfig(
        train_data="none",
        num_frames=CLIP[0],
        crop_size=32,
        batch_size=4,
        learning_rate=0.1,
        weight_decay=1e-3,
        momentum_encoder=0.9,
    )


@pytest.fixture
def batches():
    """From a strategy and a number of views: an iterator of global batches of random clips.

    In several parts, each part of a batch comes by itself.
    """

    def make(strategy, num_views=2, num_videos=4, num_parts=1):
        rng = np.random.default_rng(0)
        views = tuple(
            rng.uniform(size=(8 * num_videos, *CLIP)).astype("float32") for _ in range(num_views)
        )
        numbers = np.arange(8 * num_videos)
        data = tf.data.Dataset.from_tensor_slices(
            ViewBatch(views, intervals=numbers.astype("int32"), positions=numbers)
        )
        data = data.batch(num_videos // num_parts, drop_remainder=True)
        return iter(strategy.experimental_distribute_dataset(data))

    return make
