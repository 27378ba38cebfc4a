"""The layers of the networks: this package's, or those of Keras that they derive from."""

import dataclasses

import keras

from cvrl_tf.models.activation import ClipReLU
from cvrl_tf.models.convolution import ClipConv3D
from cvrl_tf.models.normalization import ClipBatchNormalization
from cvrl_tf.models.pooling import ClipMaxPooling3D


@dataclasses.dataclass(frozen=True)
class Layers:
    """Classes with the configuration and the variables of Keras's layers of these names."""

    convolution: type[keras.layers.Conv3D]
    normalization: type[keras.layers.BatchNormalization]
    relu: type[keras.layers.ReLU]
    pooling: type[keras.layers.MaxPooling3D]


LAYERS = {
    "clip": Layers(ClipConv3D, ClipBatchNormalization, ClipReLU, ClipMaxPooling3D),
    "stock": Layers(
        keras.layers.Conv3D,
        keras.layers.BatchNormalization,
        keras.layers.ReLU,
        keras.layers.MaxPooling3D,
    ),
}
