"""The weights of runs: loaded from checkpoints, imported, and taken as initial weights."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError, reason
from cvrl_tf.training import checkpoints
from cvrl_tf.training.checkpoints import locate, restore
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.run_config import load_config
from cvrl_tf.training.run_directory import RunDirectory

AVERAGE = "momentum_backbone"  # the name of a moving average in checkpoints (methods.momentum)


def load_backbone(
    path: str, dtype: str = "float32", average: bool = False
) -> tuple[keras.Model, int]:
    """Builds the backbone of a run with the weights of a checkpoint.

    Args:
      path: a directory or a checkpoint, see `locate`.
      dtype: Keras dtype policy.
      average: whether it gets the moving average of the weights, of a run with a momentum encoder.

    Returns:
      The backbone, and the number of training steps its weights have seen.

    Raises:
      InputError: no run or no checkpoint there, one that is damaged or of another network, or one
        without an average.
    """
    directory, prefix = locate(path)
    backbone = load_config(directory).build_backbone(dtype)
    if prefix is None:
        raise InputError(
            f"{RunDirectory(directory).checkpoints} holds no checkpoint: expected one of python -m"
            " cvrl_tf.train, which writes the first after save_every_steps steps."
        )
    name = AVERAGE if average else "backbone"
    if average and not checkpoints.holds(prefix, name):
        raise InputError(
            f"The checkpoint {prefix} holds no average of the weights, expected one of a run with"
            " momentum_encoder: choose the trained weights."
        )
    step = tf.Variable(0, dtype=tf.int64)
    restore(tf.train.Checkpoint(**{name: backbone}, step=step), prefix)
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

    Raises:
      InputError: it cannot be written.
    """
    with files.literal_path(model_dir) as literal:
        manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(**networks, step=tf.Variable(step, dtype=tf.int64)),
            RunDirectory(literal).checkpoints,
            max_to_keep=1,
        )
        try:
            manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            raise InputError(
                f"The checkpoint cannot be written to {RunDirectory(model_dir).checkpoints}"
                f" ({reason(error)}): give yourself permission, free some space, or name"
                " another directory."
            ) from None


def initialize(networks: Mapping[str, keras.Model], config: PretrainConfig) -> str:
    """Gives networks the weights of `config.init_checkpoint`.

    Args:
      networks: of `config`, by their names in checkpoints: "backbone", whose weights are replaced,
        and others, which are replaced if the checkpoint holds them.
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
    parts = {
        name: network
        for name, network in networks.items()
        if name == "backbone" or checkpoints.holds(prefix, name)
    }
    restore(tf.train.Checkpoint(**parts), prefix)
    titles = [{"head": "projection head"}.get(name, name) for name in networks if name not in parts]
    return f"initial weights: {' and '.join(parts)} of {prefix}" + "".join(
        f" (it has no {title}, which starts from random weights)" for title in titles
    )
