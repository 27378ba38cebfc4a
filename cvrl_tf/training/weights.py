"""The weights of runs: loaded from checkpoints, imported, and taken as initial weights."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.training import checkpoints
from cvrl_tf.training.checkpoints import locate, restore
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.run_config import load_config
from cvrl_tf.training.run_directory import RunDirectory


def load_backbone(path: str, dtype: str = "float32") -> tuple[keras.Model, int]:
    """Builds the backbone of a run with the weights of a checkpoint.

    Args:
      path: a directory or a checkpoint, see `locate`.
      dtype: Keras dtype policy.

    Returns:
      The backbone, and the number of training steps its weights have seen.

    Raises:
      InputError: no run or no checkpoint there, or one that is damaged or of another network.
    """
    directory, prefix = locate(path)
    backbone = load_config(directory).build_backbone(dtype)
    if prefix is None:
        raise InputError(
            f"{RunDirectory(directory).checkpoints} holds no checkpoint: expected one of python -m"
            " cvrl_tf.train, which writes the first after save_every_steps steps."
        )
    step = tf.Variable(0, dtype=tf.int64)
    restore(tf.train.Checkpoint(backbone=backbone, step=step), prefix)
    return backbone, int(step.numpy())


def save_imported(
    model_dir: str, backbone: keras.Model, head: keras.Model | None, step: int
) -> None:
    """Writes weights from elsewhere as the checkpoint of a directory made by `prepare`.

    Args:
      model_dir: the directory.
      backbone: of its configuration.
      head: the projection head, None when there is none.
      step: number of training steps that the weights have seen.
    """
    networks = {"backbone": backbone}
    if head is not None:
        networks["head"] = head
    save(model_dir, networks, step)


def save(model_dir: str, networks: Mapping[str, keras.Model], step: int) -> None:
    """Writes the only checkpoint of a directory, from which no training resumes.

    Args:
      model_dir: the directory.
      networks: by their names in checkpoints.
      step: number of training steps that the weights have seen.
    """
    with files.literal_path(model_dir) as literal:
        manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(**networks, step=tf.Variable(step, dtype=tf.int64)),
            RunDirectory(literal).checkpoints,
            max_to_keep=1,
        )
        manager.save(checkpoint_number=step)


def initialize(backbone: keras.Model, head: keras.Model, config: PretrainConfig) -> str:
    """Gives a network the weights of `config.init_checkpoint`.

    Args:
      backbone: of `config`; its weights are replaced.
      head: its projection head; replaced too if the checkpoint holds one.
      config: of the run.

    Returns:
      A sentence that says what was loaded.

    Raises:
      InputError: no such checkpoint, or one of another network.
    """
    directory, prefix = locate(config.init_checkpoint)
    source = load_config(directory)
    if prefix is None:
        raise InputError(f"init_checkpoint={config.init_checkpoint} holds no checkpoint.")
    for name in ("backbone", "width_multiplier"):
        if getattr(source, name) != getattr(config, name):
            raise InputError(
                f"init_checkpoint={config.init_checkpoint} has {name}={getattr(source, name)},"
                f" this run {name}={getattr(config, name)}: give the same."
            )
    parts = {"backbone": backbone}
    if checkpoints.holds(prefix, "head"):
        parts["head"] = head
    restore(tf.train.Checkpoint(**parts), prefix)
    return f"initial weights: {' and '.join(parts)} of {prefix}" + (
        "" if "head" in parts else " (it has no projection head, which starts from random weights)"
    )
