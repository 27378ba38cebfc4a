"""A backbone with almost no computation."""

import keras


def tiny_backbone(
    seed: int = 0,
    dtype: str = "float32",
    normalization: type[keras.layers.Layer] = keras.layers.BatchNormalization,
) -> keras.Model:
    """From clips (n, T, H, W, 3) to (n, 16), with a batch normalisation."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.layers.Input((None, None, None, 3)),
            keras.layers.Conv3D(16, 3, strides=4, activation="relu", dtype=dtype),
            normalization(dtype=dtype),
            keras.layers.GlobalAveragePooling3D(dtype=dtype),
        ]
    )
