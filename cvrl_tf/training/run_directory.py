"""The directory of a pre-training run.

config.json    the configuration: what later commands need to build the same network
flags.txt      the same as a flagfile, to run it again
checkpoints/   all that the run goes on from (`cvrl_tf.training.checkpoints`)
metrics.jsonl  a line of figures now and then (`cvrl_tf.training.metrics`), and TensorBoard events
clip_pairs.png a few pairs of clips as the network sees them
evaluations/   what was found of its checkpoints (`cvrl_tf.evaluation.report`)
bad_records.txt  records that could not be used, if any, and why
lock           held while a process trains in the directory
"""

import contextlib
import dataclasses
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data import augment
from cvrl_tf.data.pipeline import ClipSpec, ViewPair
from cvrl_tf.data.sampling import IntervalDistribution
from cvrl_tf.errors import InputError
from cvrl_tf.models import build_backbone
from cvrl_tf.training.checkpoints import CHECKPOINTS, restore
from cvrl_tf.training.supervised_config import SupervisedConfig

CONFIG_FILE = "config.json"
FLAGS_FILE = "flags.txt"
LOCK_FILE = "lock"
RETIRED = ("shuffle_buffer",)  # settings of earlier versions that no network depends on
REFERENCE_BATCH = 1024  # videos; that the default learning rate is made for


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides what a pre-training run computes.

    Attributes:
      train_data: glob pattern(s) of TFRecord shards.
      num_frames: frames of a clip.
      stride: frames of the video from one frame of a clip to the next.
      crop_size: pixels, height and width of a clip.
      backbone: a key of `models.BACKBONES`.
      width_multiplier: factor of all numbers of filters.
      precision: a key of `precision.DTYPE_POLICIES`.
      batch_size: videos of a step, over all replicas; the network sees two clips of each.
      accumulate: micro-batches of a step (`contrastive_trainer`).
      epochs: passes over the data.
      steps: of the run; 0 for those of `epochs`.
      optimizer: one of `optimizer.OPTIMIZERS`.
      learning_rate: before warm-up and decay.
      scale_learning_rate: whether it is for a batch of 1024 and is scaled to `batch_size`.
      warmup_epochs: epochs of linear warm-up.
      weight_decay: factor of half the sum of the squared kernels, added to the loss.
      temperature: of the contrastive loss.
      augmentation: a key of `augment.AUGMENTATIONS`.
      interval: a key of `sampling.INTERVALS`, the distribution of the interval between two clips.
      interval_power: of that distribution.
      init_checkpoint: initial weights (`locate`), random when empty.
      seed: of the random initial weights and all random draws.
    """

    train_data: str
    num_frames: int = 16
    stride: int = 2
    crop_size: int = 224
    backbone: str = "r3d_50"
    width_multiplier: int = 1
    precision: str = "float32"
    batch_size: int = 1024
    accumulate: int = 1
    epochs: float = 200.0
    steps: int = 0
    optimizer: str = "sgd"
    learning_rate: float = 0.32
    scale_learning_rate: bool = False
    warmup_epochs: float = 5.0
    weight_decay: float = 1e-6
    temperature: float = 0.1
    augmentation: str = "released"
    interval: str = "decreasing"
    interval_power: float = 1.0
    init_checkpoint: str = ""
    seed: int = 0

    @property
    def clip(self) -> ClipSpec:
        """The clips that the network sees."""
        return ClipSpec(self.num_frames, self.stride, self.crop_size)

    @property
    def view_pair(self) -> ViewPair:
        """How the two views of a video are made."""
        interval = IntervalDistribution(self.interval, self.interval_power)
        return ViewPair(self.clip, interval, augment.AUGMENTATIONS[self.augmentation])

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate before warm-up and decay, scaled if that is asked for."""
        scale = self.batch_size / REFERENCE_BATCH if self.scale_learning_rate else 1.0
        return self.learning_rate * scale

    def steps_of(self, epochs: float, num_videos: int) -> int:
        """The number of steps nearest to `epochs` passes over `num_videos` videos."""
        return math.floor(epochs * num_videos / self.batch_size + 0.5)

    def total_steps(self, num_videos: int) -> int:
        """The steps of the run on `num_videos` videos."""
        return self.steps or self.steps_of(self.epochs, num_videos)

    def build_backbone(self, dtype: str = "float32") -> keras.Model:
        """The backbone with random weights, those that the run starts from if from random ones."""
        return build_backbone(self.backbone, self.width_multiplier, dtype, self.seed)


RunConfig = PretrainConfig | SupervisedConfig


def _kind(values: Mapping[str, Any]) -> type[RunConfig]:
    """Which configuration the content of a `config.json` is."""
    return SupervisedConfig if "num_classes" in values else PretrainConfig


def prepare(
    model_dir: str, config: RunConfig, flagfile: str | None = None, override: bool = False
) -> None:
    """Makes the directory of a run, or checks that the one there is of the same configuration.

    Args:
      model_dir: the directory.
      config: of the run.
      flagfile: text of `flags.txt`; None writes none.
      override: whether a run of another configuration goes on with this one.

    Raises:
      InputError: the directory holds a run of another configuration, or something else.
    """
    if tf.io.gfile.exists(os.path.join(model_dir, CONFIG_FILE)):
        stored, now = _read_config(model_dir), dataclasses.asdict(config)
        if _kind(stored) is not type(config):
            raise InputError(
                f"{model_dir} holds a run of another command, which goes on with its own flags:"
                " name another directory."
            )
        # Settings that an earlier version did not know had their defaults.
        defaults = {field.name: field.default for field in dataclasses.fields(config)}
        before = defaults | stored
        differing = [
            f"{name}={before.get(name)} (now {now.get(name)})"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if not differing:
            return
        if not override:
            raise InputError(
                f"{model_dir} holds a run with {', '.join(differing)}: give the same flags to go on"
                " with it, another directory, or --override to go on with what is given now."
            )
        print(f"note: going on with other settings, {', '.join(differing)}.", file=sys.stderr)
        _write(model_dir, config, flagfile)
        return
    if tf.io.gfile.exists(model_dir) and (
        not tf.io.gfile.isdir(model_dir) or _names_of_others(model_dir)
    ):
        raise InputError(
            f"{model_dir} is not empty and is not a run of cvrl_tf (no {CONFIG_FILE} in it): name"
            " a new or empty directory."
        )
    _write(model_dir, config, flagfile)


@contextlib.contextmanager
def training_in(
    model_dir: str,
    config: RunConfig,
    is_chief: bool,
    flagfile: str | None = None,
    override: bool = False,
) -> Iterator[None]:
    """Holds the directory of a run while it is trained, made or checked as by `prepare`.

    Args:
      model_dir: the directory.
      config: of the run.
      is_chief: whether this process writes; the others of several workers leave it alone.
      flagfile: text of `flags.txt`; None writes none.
      override: whether a run of another configuration goes on with this one.

    Raises:
      InputError: as `prepare`, or another process trains in the directory.
    """
    if not is_chief:
        yield
        return
    prepare(model_dir, config, flagfile, override)
    with files.locked(os.path.join(model_dir, LOCK_FILE), f"training in {model_dir}"):
        yield


def _names_of_others(model_dir: str) -> list[str]:
    """What is in a directory but is not of a `prepare` that was killed before its configuration."""
    names = files.names_in(model_dir)
    return [name for name in names if name != FLAGS_FILE and not files.is_temporary(name)]


def _write(model_dir: str, config: RunConfig, flagfile: str | None) -> None:
    try:
        tf.io.gfile.makedirs(model_dir)
        if flagfile is not None:
            files.write_atomically(os.path.join(model_dir, FLAGS_FILE), flagfile)
        files.write_json(os.path.join(model_dir, CONFIG_FILE), dataclasses.asdict(config))
    except tf.errors.OpError as error:
        raise InputError(f"{model_dir} cannot be written: {error.message}") from None


def _read_config(model_dir: str) -> dict[str, Any]:
    try:
        values = files.read_json(os.path.join(model_dir, CONFIG_FILE))
    except ValueError as error:
        raise InputError(f"{os.path.join(model_dir, CONFIG_FILE)} is damaged: {error}") from None
    return {name: values[name] for name in values if name not in RETIRED}


def load_config(model_dir: str) -> RunConfig:
    """The configuration of the run in `model_dir`.

    Raises:
      InputError: no run there, or its configuration cannot be read.
    """
    if not tf.io.gfile.exists(os.path.join(model_dir, CONFIG_FILE)):
        raise InputError(
            f"{model_dir} holds no {CONFIG_FILE}: expected a directory that python -m"
            " cvrl_tf.train, cvrl_tf.finetune or tools.import_checkpoint has written."
        )
    values = _read_config(model_dir)
    try:
        return _kind(values)(**values)
    except TypeError as error:
        raise InputError(
            f"{os.path.join(model_dir, CONFIG_FILE)} is not of this version: {error}"
        ) from None


def locate(path: str) -> tuple[str, str | None]:
    """Finds the run and the checkpoint that a path means.

    Args:
      path: a directory that `train` or `import_checkpoint` has written, which means its newest
        checkpoint, or the prefix of one in there, such as `runs/first/checkpoints/ckpt-500`.

    Returns:
      The directory of the run; the prefix of the checkpoint's files, None when there is none yet.

    Raises:
      InputError: no such checkpoint.
    """
    path = path.rstrip("/").removesuffix(".index")
    directory, name = os.path.split(path)
    if not re.fullmatch(r"ckpt-\d+", name):
        return path, tf.train.latest_checkpoint(os.path.join(path, CHECKPOINTS))
    if not tf.io.gfile.exists(f"{path}.index"):
        raise InputError(
            f"There is no checkpoint {path} (no file {path}.index): {directory} holds"
            f" {', '.join(_checkpoint_names(directory)) or 'none'}."
        )
    return os.path.dirname(directory), path


def _checkpoint_names(directory: str) -> list[str]:
    if not tf.io.gfile.isdir(directory):
        return []
    names = tf.io.gfile.listdir(directory)
    return sorted(name.removesuffix(".index") for name in names if name.endswith(".index"))


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
            f"{os.path.join(directory, CHECKPOINTS)} holds no checkpoint: expected one of python -m"
            " cvrl_tf.train, which writes the first after --save_every_steps steps."
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
    parts = {"backbone": backbone, "step": tf.Variable(step, dtype=tf.int64)}
    if head is not None:
        parts["head"] = head
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(**parts), os.path.join(model_dir, CHECKPOINTS), max_to_keep=1
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
        raise InputError(f"--init_checkpoint={config.init_checkpoint} holds no checkpoint.")
    for name in ("backbone", "width_multiplier"):
        if getattr(source, name) != getattr(config, name):
            raise InputError(
                f"--init_checkpoint={config.init_checkpoint} has --{name}={getattr(source, name)},"
                f" this run --{name}={getattr(config, name)}: give the same."
            )
    parts = {"backbone": backbone}
    if any(key.startswith("head/") for key, _ in tf.train.list_variables(prefix)):
        parts["head"] = head
    restore(tf.train.Checkpoint(**parts), prefix)
    return f"initial weights: {' and '.join(parts)} of {prefix}" + (
        "" if "head" in parts else " (it has no projection head: that starts at random)"
    )
