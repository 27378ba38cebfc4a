"""What linear_eval and finetune share: flags, and the way from them to a result."""

import dataclasses
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data.augment import Geometry
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.evaluation import classification, report
from cvrl_tf.evaluation.classification import Task
from cvrl_tf.evaluation.report import Checkpoint, fingerprint_weights
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training import checkpoints, supervised
from cvrl_tf.training.config import SupervisedConfig
from cvrl_tf.training.origin import Origin
from cvrl_tf.training.precision import DTYPE_POLICIES
from cvrl_tf.training.strategy import Workers, make_strategy

TRAINING_CLIPS = (
    *flags_of(SupervisedConfig, "num_frames", "stride", "crop_size"),
    *flags_of(Geometry, "crop_area", "flip_probability"),
)
TRAINING = flags_of(
    SupervisedConfig,
    "batch_size",
    "epochs",
    "learning_rate",
    "warmup_epochs",
    "precision",
    "seed",
)
TEST = (
    Flag(
        "test_crop_size",
        256,
        "Height and width of a test clip in pixels; the shorter side of each video is resized to"
        " it, and smaller videos are enlarged.",
        lower=32,
    ),
    *view_flags.NUMBERS,
)
DEFAULTS = {"num_clips": 10, "num_crops": 3}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A supervised evaluation as a user asked for it.

    Attributes:
      flags: of the command.
      strategy: devices and machines.
      task: the data.
      backbone: with its initial weights, made in the scope of `strategy`.
      origin: where these come from.
      start: `time.monotonic()` at the start of the command.
    """

    flags: Values
    strategy: tf.distribute.Strategy
    task: Task
    backbone: keras.Model
    origin: Origin
    start: float

    @property
    def test_views(self) -> EvaluationViews:
        """The views of each test video."""
        return view_flags.of_clip(self.flags, _test_clip(self.flags))

    def config(self, frozen: bool) -> SupervisedConfig:
        """The configuration of a run; `frozen` as in `SupervisedConfig`."""
        config = self.origin.config
        return self.flags.make(
            SupervisedConfig,
            num_classes=self.task.num_classes,
            frozen=frozen,
            backbone=config.backbone,
            width_multiplier=config.width_multiplier,
            init=self.origin.kind,
            init_checkpoint=self.origin.checkpoint,
            geometry=self.flags.make(Geometry),
        )

    def train_and_test(self, protocol: str, config: SupervisedConfig, output_dir: str) -> None:
        """Trains, tests on many views, and writes the result.

        Args:
          protocol: name of the evaluation.
          config: of the run.
          output_dir: for all files.
        """
        trainer = supervised.train(
            config,
            self.backbone,
            self.task.train.videos,
            output_dir,
            self.strategy,
            loop_flags.options(self.flags),
        )
        if not Workers(self.strategy).is_chief:
            return
        probabilities = classification.predict(
            trainer.probabilities, self.task.test, self.test_views
        )
        checkpoint = Checkpoint.of(self.backbone, self.origin)
        if not config.frozen:
            _, path = checkpoints.locate(output_dir)
            weights = fingerprint_weights(self.backbone, trainer.classifier)
            checkpoint = Checkpoint(path, int(trainer.checkpoint.step.numpy()), weights)
        self.write(protocol, probabilities, checkpoint, settings(config), output_dir)

    def write(
        self,
        protocol: str,
        probabilities: np.ndarray,
        checkpoint: Checkpoint,
        settings: dict[str, Any],
        output_dir: str,
    ) -> None:
        """Writes and prints a result.

        Args:
          protocol: name of the evaluation.
          probabilities: (N, C) of the test videos.
          checkpoint: the weights that were tested.
          settings: what else determines the figures.
          output_dir: for the files.
        """
        result = classification.describe(
            self.task,
            probabilities,
            checkpoint,
            self.test_views,
            protocol=protocol,
            settings=settings,
            wall_seconds=time.monotonic() - self.start,
        )
        predictions = probabilities.argmax(axis=1)
        written = classification.write_result(output_dir, result, self.task, predictions)
        report.print_result(result, written)


def prepare(flags: Values) -> Evaluation:
    """Reads the data and loads the backbone that the user chose.

    Args:
      flags: of a command that has `backbone.FLAGS`, `data.FLAGS`, `TRAINING_CLIPS`, `TRAINING`,
        `TEST` and those of `loop`.

    Raises:
      InputError: as `data.read_task` and `backbone.load`.
    """
    start = time.monotonic()
    strategy = make_strategy(flags.strategy)
    train_clip = ClipSpec(flags.num_frames, flags.stride, flags.crop_size)
    task = data_flags.read_task(flags, _test_clip(flags), train_clip)
    with strategy.scope():
        backbone, origin = backbone_flags.load(flags, DTYPE_POLICIES[flags.precision], flags.seed)
    return Evaluation(flags, strategy, task, backbone, origin, start)


def _test_clip(flags: Values) -> ClipSpec:
    return ClipSpec(flags.num_frames, flags.stride, flags.test_crop_size)


def settings(config: SupervisedConfig) -> dict[str, Any]:
    """What determines the figures, beside the data, for the result."""
    data = ("train_data", "train_ids")
    return {name: x for name, x in dataclasses.asdict(config).items() if name not in data}
