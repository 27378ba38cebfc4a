"""What linear_eval and finetune share: flags, with the defaults of finetune, and what they do."""

import dataclasses
import time
from typing import Any

import keras
import tensorflow as tf
from absl import flags

from cvrl_tf import backbone_flags, commandline, loop_flags
from cvrl_tf.commandline import FlagGroups
from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification
from cvrl_tf.evaluation.classification import Task
from cvrl_tf.evaluation.report import Checkpoint, Views, fingerprint_weights
from cvrl_tf.training import run_directory, supervised
from cvrl_tf.training.origin import Origin
from cvrl_tf.training.precision import DTYPE_POLICIES
from cvrl_tf.training.strategy import Workers
from cvrl_tf.training.supervised_config import SupervisedConfig

DEFAULTS = SupervisedConfig(train_data="", num_classes=0, frozen=False)

TRAIN_DATA = flags.DEFINE_string(
    "train_data",
    "",
    "The labelled TFRecord shards to train on: a glob pattern or tfds:NAME:SPLIT, as in"
    " pre-training. Their largest label decides how many outputs the classifier has.",
)
TRAIN_IDS = flags.DEFINE_string(
    "train_ids",
    "",
    "Train on these of the records only: a text file with an id on each line, as python -m"
    " tools.make_subset writes it for evaluations with 1 % and 10 % of the labels.",
)
TEST_DATA = flags.DEFINE_string(
    "test_data", "", "The labelled TFRecord shards to test on: the same."
)
NUM_FRAMES = flags.DEFINE_integer(
    "num_frames", DEFAULTS.num_frames, "Frames of a clip.", lower_bound=1
)
STRIDE = flags.DEFINE_integer(
    "stride", DEFAULTS.stride, "Frames of the video from one frame of a clip to the next.", 1
)
CROP_SIZE = flags.DEFINE_integer(
    "crop_size", DEFAULTS.crop_size, "Height and width of a training clip in pixels.", 32
)
TEST_CROP_SIZE = flags.DEFINE_integer(
    "test_crop_size",
    256,
    "Height and width of a test clip in pixels; the shorter side of the video is resized to it.",
    lower_bound=32,
)
NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", 10, "Evenly spaced clips of each test video.", lower_bound=1
)
NUM_CROPS = flags.DEFINE_enum(
    "num_crops",
    "3",
    ["1", "3"],
    "Crops of each of them: the centre, or three along the longer side. The softmax is averaged"
    " over all views.",
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", DEFAULTS.batch_size, "Videos of a step over all devices; one clip of each.", 1
)
EPOCHS = flags.DEFINE_float("epochs", DEFAULTS.epochs, "Passes over the data.", lower_bound=0)
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    DEFAULTS.learning_rate,
    "Learning rate before warm-up and cosine decay, for the batch as it is.",
    lower_bound=0,
)
WARMUP_EPOCHS = flags.DEFINE_float(
    "warmup_epochs", DEFAULTS.warmup_epochs, "Epochs of linear warm-up.", lower_bound=0
)
PRECISION = flags.DEFINE_enum(
    "precision",
    DEFAULTS.precision,
    list(DTYPE_POLICIES),
    "Type of the computation; weights are float32 in any case.",
)
SEED = flags.DEFINE_integer(
    "seed",
    DEFAULTS.seed,
    "Seed of random initial weights, the classifier's and those of --backbone, and of all random"
    " draws.",
    0,
    2**31 - 1,
)

DATA = (TRAIN_DATA, TRAIN_IDS, TEST_DATA)
CLIPS = (NUM_FRAMES, STRIDE, CROP_SIZE)
TEST_VIEWS = (TEST_CROP_SIZE, NUM_CLIPS, NUM_CROPS)
TRAINING = (BATCH_SIZE, EPOCHS, LEARNING_RATE, WARMUP_EPOCHS, PRECISION, SEED)


def read_task() -> Task:
    """The data that the user gave; raises as `classification.read_task`, or if one is missing."""
    for holder in (TRAIN_DATA, TEST_DATA):
        if not holder.value:
            raise InputError(f"--{holder.name} is missing; --help shows an example.")
    clip = ClipSpec(NUM_FRAMES.value, STRIDE.value, CROP_SIZE.value)
    return classification.read_task(TRAIN_DATA.value, TEST_DATA.value, clip, TRAIN_IDS.value)


def load_backbone(strategy: tf.distribute.Strategy) -> tuple[keras.Model, Origin]:
    """The backbone that the user chose, in the scope of `strategy`; raises as the flags' `load`."""
    with strategy.scope():
        return backbone_flags.load(DTYPE_POLICIES[PRECISION.value], SEED.value)


def configure(task: Task, found: Origin, frozen: bool, **settings: float) -> SupervisedConfig:
    """The configuration that the flags say; `settings` are those of one command."""
    holders = (TRAIN_DATA, TRAIN_IDS, *CLIPS, *TRAINING)
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


def test_views() -> tuple[ClipSpec, int, int]:
    """The clips to test on, how many of a video, and how many crops of each."""
    clip = ClipSpec(NUM_FRAMES.value, STRIDE.value, TEST_CROP_SIZE.value)
    return clip, NUM_CLIPS.value, int(NUM_CROPS.value)


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
        task.train.source,
        task.train.index,
        output_dir,
        strategy,
        commandline.flagfile_text(groups),
        loop_flags.loop_options(),
        loop_flags.OVERRIDE.value,
    )
    if not Workers(strategy).is_chief:
        return
    views = test_views()
    probabilities = classification.predict(trainer.probabilities, task.test, *views)
    if config.frozen:
        checkpoint = Checkpoint.of(backbone, found)
    else:
        _, path = run_directory.locate(output_dir)
        weights = fingerprint_weights(backbone, trainer.classifier)
        checkpoint = Checkpoint(path, int(trainer.checkpoint.step.numpy()), weights)
    classification.write_result(
        output_dir,
        protocol,
        task,
        probabilities,
        checkpoint,
        Views.of(*views),
        settings(config),
        time.monotonic() - start,
    )


def settings(config: SupervisedConfig) -> dict[str, Any]:
    """What decides the figures, beside the data, for the result."""
    return {name: x for name, x in dataclasses.asdict(config).items() if name != "train_data"}
