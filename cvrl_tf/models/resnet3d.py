"""R3D: the slow pathway of SlowFast as a 3D-ResNet, with the paper's two changes.

The changes (paper section 3.4): the first convolution has temporal kernel 5 and stride 2, and the
data has temporal stride 2. Spatial stride sits on the 1x3x3 convolution.
"""

import dataclasses
import random

import keras

from cvrl_tf.errors import InputError
from cvrl_tf.models.layers import LAYERS, Layers

# Named, like every dtype, wherever Keras would take what the user's keras.json has.
DATA_FORMAT = "channels_last"
BN_MOMENTUM = 0.9
BN_EPSILON = 1e-5
STAGE_TEMPORAL_KERNELS = (1, 1, 3, 3)
BOTTLENECK_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Bottleneck blocks of res2 to res5, and the filters of conv1 and of res2's 1x3x3."""

    blocks: tuple[int, int, int, int]
    filters: int


BACKBONES = {
    "r3d_50": Architecture((3, 4, 6, 3), 64),
    "r3d_101": Architecture((3, 4, 23, 3), 64),
    "r3d_152": Architecture((3, 8, 36, 3), 64),
    "r3d_small": Architecture((1, 1, 1, 1), 16),
}


def outputs_per_pixel(architecture: Architecture) -> float:
    """The outputs of all convolutions for each pixel of each frame of a clip.

    Proportional to the memory of training; a width multiplier multiplies it.
    """
    filters = architecture.filters
    places = 1 / 8  # outputs of a channel for each pixel: conv1 halves time, height and width
    total = filters * places
    places /= 4  # the pooling
    for stage, blocks in enumerate(architecture.blocks):
        before, places = places, places / (4 if stage else 1)
        first = before + places + 2 * BOTTLENECK_EXPANSION * places  # a, b, c and the shortcut
        others = (2 + BOTTLENECK_EXPANSION) * places
        total += filters * 2**stage * (first + (blocks - 1) * others)
    return total


def num_weights(architecture: Architecture, width_multiplier: int = 1) -> int:
    """The number of trained weights of a backbone."""
    filters = architecture.filters * width_multiplier
    total, inputs = 3 * 5 * 7 * 7 * filters + 2 * filters, filters  # conv1 and its normalisation
    stages = zip(architecture.blocks, STAGE_TEMPORAL_KERNELS, strict=True)
    for stage, (blocks, temporal_kernel) in enumerate(stages):
        inner = filters * 2**stage
        outputs = BOTTLENECK_EXPANSION * inner
        total += inputs * outputs + 2 * outputs  # the shortcut of the first block
        for _ in range(blocks):
            kernels = temporal_kernel * inputs * inner + 9 * inner**2 + inner * outputs
            total += kernels + 2 * (2 * inner + outputs)
            inputs = outputs
    return total


class _Builder:
    """Adds named convolutions with batch normalisation, each initialised from its own seed."""

    def __init__(self, seed: int, dtype: keras.DTypePolicy, layers: Layers):
        self._random = random.Random(seed)
        self._layers = layers
        self._dtype = dtype

    def conv_bn(self, x, name, filters, kernel, strides=(1, 1, 1), relu=True):
        x = self._layers.convolution(
            filters,
            kernel,
            strides,
            padding="same",
            data_format=DATA_FORMAT,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                seed=self._random.getrandbits(31)
            ),
            dtype=self._dtype,
            name=f"{name}_conv",
        )(x)
        x = self._layers.normalization(
            momentum=BN_MOMENTUM,
            epsilon=BN_EPSILON,
            dtype=self._dtype,
            name=f"{name}_bn",
        )(x)
        return self._rectify(x, name) if relu else x

    def _rectify(self, x, name):
        return self._layers.relu(dtype=self._dtype, name=f"{name}_relu")(x)

    def bottleneck(self, x, name, filters, temporal_kernel, stride, project):
        shortcut, strides = x, (1, stride, stride)
        outputs = filters * BOTTLENECK_EXPANSION
        if project:
            shortcut = self.conv_bn(x, f"{name}_shortcut", outputs, (1, 1, 1), strides, relu=False)
        x = self.conv_bn(x, f"{name}_a", filters, (temporal_kernel, 1, 1))
        x = self.conv_bn(x, f"{name}_b", filters, (1, 3, 3), strides)
        x = self.conv_bn(x, f"{name}_c", outputs, (1, 1, 1), relu=False)
        x = keras.layers.Add(dtype=self._dtype, name=f"{name}_add")([x, shortcut])
        return self._rectify(x, name)

    def pool(self, x, name):
        return self._layers.pooling(
            (1, 3, 3),
            (1, 2, 2),
            padding="same",
            data_format=DATA_FORMAT,
            dtype=self._dtype,
            name=name,
        )(x)


def build_backbone(
    name: str = "r3d_50",
    width_multiplier: int = 1,
    dtype: str = "float32",
    seed: int = 0,
    layers: str = "clip",
) -> keras.Model:
    """Builds an R3D backbone with random weights.

    Args:
      name: a key of `BACKBONES`; `r3d_small` (16 filters, one block a stage) is for CPUs and tests.
      width_multiplier: factor of all numbers of filters.
      dtype: Keras dtype policy, such as "float32" or "mixed_bfloat16".
      seed: of the initial weights.
      layers: a key of `layers.LAYERS`: "clip", this package's, or "stock", Keras's own. Both have
        the same weights and results; Keras's are slower and, over several replicas, take the
        statistics of a batch from each replica alone.

    Returns:
      A Keras model from clips (N, T, H, W, 3) float32 in [0, 1], any T, H and W, to globally
      average-pooled features (N, 32 * filters * width_multiplier) float32: (N, 2048) for r3d_50.

    Raises:
      InputError: unknown name.

    Source: paper table 1.
    """
    if name not in BACKBONES:
        raise InputError(f"Found the backbone {name!r}, expected one of {', '.join(BACKBONES)}.")
    architecture = BACKBONES[name]
    filters = architecture.filters * width_multiplier
    builder = _Builder(seed, keras.DTypePolicy(dtype), LAYERS[layers])
    clips = keras.Input((None, None, None, 3), dtype="float32", name="clips")
    x = builder.conv_bn(clips, "conv1", filters, (5, 7, 7), (2, 2, 2))
    x = builder.pool(x, "pool1")
    for stage, num_blocks in enumerate(architecture.blocks):
        for block in range(num_blocks):
            x = builder.bottleneck(
                x,
                f"res{stage + 2}_{block}",
                filters * 2**stage,
                STAGE_TEMPORAL_KERNELS[stage],
                stride=2 if stage > 0 and block == 0 else 1,
                project=block == 0,
            )
    pooling = keras.layers.GlobalAveragePooling3D(DATA_FORMAT, dtype="float32", name="features")
    features = pooling(x)
    return keras.Model(clips, features, name=name)
