"""Heads on the backbone's features."""

import random

import keras
from keras import layers

from cvrl_tf.models.normalization import ClipBatchNormalization

HIDDEN_LAYERS = 3
MAX_HIDDEN_UNITS = 2048
EMBEDDING_SIZE = 128
BN_MOMENTUM = 0.997
BN_EPSILON = 1e-5


def build_projection_head(feature_size: int, dtype: str = "float32", seed: int = 0) -> keras.Model:
    """Builds the projection head: 3 x [Dense, BN, ReLU], then Dense 128, all Dense with bias.

    Args:
      feature_size: size of the backbone's features; the hidden layers are as wide, at most 2048.
      dtype: Keras dtype policy.
      seed: of the initial weights.

    Returns:
      A Keras model from features (N, feature_size) to embeddings (N, 128) float32, not normalised.

    Source: paper section 3.1; sizes of the released code.
    """
    generator = random.Random(seed)

    def dense(units: int, name: str, dtype: str) -> layers.Dense:
        initializer = keras.initializers.VarianceScaling(seed=generator.getrandbits(31))
        return layers.Dense(units, kernel_initializer=initializer, dtype=dtype, name=name)

    features = keras.Input((feature_size,), name="features")
    x = features
    for index in range(HIDDEN_LAYERS):
        x = dense(min(feature_size, MAX_HIDDEN_UNITS), f"hidden_{index}_dense", dtype)(x)
        x = ClipBatchNormalization(
            momentum=BN_MOMENTUM,
            epsilon=BN_EPSILON,
            dtype=dtype,
            name=f"hidden_{index}_bn",
        )(x)
        x = layers.ReLU(dtype=dtype, name=f"hidden_{index}_relu")(x)
    embeddings = dense(EMBEDDING_SIZE, "embeddings", "float32")(x)
    return keras.Model(features, embeddings, name="projection_head")
