"""Backbones to evaluate, fine-tune or export, and where they come from."""

import dataclasses
import os

import keras

from cvrl_tf.errors import InputError
from cvrl_tf.models import inflation, official, published
from cvrl_tf.models.color_histogram import build_color_histogram
from cvrl_tf.training import checkpoints, run_config, weights
from cvrl_tf.training.config import NetworkConfig, RunConfig

COLOR_HISTOGRAM = "color_histogram"
WEIGHTS = ("online", "momentum")  # of a run


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a backbone comes from.

    Attributes:
      config: of the run; a bare `NetworkConfig` for weights that do not come from a run. Its `clip`
        is what the backbone is made for.
      checkpoint: path of the weights, or the name of a published checkpoint; empty or None when
        they do not come from a file.
      step: training steps that the weights have seen.
      model_dir: the directory of the run, where its results go; None for weights that do not come
        from a run.
      kind: "run", "momentum" (the moving average of a run), "official", "inflated", "random" or
        "color_histogram".
    """

    config: NetworkConfig
    checkpoint: str | None
    step: int
    model_dir: str | None = None
    kind: str = "run"

    @property
    def train_data(self) -> str:
        """What the weights were trained on; empty where they do not come from a run."""
        return self.config.train_data if isinstance(self.config, RunConfig) else ""

    @property
    def name(self) -> str:
        """Of the weights, for directories of results: "ckpt-500", "ckpt-500_momentum", "random"."""
        name = os.path.basename(self.checkpoint) if self.checkpoint else "random"
        return f"{name}_momentum" if self.kind == "momentum" else name

    @property
    def description(self) -> str:
        """In a few words, for tables and messages."""
        if self.kind == COLOR_HISTOGRAM:
            return "colour histogram"
        if self.kind == "random":
            return f"{self.config.backbone}, random weights"
        step = f", step {self.step}" if self.step else ""
        return f"{self.config.backbone}{step}, {self.kind} {self.checkpoint}"


def load_run(
    path: str, dtype: str = "float32", which: str = "online"
) -> tuple[keras.Model, Origin]:
    """The backbone of a run.

    Args:
      path: a directory or a checkpoint, see `checkpoints.locate`.
      dtype: Keras dtype policy, here and below.
      which: one of `WEIGHTS`: the trained ones, or the moving average of a run with a momentum
        encoder.

    Raises:
      InputError: as `weights.load_backbone`.
    """
    average = which == "momentum"
    backbone, step = weights.load_backbone(path, dtype, average)
    model_dir, checkpoint = checkpoints.locate(path)
    config = run_config.load_config(model_dir)
    kind = "momentum" if average else "run"
    return backbone, Origin(config, checkpoint, step, model_dir, kind)


def official_config(checkpoint: str) -> tuple[str, NetworkConfig]:
    """What a checkpoint of the authors' implementation is of.

    Args:
      checkpoint: as in `load_official`.

    Returns:
      The prefix of its files; the configuration of its network, of which `init_checkpoint` is the
      name of a published checkpoint, or the prefix of another.

    Raises:
      InputError: as `published.locate` and `official.official_architecture`.
    """
    prefix = published.locate(checkpoint)
    name, width_multiplier = official.official_architecture(prefix)
    checkpoint = checkpoint if checkpoint in published.PUBLISHED else prefix
    return prefix, NetworkConfig(
        backbone=name, width_multiplier=width_multiplier, init_checkpoint=checkpoint
    )


def load_official(checkpoint: str, dtype: str = "float32") -> tuple[keras.Model, Origin]:
    """The backbone of a checkpoint of the authors' implementation.

    Args:
      checkpoint: a name of `published.PUBLISHED`, which is downloaded if necessary, or the prefix
        of a checkpoint's files, with or without .index.
      dtype: Keras dtype policy.

    Raises:
      InputError: as `official_config` and `official.load_official_checkpoint`.
    """
    prefix, config = official_config(checkpoint)
    backbone = config.build_backbone(dtype)
    official.load_official_checkpoint(backbone, prefix)
    step = official.official_step(prefix)
    return backbone, Origin(config, config.init_checkpoint, step, kind="official")


def load_inflated(path: str, dtype: str = "float32") -> tuple[keras.Model, Origin]:
    """A backbone inflated from a network of single images (`models.inflation`).

    Args:
      path: a file of keras.applications' ResNet50, recognised by .keras or .h5; or a directory or
        checkpoint of a run with num_frames=1.
      dtype: Keras dtype policy.

    Raises:
      InputError: as `inflation.inflated_resnet50` or `weights.load_backbone`, or a run on
        clips of several frames.
    """
    if path.endswith((".keras", ".h5")):
        backbone = inflation.inflated_resnet50(path, dtype)
        return backbone, Origin(NetworkConfig(), path, 0, kind="inflated")
    model_dir, checkpoint = checkpoints.locate(path)
    config = run_config.load_config(model_dir)
    if config.num_frames != 1:
        raise InputError(
            f"{path} was trained on clips of {config.num_frames} frames, expected a run with"
            " num_frames=1, or a .weights.h5 or .keras file of keras.applications.ResNet50: a"
            " network of clips is not inflated; choose it with model_dir."
        )
    backbone, step = weights.load_backbone(path, dtype)
    inflation.inflate_single_frame(backbone)
    # A clip of one frame is no default for what is made for clips.
    config = dataclasses.replace(config, num_frames=NetworkConfig.num_frames)
    return backbone, Origin(config, checkpoint, step, kind="inflated")


def untrained(
    name: str, width_multiplier: int = 1, dtype: str = "float32", seed: int = 0
) -> tuple[keras.Model, Origin]:
    """A backbone with random weights, or the colour histogram.

    Args:
      name: a key of `models.BACKBONES`, or "color_histogram".
      width_multiplier: factor of all numbers of filters.
      dtype: Keras dtype policy.
      seed: of the weights.

    Raises:
      InputError: unknown name.
    """
    config = NetworkConfig(backbone=name, width_multiplier=width_multiplier, seed=seed)
    if name == COLOR_HISTOGRAM:
        return build_color_histogram(), Origin(config, "", 0, kind=COLOR_HISTOGRAM)
    return config.build_backbone(dtype), Origin(config, "", 0, kind="random")
