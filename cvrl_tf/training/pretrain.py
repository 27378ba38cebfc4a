"""The pre-training loop: batches -> two views -> embeddings -> InfoNCE -> SGD, over replicas."""

import contextlib
import os
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf.data import pipeline, records
from cvrl_tf.data.pipeline import CroppedClip
from cvrl_tf.data.source import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.models import build_projection_head
from cvrl_tf.models.rematerialization import Rematerialized
from cvrl_tf.progress import Progress
from cvrl_tf.training import metrics, run_directory
from cvrl_tf.training.contrastive import info_nce
from cvrl_tf.training.optimizer import InPlaceSGD
from cvrl_tf.training.run_directory import PretrainConfig
from cvrl_tf.training.schedule import WarmupCosine

MOMENTUM = 0.9
DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
KEPT_CHECKPOINTS = 3
PICTURED_VIDEOS = 6
AUGMENT_ON = ("auto", "host", "device")

Views = tuple[tf.Tensor | CroppedClip, tf.Tensor | CroppedClip]


def decayed_kernels(*models: keras.Model) -> list[keras.Variable]:
    """The variables under weight decay: kernels of convolutions and Dense layers, nothing else."""
    return [
        variable
        for model in models
        for variable in model.trainable_variables
        if variable.path.endswith("/kernel")
    ]


class Trainer:
    """The network, its optimizer and one training step. Make it inside `strategy.scope()`.

    Args:
      config: of the run.
      warmup_steps: steps of linear warm-up.
      total_steps: steps of the run.
      remat: whether activations inside blocks are computed again in the backward pass.
    """

    def __init__(
        self, config: PretrainConfig, warmup_steps: int, total_steps: int, remat: bool = False
    ):
        self._config = config
        self._strategy = tf.distribute.get_strategy()
        policy = DTYPE_POLICIES[config.precision]
        self.backbone = config.build_backbone(policy)
        self.head = build_projection_head(self.backbone.output_shape[-1], policy, config.seed)
        self._forward = Rematerialized(self.backbone) if remat else self.backbone
        self.variables = self.backbone.trainable_variables + self.head.trainable_variables
        self.schedule = WarmupCosine(config.learning_rate, warmup_steps, total_steps)
        kernels = decayed_kernels(self.backbone, self.head)
        self.optimizer = InPlaceSGD(self.schedule, MOMENTUM, config.weight_decay, kernels)
        self.optimizer.build(self.variables)
        self.checkpoint = tf.train.Checkpoint(
            backbone=self.backbone,
            head=self.head,
            optimizer=self.optimizer,
            step=tf.Variable(0, dtype=tf.int64),
        )

    def _replica_step(self, views: Views) -> dict[str, tf.Tensor]:
        """One step on this replica's views."""
        config = self._config
        if isinstance(views[0], CroppedClip):
            views = tuple(pipeline.augment_batch(view) for view in views)
        with tf.GradientTape() as tape:
            clips = tf.concat(views, axis=0)
            features = self._forward(clips, training=True)
            embeddings = self.head(features, training=True)
            loss, figures = info_nce(*tf.split(embeddings, 2), config.temperature)
            # The optimizer sums gradients over replicas.
            objective = loss / self._strategy.num_replicas_in_sync
        self.optimizer.apply(tape.gradient(objective, self.variables), self.variables)
        return {"loss": loss, **figures}

    @tf.function
    def step(self, views: Views) -> dict[str, tf.Tensor]:
        """Trains on one global batch.

        Args:
          views: first and second views, per replica: each (n, T, H, W, 3) float32 in [0, 1], or a
            `CroppedClip` of n clips, whose colours are then changed in the step.

        Returns:
          Scalars of the joint batch: `loss` without weight decay, `contrast_accuracy` and
          `contrast_entropy` (`contrastive.info_nce`).
        """
        figures = self._strategy.run(self._replica_step, args=(views,))
        self.checkpoint.step.assign_add(1)
        return {
            name: self._strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in figures.items()
        }


def check(config: PretrainConfig, num_videos: int, num_replicas: int) -> None:
    """Checks that batch, data and schedule fit each other.

    Raises:
      InputError: they do not.
    """
    if config.batch_size > num_videos:
        raise InputError(
            f"--batch_size={config.batch_size} is more than the {num_videos} videos of"
            f" {config.train_data}: a batch would hold a video twice, as its own negative;"
            " lower --batch_size."
        )
    if config.batch_size % num_replicas or config.batch_size < 2:
        raise InputError(
            f"--batch_size={config.batch_size} does not divide evenly over {num_replicas} devices,"
            " or is less than 2: give a multiple of the number of devices."
        )
    if config.steps(config.epochs, num_videos) < 1:
        raise InputError(
            f"--epochs={config.epochs} of {num_videos} videos is less than one step of"
            f" --batch_size={config.batch_size}: raise --epochs."
        )
    if config.warmup_epochs >= config.epochs:
        raise InputError(
            f"--warmup_epochs={config.warmup_epochs} is not less than --epochs={config.epochs}:"
            " the learning rate would never reach its value; lower --warmup_epochs."
        )


def pretrain(
    config: PretrainConfig,
    model_dir: str,
    flagfile: str | None = None,
    save_every_steps: int = 500,
    log_every_steps: int = 10,
    augment_on: str = "auto",
    remat: bool = False,
    strategy: tf.distribute.Strategy | None = None,
) -> None:
    """Pre-trains a backbone, or goes on with the run that `model_dir` holds.

    Args:
      config: of the run.
      model_dir: where `run_directory` describes what is written.
      flagfile: text of `flags.txt`; None writes none.
      save_every_steps: steps from one checkpoint to the next; the last step always has one.
      log_every_steps: steps from one line of metrics to the next.
      augment_on: where colours change: "host", in the input pipeline; "device", in the step; or
        "auto", on the device if it is a GPU.
      remat: whether activations inside blocks are computed again in the backward pass, for memory.
      strategy: devices; a MirroredStrategy over all GPUs, or the CPU, when None.

    Raises:
      InputError: data, configuration and directory do not fit, found before any long work; a
        record that cannot be read; or a loss that is not finite.
    """
    source = find_source(config.train_data, "train_data")
    index = pipeline.check_shards(source, config.clip)
    num_videos = len(index)
    strategy = strategy or tf.distribute.MirroredStrategy()
    check(config, num_videos, strategy.num_replicas_in_sync)
    total_steps = config.steps(config.epochs, num_videos)
    with strategy.scope():
        warmup_steps = config.steps(config.warmup_epochs, num_videos)
        trainer = Trainer(config, warmup_steps, total_steps, remat)
    manager = tf.train.CheckpointManager(
        trainer.checkpoint, os.path.join(model_dir, run_directory.CHECKPOINTS), KEPT_CHECKPOINTS
    )
    if config.init_checkpoint and not manager.latest_checkpoint:
        print(run_directory.initialize(trainer.backbone, trainer.head, config))
    run_directory.prepare(model_dir, config, flagfile)
    if manager.latest_checkpoint:
        run_directory.restore(trainer.checkpoint, manager.latest_checkpoint)
    done = int(trainer.checkpoint.step.numpy())
    writer = metrics.MetricsWriter(model_dir, done)

    if augment_on == "auto":
        augment_on = "device" if tf.config.list_logical_devices("GPU") else "host"

    def batches(batch_size: int, first_position: int, augmented: bool) -> tf.data.Dataset:
        return pipeline.pretraining_batches(
            source,
            index,
            config.view_pair,
            batch_size,
            config.seed,
            first_position,
            augmented=augmented,
        )

    with records.naming_bad_records(config.train_data):
        pairs = next(iter(batches(min(PICTURED_VIDEOS, num_videos), 0, augmented=True))).views
    writer.write_pairs(done, np.stack(pairs, axis=1))

    stream = strategy.distribute_datasets_from_function(
        lambda context: batches(
            context.get_per_replica_batch_size(config.batch_size),
            first_position=done * config.batch_size,
            augmented=augment_on == "host",
        )
    )
    with (
        Progress("pre-training", total_steps, "step", initial=done) as progress,
        records.naming_bad_records(config.train_data),
    ):
        log = _Log(writer, progress, config.batch_size, num_videos)
        batches_left = iter(stream)
        for step in range(done + 1, total_steps + 1):
            with log.waiting():
                views = next(batches_left).views
            log.add(trainer.step(views))
            progress.update()
            if step % log_every_steps == 0 or step == total_steps:
                log.write(step, float(trainer.schedule(step - 1)), manager.latest_checkpoint)
            if step % save_every_steps == 0 or step == total_steps:
                manager.save(checkpoint_number=step)


class _Log:
    """Collects the figures of steps and writes their means."""

    def __init__(
        self, writer: metrics.MetricsWriter, progress: Progress, batch_size: int, num_videos: int
    ):
        self._writer, self._progress = writer, progress
        self._batch_size, self._num_videos = batch_size, num_videos
        self._steps: list[dict[str, tf.Tensor]] = []
        self._waited = 0.0
        self._start = time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of this block as waiting for input."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def add(self, figures: dict[str, tf.Tensor]) -> None:
        self._steps.append(figures)

    def write(self, step: int, learning_rate: float, last_checkpoint: str | None) -> None:
        means = {
            name: float(np.mean([figures[name] for figures in self._steps]))
            for name in self._steps[0]
        }
        if not np.isfinite(means["loss"]):
            raise InputError(
                f"The loss is {means['loss']} at step {step}: lower --learning_rate or raise"
                f" --warmup_epochs; the last checkpoint is {last_checkpoint or 'none'}."
            )
        seconds = time.monotonic() - self._start
        self._writer.write(
            step,
            epoch=step * self._batch_size / self._num_videos,
            **means,
            learning_rate=learning_rate,
            videos_per_second=len(self._steps) * self._batch_size / seconds,
            input_wait=self._waited / seconds,
        )
        self._progress.update(0, loss=means["loss"], accuracy=means["contrast_accuracy"])
        self._steps, self._waited, self._start = [], 0.0, time.monotonic()
