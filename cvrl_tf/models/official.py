"""Checkpoints of the authors' released implementation.

Theirs are TensorFlow's object-based checkpoints. A block is one object there, so keys look like
`backbone/layer_with_weights-9/_temporal_conv/kernel`; the projection head of a full pre-training
checkpoint is `model/layer_with_weights-1` to `-7`.
"""

import re
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.models.heads import HIDDEN_LAYERS
from cvrl_tf.models.resnet3d import BACKBONES, BOTTLENECK_EXPANSION

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_CONVOLUTION = ("kernel",)
_DENSE = ("kernel", "bias")
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")
# In the order of our a, b, c; their normalisation 0 is the shortcut's.
_BLOCK_CONVOLUTIONS = {
    "shortcut": "_shortcut_conv",
    "a": "_temporal_conv",
    "b": "_spatial_conv",
    "c": "_expand_conv",
}
# The contents of their checkpoints beside weights of the network.
_BOOKKEEPING = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|(optimizer|save_counter|global_step)(/.*)?|.*/\.OPTIMIZER_SLOT/.*"
)


def backbone_keys(backbone: keras.Model) -> dict[str, keras.Variable]:
    """The authors' key of each weight of a backbone, moving statistics included.

    Args:
      backbone: of `build_backbone`.
    """
    keys = {}

    def add(their_name: str, our_name: str, attributes: tuple[str, ...]) -> None:
        layer = backbone.get_layer(our_name)
        for attribute in attributes:
            keys[f"backbone/{their_name}/{attribute}{_VALUE}"] = getattr(layer, attribute)

    add("layer_with_weights-0", "conv1_conv", _CONVOLUTION)
    add("layer_with_weights-1", "conv1_bn", _NORMALIZATION)
    layer_names = {layer.name for layer in backbone.layers}
    blocks = [name.removesuffix("_add") for name in layer_names if name.endswith("_add")]
    # res2_0, ..., res4_10, ...: in the order of their numbers.
    blocks.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    for index, block in enumerate(blocks, start=2):
        for norm, (part, convolution) in enumerate(_BLOCK_CONVOLUTIONS.items()):
            if f"{block}_{part}_conv" in layer_names:
                prefix = f"layer_with_weights-{index}"
                add(f"{prefix}/{convolution}", f"{block}_{part}_conv", _CONVOLUTION)
                add(f"{prefix}/_norm{norm}", f"{block}_{part}_bn", _NORMALIZATION)
    return keys


def head_keys(head: keras.Model) -> dict[str, keras.Variable]:
    """The authors' key of each weight of a projection head.

    Args:
      head: of `build_projection_head`.
    """
    layers: list[tuple[str, tuple[str, ...]]] = []
    for index in range(HIDDEN_LAYERS):
        layers.append((f"hidden_{index}_dense", _DENSE))
        layers.append((f"hidden_{index}_bn", _NORMALIZATION))
    layers.append(("embeddings", _DENSE))
    return {
        f"model/layer_with_weights-{index}/{attribute}{_VALUE}": getattr(
            head.get_layer(name), attribute
        )
        for index, (name, attributes) in enumerate(layers, start=1)
        for attribute in attributes
    }


def _weight_shapes(prefix: str) -> dict[str, list[int]]:
    """Key and shape of each weight of a checkpoint of theirs, without the optimizer's."""
    try:
        with files.literal_path(prefix) as literal:
            shapes = dict(tf.train.list_variables(literal))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(
            f"The checkpoint {prefix} cannot be read ({getattr(error, 'message', error)}): give the"
            f" prefix of the authors' files, that is {prefix}.index and"
            f" {prefix}.data-00000-of-00001 without the part after the prefix."
        ) from None
    return {key: shape for key, shape in shapes.items() if not _BOOKKEEPING.fullmatch(key)}


def has_head(prefix: str) -> bool:
    """Whether a checkpoint of the authors holds a projection head: those of pre-training do.

    Raises:
      InputError: the checkpoint cannot be read.
    """
    return any(key.startswith("model/") for key in _weight_shapes(prefix))


def official_step(prefix: str) -> int:
    """The number of training steps that a checkpoint of the authors records; 0 when it has none."""
    key = f"global_step{_VALUE}"
    with files.literal_path(prefix) as literal:
        reader = tf.train.load_checkpoint(literal)
        return int(reader.get_tensor(key)) if reader.has_tensor(key) else 0


def official_architecture(prefix: str) -> tuple[str, int]:
    """Identifies the backbone of a checkpoint of the authors by its blocks and filters.

    Args:
      prefix: of the checkpoint's files.

    Returns:
      Name and width multiplier for `build_backbone`.

    Raises:
      InputError: the checkpoint cannot be read, or its backbone is none of ours.
    """
    shapes = _weight_shapes(prefix)
    filters = shapes.get(f"backbone/layer_with_weights-0/kernel{_VALUE}", [0])[-1]
    # The filters of the last convolution of each block, which identify the stages.
    outputs = [
        shape[-1]
        for key, shape in shapes.items()
        if re.fullmatch(rf"backbone/layer_with_weights-\d+/_expand_conv/kernel{_VALUE}", key)
    ]
    for name, architecture in BACKBONES.items():
        expected = [
            filters * BOTTLENECK_EXPANSION * 2**stage
            for stage, num_blocks in enumerate(architecture.blocks)
            for _ in range(num_blocks)
        ]
        if filters and filters % architecture.filters == 0 and sorted(outputs) == expected:
            return name, filters // architecture.filters
    raise InputError(
        f"{prefix} contains no recognisable backbone: found {len(outputs)} blocks after"
        f" {filters} filters in {len(shapes)} weights; expected a checkpoint of the authors' CVRL"
        f" code with one of {', '.join(BACKBONES)}."
    )


def load_official_checkpoint(
    model: keras.Model, prefix: str, head: keras.Model | None = None
) -> None:
    """Loads a checkpoint of the authors' implementation: all of it, or nothing.

    Reads the published backbones (`r3d_1x_k400_800ep` and its like) and full pre-training
    checkpoints, whose projection head is checked against what a head has, and left unless `head`
    is given. The optimizer's state is not read.

    Args:
      model: of `build_backbone`; its weights are replaced.
      prefix: of the checkpoint's files, without `.index`.
      head: of `build_projection_head`; its weights are replaced too.

    Raises:
      InputError: the checkpoint cannot be read, or lacks keys, has further ones, or has them in
        another shape; all are named, and nothing is loaded.
    """
    shapes = _weight_shapes(prefix)
    variables = backbone_keys(model)
    if head is not None:
        variables |= head_keys(head)
    further = [key for key in shapes if key not in variables]
    if head is None:
        further = [key for key in further if not _is_head_key(key)]
    _check(prefix, variables, shapes, further)
    try:
        with files.literal_path(prefix) as literal:
            reader = tf.train.load_checkpoint(literal)
            values = {key: reader.get_tensor(key) for key in variables}
    except (tf.errors.OpError, IndexError) as error:  # IndexError: the file is cut off
        raise InputError(
            f"The checkpoint {prefix} is damaged ({getattr(error, 'message', error)}): fetch it"
            " again."
        ) from None
    for key, variable in variables.items():
        variable.assign(values[key])


def _is_head_key(key: str) -> bool:
    match = re.fullmatch(rf"model/layer_with_weights-(\d+)/(\w+){_VALUE}", key)
    return match is not None and 1 <= int(match[1]) <= 2 * HIDDEN_LAYERS + 1


def _check(
    prefix: str,
    variables: Mapping[str, keras.Variable],
    shapes: Mapping[str, list[int]],
    further: list[str],
) -> None:
    """Raises with every key that is missing, further or of another shape."""

    def listed(keys: list[str], describe: Callable[[str], str] = lambda key: "") -> str:
        names = [key.removesuffix(_VALUE) + describe(key) for key in sorted(keys)]
        return f"{len(names)} ({', '.join(names)})"

    missing = [key for key in variables if key not in shapes]
    misshapen = [
        key
        for key, variable in variables.items()
        if key in shapes and tuple(shapes[key]) != tuple(variable.shape)
    ]
    problems = []
    if missing:
        problems.append(f"missing {listed(missing)}")
    if further:
        problems.append(f"not of this network {listed(further)}")
    if misshapen:
        text = listed(
            misshapen,
            lambda key: f" {tuple(shapes[key])}, expected {tuple(variables[key].shape)}",
        )
        problems.append(f"of another shape {text}")
    if problems:
        raise InputError(
            f"{prefix} does not hold the weights of this network, nothing was loaded:"
            f" {'; '.join(problems)}. Build the backbone that the checkpoint is of."
        )
