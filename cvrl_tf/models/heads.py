"""Heads on the backbone's features."""

import random

import keras

from cvrl_tf.models.layers import LAYERS

HIDDEN_LAYERS = 3
MAX_HIDDEN_UNITS = 2048
EMBEDDING_SIZE = 128
BN_MOMENTUM = 0.997
BN_EPSILON = 1e-5
CLASSIFIER_RANGE = 0.05  # of the initial weights, as in the released code


def build_projection_head(
    feature_size: int, dtype: str = "float32", seed: int = 0, layers: str = "clip"
) -> keras.Model:
    """Builds the projection head: 3 x [Dense, BN, ReLU], then Dense 128, all Dense with bias.

    Args:
      feature_size: size of the backbone's features; the hidden layers are as wide, at most 2048.
      dtype: Keras dtype policy.
      seed: of the initial weights.
      layers: as of `build_backbone`.

    Returns:
      A Keras model from features (N, feature_size) to embeddings (N, 128) float32, not normalised.

    Source: paper section 3.1; sizes of the released code.
    """
    generator = random.Random(seed)
    features = keras.Input((feature_size,), dtype="float32", name="features")
    units = min(feature_size, MAX_HIDDEN_UNITS)
    x = features
    for index in range(HIDDEN_LAYERS):
        x = _hidden_layer(x, units, f"hidden_{index}", dtype, generator.getrandbits(31), layers)
    dense = _dense(EMBEDDING_SIZE, "embeddings", "float32", generator.getrandbits(31))
    return keras.Model(features, dense(x), name="projection_head")


def build_predictor(
    hidden_units: int, dtype: str = "float32", seed: int = 0, layers: str = "clip"
) -> keras.Model:
    """Builds the predictor of methods with a momentum encoder: [Dense, BN, ReLU], then Dense 128.

    Args:
      hidden_units: size of the hidden layer.
      dtype: Keras dtype policy.
      seed: of the initial weights.
      layers: as of `build_backbone`.

    Returns:
      A Keras model from embeddings (N, 128) to embeddings (N, 128), both float32.

    Source: two layers as in BYOL (Grill et al., arXiv 2006.07733) and MoCo v3 (Chen et al., arXiv
    2104.02057).
    """
    generator = random.Random(f"predictor {seed}")
    embeddings = keras.Input((EMBEDDING_SIZE,), dtype="float32", name="embeddings")
    x = _hidden_layer(
        embeddings, hidden_units, "predictor_hidden", dtype, generator.getrandbits(31), layers
    )
    dense = _dense(EMBEDDING_SIZE, "predictions", "float32", generator.getrandbits(31))
    return keras.Model(embeddings, dense(x), name="predictor")


def _hidden_layer(
    x: keras.KerasTensor, units: int, name: str, dtype: str, seed: int, layers: str
) -> keras.KerasTensor:
    x = _dense(units, f"{name}_dense", dtype, seed)(x)
    x = LAYERS[layers].normalization(
        momentum=BN_MOMENTUM, epsilon=BN_EPSILON, dtype=dtype, name=f"{name}_bn"
    )(x)
    return keras.layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)


def _dense(units: int, name: str, dtype: str, seed: int) -> keras.layers.Dense:
    initializer = keras.initializers.VarianceScaling(seed=seed)
    return keras.layers.Dense(units, kernel_initializer=initializer, dtype=dtype, name=name)


def build_classifier(feature_size: int, num_classes: int, seed: int = 0) -> keras.Model:
    """Builds the classifier of the supervised evaluations: one Dense layer with bias.

    Args:
      feature_size: size of the backbone's features.
      num_classes: number of classes.
      seed: of the initial weights, uniform within 0.05 of 0.

    Returns:
      A Keras model from features (N, feature_size) to logits (N, num_classes), float32 in any
      precision.

    Source: paper section 4.2; initial weights of the released code.
    """
    features = keras.Input((feature_size,), dtype="float32", name="features")
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.RandomUniform(
            -CLASSIFIER_RANGE, CLASSIFIER_RANGE, seed=seed
        ),
        dtype="float32",
        name="logits",
    )(features)
    return keras.Model(features, logits, name="classifier")
