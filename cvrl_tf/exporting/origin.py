"""Backbones to export, and where they come from."""

import dataclasses

import keras

from cvrl_tf.models import official
from cvrl_tf.training import run_directory
from cvrl_tf.training.run_directory import PretrainConfig


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a backbone comes from.

    Attributes:
      config: of the run; without training data for weights of the authors, whose file is then its
        `init_checkpoint`.
      checkpoint: its path.
      step: training steps that the weights have seen.
      model_dir: the directory of the run; None for a checkpoint without one.
    """

    config: PretrainConfig
    checkpoint: str
    step: int
    model_dir: str | None = None


def load_run(path: str) -> tuple[keras.Model, Origin]:
    """The backbone of a run, float32.

    Args:
      path: a directory or a checkpoint, see `run_directory.locate`.

    Raises:
      InputError: as `run_directory.load_backbone`.
    """
    backbone, step = run_directory.load_backbone(path)
    model_dir, checkpoint = run_directory.locate(path)
    return backbone, Origin(run_directory.load_config(model_dir), checkpoint, step, model_dir)


def load_official(prefix: str) -> tuple[keras.Model, Origin]:
    """The backbone of a checkpoint of the authors' implementation.

    Args:
      prefix: of the checkpoint's files.

    Raises:
      InputError: as `official.official_architecture` and `official.load_official_checkpoint`.
    """
    name, width_multiplier = official.official_architecture(prefix)
    config = PretrainConfig(
        train_data="", backbone=name, width_multiplier=width_multiplier, init_checkpoint=prefix
    )
    backbone = config.build_backbone()
    official.load_official_checkpoint(backbone, prefix)
    return backbone, Origin(config, prefix, official.official_step(prefix))
