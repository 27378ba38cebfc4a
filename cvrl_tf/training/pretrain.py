"""Contrastive pre-training: data, network, strategy and directory of a run, put together."""

import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf.data import checks, pipeline, records
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import ARRAY_ORDER, Order
from cvrl_tf.errors import InputError
from cvrl_tf.training import loop, run_directory, weights
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer
from cvrl_tf.training.loop import DEFAULT_OPTIONS, Evaluation, LoopOptions, TrainingData
from cvrl_tf.training.metrics import MetricsWriter
from cvrl_tf.training.strategy import Workers, make_strategy

PICTURED_VIDEOS = 6
AUGMENT_ON = ("auto", "host", "device")


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
    if config.batch_size % (num_replicas * config.accumulate) or config.batch_size < 2:
        micro = f" and --accumulate={config.accumulate}" if config.accumulate > 1 else ""
        raise InputError(
            f"--batch_size={config.batch_size} does not divide evenly over {num_replicas}"
            f" devices{micro}, or is less than 2: give a multiple of"
            f" {num_replicas * config.accumulate}."
        )
    if config.total_steps(num_videos) < 1:
        raise InputError(
            f"--epochs={config.epochs} of {num_videos} videos is less than one step of"
            f" --batch_size={config.batch_size}: raise --epochs."
        )
    if config.steps_of(config.warmup_epochs, num_videos) >= config.total_steps(num_videos):
        raise InputError(
            f"--warmup_epochs={config.warmup_epochs} is not less than"
            f" {f'--steps={config.steps}' if config.steps else f'--epochs={config.epochs}'}:"
            " the learning rate would never reach its value; lower --warmup_epochs."
        )


def pretrain(
    config: PretrainConfig,
    model_dir: str,
    flagfile: str | None = None,
    options: LoopOptions = DEFAULT_OPTIONS,
    augment_on: str = "auto",
    remat: bool = False,
    override: bool = False,
    evaluate: Callable[[keras.Model], dict[str, float]] | None = None,
    evaluate_every_epochs: float = 10.0,
    strategy: tf.distribute.Strategy | None = None,
) -> None:
    """Pre-trains a backbone, or goes on with the run that `model_dir` holds.

    Args:
      config: of the run.
      model_dir: where `run_directory` describes what is written.
      flagfile: text of `flags.txt`; None writes none.
      options: of the loop.
      augment_on: where colours change: "host", in the input pipeline; "device", in the step; or
        "auto", on the device if it is a GPU.
      remat: whether activations inside blocks are computed again in the backward pass, for memory.
      override: whether a run of another configuration in `model_dir` goes on with this one.
      evaluate: measures the backbone now and then; returns figures by name.
      evaluate_every_epochs: epochs from one time to the next.
      strategy: devices and machines; `make_strategy()` when None.

    Raises:
      InputError: data, configuration and directory do not fit, found before any long work; or as
        `loop.train`.
      Stopped: a signal ended the run, and all is saved.
    """
    strategy = strategy or make_strategy()
    videos = checks.check_shards(find_source(config.train_data, "train_data"), config.clip)
    checks.note_repeated(videos)
    check(config, len(videos), strategy.num_replicas_in_sync)
    total_steps = config.total_steps(len(videos))
    is_chief = Workers(strategy).is_chief
    started = tf.io.gfile.exists(os.path.join(model_dir, run_directory.CONFIG_FILE))
    with strategy.scope():
        warmup_steps = config.steps_of(config.warmup_epochs, len(videos))
        trainer = ContrastiveTrainer(config, warmup_steps, total_steps, remat)
    if config.init_checkpoint:
        loaded = weights.initialize(trainer.backbone, trainer.head, config)
        if is_chief and not started:
            print(loaded)
    if augment_on == "auto":
        augment_on = "device" if tf.config.list_logical_devices("GPU") else "host"
    order = Order(config.seed, ARRAY_ORDER)
    data = TrainingData(
        videos,
        order,
        config.batch_size,
        lambda size, share: pipeline.pretraining_batches(
            videos, config.pair, size, order, share, augmented=augment_on == "host"
        ),
        histograms=lambda batch: {"interval": batch.intervals},
    )
    evaluation = None
    if evaluate:
        every_steps = max(1, config.steps_of(evaluate_every_epochs, len(videos)))
        evaluation = Evaluation(every_steps, lambda: evaluate(trainer.backbone))
    with run_directory.training_in(model_dir, config, is_chief, flagfile, override):
        loop.train(
            trainer,
            data,
            total_steps,
            model_dir,
            "pre-training",
            options,
            evaluation,
            lambda writer, step: _write_pairs(writer, step, config, videos, order),
        )


def _write_pairs(
    writer: MetricsWriter, step: int, config: PretrainConfig, videos: IndexedSource, order: Order
) -> None:
    """Draws the clip pairs of the first videos."""
    size = min(PICTURED_VIDEOS, len(videos))
    with records.naming_bad_records(videos.name):
        pairs = next(iter(pipeline.pretraining_batches(videos, config.pair, size, order)))
    writer.write_pairs(step, np.stack(pairs.views, axis=1))
