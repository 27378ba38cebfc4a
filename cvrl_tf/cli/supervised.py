"""Shared code of linear_eval and finetune: flags, training, testing and the result."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf import progress
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import sizes
from cvrl_tf.cli import views as view_flags
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data import checks
from cvrl_tf.data.augment import Geometry
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.service import DataService
from cvrl_tf.evaluation import classification, report, validation
from cvrl_tf.evaluation.classification import LabelledData, Task
from cvrl_tf.evaluation.inference import Computation, OmittedRecords
from cvrl_tf.evaluation.report import Checkpoint, fingerprint_weights
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training import checkpoints, run_config, supervised
from cvrl_tf.training.config import (
    SupervisedConfig,
    Validation,
    fitting_batch_size,
    values_by_name,
)
from cvrl_tf.training.origin import COLOR_HISTOGRAM, Origin
from cvrl_tf.training.precision import DTYPE_POLICIES
from cvrl_tf.training.strategy import Workers, make_strategy
from cvrl_tf.training.supervised import SupervisedTrainer

_AS_RUN = "that of the run that the weights come from"
TRAINING_CLIPS = (
    *sizes.derived(
        flags_of(SupervisedConfig, *sizes.CLIP),
        num_frames=f"{_AS_RUN}; 32 with --backbone",
        stride=f"{_AS_RUN}; 2 with --backbone",
        crop_size=f"{_AS_RUN}; 224 with --backbone",
    ),
    *flags_of(Geometry, "crop_area", "flip_probability"),
)
TEST = (
    Flag(
        "test_crop_size",
        None,
        "Height and width of a test clip in pixels; the shorter side of each video is resized to"
        " it, and smaller videos are enlarged. By default that of the training clips.",
        kind=int,
        lower=32,
    ),
    *view_flags.NUMBERS,
)
DEFAULTS = {"num_clips": 10, "num_crops": 3}
VALIDATION_CLIPS = 3  # of each video, centre crops


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What distinguishes the commands before a user sets anything.

    Attributes:
      batch_size: the largest that is derived from the number of videos.
      learning_rate: that is made for it.
      scales: whether a smaller batch size that is derived has a learning rate in proportion.
    """

    batch_size: int
    learning_rate: float
    scales: bool

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The flags of batch, schedule and precision."""
        less = f" for {self.batch_size} videos, in proportion to a batch size that is derived"
        return sizes.derived(
            flags_of(
                SupervisedConfig,
                *("batch_size", "epochs", "learning_rate", "warmup_epochs", "precision", "seed"),
            ),
            batch_size=sizes.batch_size_text(self.batch_size),
            learning_rate=f"{self.learning_rate:g}{less if self.scales else ''}",
            warmup_epochs=sizes.warmup_text(),
        )


FINE_TUNING = Recipe(SupervisedConfig.batch_size, SupervisedConfig.learning_rate, scales=True)
# The best of three learning rates at a batch size of 48, too: docs/results.md.
LINEAR = Recipe(batch_size=1024, learning_rate=32.0, scales=False)


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
            validation=self.flags.make(Validation),
        )

    def train_and_test(self, protocol: str, config: SupervisedConfig, output_dir: str) -> None:
        """Trains, tests on many views, and writes the result.

        Args:
          protocol: name of the evaluation.
          config: of the run.
          output_dir: for all files.
        """
        self.task.subject(protocol, self.test_views).check(output_dir)
        videos = self.task.train.videos
        workers = Workers(self.strategy)
        with workers.naming_lost_workers(lambda: checkpoints.latest(output_dir)):
            run_config.check_workers(workers, config, videos)
            trainer = supervised.build_trainer(config, self.backbone, len(videos), self.strategy)
        held_out = self.task.validation
        measure = self._measure(trainer, held_out) if held_out else None
        if self.flags.data_service:
            videos = videos.read_by(DataService.reached(self.flags.data_service))
        supervised.train(trainer, videos, output_dir, loop_flags.options(self.flags), measure)
        if not workers.is_chief:
            return
        probabilities = classification.predict(
            _probabilities(trainer), self.task.test, self.test_views
        )
        checkpoint = Checkpoint.of(self.backbone, self.origin)
        if not config.frozen:
            _, path = checkpoints.locate(output_dir)
            weights = fingerprint_weights(self.backbone, trainer.classifier)
            checkpoint = Checkpoint(path, int(trainer.checkpoint.step.numpy()), weights)
        self.write(protocol, probabilities, checkpoint, settings(config), output_dir)

    def _measure(
        self, trainer: SupervisedTrainer, data: LabelledData
    ) -> Callable[[], dict[str, float]]:
        """What measures the accuracy on the validation videos."""
        views = EvaluationViews(_test_clip(self.flags), VALIDATION_CLIPS)
        probabilities = _probabilities(trainer)
        omitted = OmittedRecords(data.videos, "validation")

        def measure() -> dict[str, float]:
            accuracy = validation.accuracy(probabilities, data, views, omitted)
            if accuracy is None:
                progress.note(f"note: no validation: no record of {data.videos.name} can be read")
                return {}
            return {supervised.VALIDATION_FIGURE: accuracy}

        return measure

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
        report.print_result(result, report.write(output_dir, result))


def prepare(flags: Values, recipe: Recipe, directory: Callable[[Origin], str]) -> Evaluation:
    """Loads the backbone that the user chose and reads the data.

    Flags of sizes that are not given get their values here.

    Args:
      flags: of a command that has `backbone.FLAGS`, `data.FLAGS`, `TRAINING_CLIPS`, `TEST`, those
        of `recipe` and those of `loop`.
      recipe: of the command.
      directory: the directory of the run from the origin of its initial weights.

    Raises:
      InputError: as `data.read_task` and `backbone.load`.
    """
    start = time.monotonic()
    data_flags.check_given(flags)
    strategy = make_strategy(flags.strategy, flags.start_timeout)
    with strategy.scope():
        backbone, origin = backbone_flags.load(flags, DTYPE_POLICIES[flags.precision], flags.seed)
    sizes.follow_run(flags, directory(origin), sizes.CLIP + sizes.SCHEDULE)
    untrained = origin.kind in ("random", COLOR_HISTOGRAM)
    sizes.follow(flags, SupervisedConfig if untrained else origin.config, sizes.CLIP)
    sizes.fill(flags, {"test_crop_size": flags.crop_size})
    checks.note_crops(flags.crop_size, flags.test_crop_size)
    train_clip: ClipSpec | None = ClipSpec(flags.num_frames, flags.stride, flags.crop_size)
    if "mode" in flags and flags.mode != "sgd":
        train_clip = None  # features of training videos are made as those of test videos
    task = data_flags.read_task(flags, _test_clip(flags), train_clip)
    task = validation.add(task, flags.make(Validation), _test_clip(flags), flags.seed)
    number, devices = len(task.train.videos), strategy.num_replicas_in_sync
    fitting = fitting_batch_size(number, devices, recipe.batch_size)
    sizes.follow_data(
        flags, fitting, recipe.learning_rate, recipe.batch_size if recipe.scales else 0
    )
    sizes.follow_length(flags, flags.epochs)
    return Evaluation(flags, strategy, task, backbone, origin, start)


def _probabilities(trainer: SupervisedTrainer) -> Computation:
    return Computation(trainer.probabilities, (trainer.backbone, trainer.classifier))


def _test_clip(flags: Values) -> ClipSpec:
    return ClipSpec(flags.num_frames, flags.stride, flags.test_crop_size)


def settings(config: SupervisedConfig) -> dict[str, Any]:
    """What determines the figures, beside the data, for the result."""
    data = ("train_data", "train_ids")
    return {name: x for name, x in values_by_name(config).items() if name not in data}
