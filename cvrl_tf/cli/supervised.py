"""What linear_eval and finetune share: flags, with the defaults of finetune, and what they do."""

import dataclasses
import time
from typing import Any

import keras
import tensorflow as tf
from absl import flags

from cvrl_tf.cli import application
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import clip as clip_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.cli.application import FlagGroups
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.evaluation import classification, report
from cvrl_tf.evaluation.classification import Task
from cvrl_tf.evaluation.report import Checkpoint, fingerprint_weights
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training import run_directory, supervised
from cvrl_tf.training.config import SupervisedConfig
from cvrl_tf.training.origin import Origin
from cvrl_tf.training.precision import DTYPE_POLICIES
from cvrl_tf.training.strategy import Workers

DEFAULTS = SupervisedConfig(train_data="", num_classes=0, frozen=False)

TEST_CROP_SIZE = flags.DEFINE_integer(
    "test_crop_size",
    256,
    "Height and width of a test clip in pixels; the shorter side of the video is resized to it, a"
    " smaller video enlarged.",
    lower_bound=32,
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", DEFAULTS.batch_size, "Videos of a step over all devices; one clip of each.", 1
)
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    DEFAULTS.learning_rate,
    "Learning rate before warm-up and cosine decay, for the batch as it is.",
    lower_bound=0,
)
SEED = flags.DEFINE_integer(
    "seed",
    DEFAULTS.seed,
    "Seed of random initial weights, the classifier's and those of --backbone, and of all random"
    " draws.",
    0,
    2**31 - 1,
)

TEST_VIEWS = (TEST_CROP_SIZE, view_flags.NUM_CLIPS, view_flags.NUM_CROPS)
TRAINING = (
    BATCH_SIZE,
    loop_flags.EPOCHS,
    LEARNING_RATE,
    loop_flags.WARMUP_EPOCHS,
    loop_flags.PRECISION,
    SEED,
)
for holder in (*clip_flags.GROUP, loop_flags.EPOCHS, loop_flags.WARMUP_EPOCHS):
    flags.set_default(holder, getattr(DEFAULTS, holder.name))
flags.set_default(view_flags.NUM_CLIPS, 10)
flags.set_default(view_flags.NUM_CROPS, "3")


def read_task() -> Task:
    """The data that the user gave; raises as `data_flags.read_task`."""
    return data_flags.read_task(ClipSpec(*(holder.value for holder in clip_flags.GROUP)))


def load_backbone(strategy: tf.distribute.Strategy) -> tuple[keras.Model, Origin]:
    """The backbone that the user chose, in the scope of `strategy`; raises as the flags' `load`."""
    with strategy.scope():
        return backbone_flags.load(DTYPE_POLICIES[loop_flags.PRECISION.value], SEED.value)


def configure(task: Task, found: Origin, frozen: bool, **settings: float) -> SupervisedConfig:
    """The configuration that the flags say; `settings` are those of one command."""
    holders = (data_flags.TRAIN_DATA, data_flags.TRAIN_IDS, *clip_flags.GROUP, *TRAINING)
    return SupervisedConfig(
        num_classes=task.num_classes,
        frozen=frozen,
        backbone=found.config.backbone,
        width_multiplier=found.config.width_multiplier,
        init=found.kind,
        init_checkpoint=found.checkpoint,
        **{holder.name: holder.value for holder in holders},
        **settings,
    )


def test_views() -> EvaluationViews:
    """The views of each test video."""
    clip = ClipSpec(clip_flags.NUM_FRAMES.value, clip_flags.STRIDE.value, TEST_CROP_SIZE.value)
    return view_flags.of_clip(clip)


def train_and_test(
    protocol: str,
    config: SupervisedConfig,
    backbone: keras.Model,
    found: Origin,
    task: Task,
    strategy: tf.distribute.Strategy,
    output_dir: str,
    groups: FlagGroups,
    start: float,
) -> None:
    """Trains as `config` says, tests on many views, and writes the result.

    Args:
      protocol: name of the evaluation.
      config: of the run.
      backbone: with its initial weights.
      found: where these come from.
      task: the data.
      strategy: devices and machines.
      output_dir: for all files.
      groups: the flags of the command, which flags.txt repeats.
      start: `time.monotonic()` at the start of the command.
    """
    trainer = supervised.train(
        config,
        backbone,
        task.train.videos,
        output_dir,
        strategy,
        application.flagfile_text(groups),
        loop_flags.loop_options(),
        loop_flags.OVERRIDE.value,
    )
    if not Workers(strategy).is_chief:
        return
    views = test_views()
    probabilities = classification.predict(trainer.probabilities, task.test, views)
    if config.frozen:
        checkpoint = Checkpoint.of(backbone, found)
    else:
        _, path = run_directory.locate(output_dir)
        weights = fingerprint_weights(backbone, trainer.classifier)
        checkpoint = Checkpoint(path, int(trainer.checkpoint.step.numpy()), weights)
    result = classification.describe(
        task,
        probabilities,
        checkpoint,
        views,
        protocol=protocol,
        settings=settings(config),
        wall_seconds=time.monotonic() - start,
    )
    written = classification.write_result(output_dir, result, task, probabilities.argmax(axis=1))
    report.print_result(result, written)


def settings(config: SupervisedConfig) -> dict[str, Any]:
    """What decides the figures, beside the data, for the result."""
    data = ("train_data", "train_ids")
    return {name: x for name, x in dataclasses.asdict(config).items() if name not in data}
