"""Contrastive pre-training: data, network, strategy and directory of a run, put together."""

import dataclasses
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf import compiler
from cvrl_tf.data import checks, pipeline, records, subset
from cvrl_tf.data.labels import read_labels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.service import DataService
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import Order
from cvrl_tf.models.rematerialization import REMAT
from cvrl_tf.settings import setting, switch
from cvrl_tf.training import checkpoints, loop, memory, run_config, weights
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer
from cvrl_tf.training.loop import DEFAULT_OPTIONS, LoopOptions, Run, TrainingData
from cvrl_tf.training.metrics import MetricsWriter
from cvrl_tf.training.run_directory import RunDirectory
from cvrl_tf.training.strategy import Workers, make_strategy, on_gpus

PICTURED_VIDEOS = 6
AUGMENT_ON = ("auto", "host", "device", "device_without_xla")


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a step is executed; nothing here changes what it computes, but for rounding."""

    augment_on: str = setting(
        "auto",
        "Where colours are augmented. host: in the input pipeline. device: before the step, in a"
        " function of their own on the device that trains, which halves the work of the host and"
        " sends a quarter of the bytes. auto: on the device if it is a GPU. device_without_xla:"
        " there too, but not compiled: the same colours, more slowly. Use it when training hangs or"
        " fails in XLA.",
        choices=AUGMENT_ON,
    )
    remat: str = switch(
        "none",
        "Activations to compute again in the backward pass instead of keeping them, for the same"
        " results in less memory. norm: batch normalisation, rectifiers, and the last 1x1x1"
        " convolution and the shortcut of a block. block: all inside blocks, in less memory still,"
        " for about a third more time. --remat alone means block.",
        choices=REMAT,
        on="block",
        off="none",
    )
    data_service: str = setting(
        "",
        "Address of the dispatcher of a tf.data service, grpc://HOST:PORT, whose workers read,"
        " decode and crop the videos to train on, and augment their colours where the host does."
        " The batches are the same. Use it if the CPUs of the machine that trains are too slow;"
        " python -m tools.data_server starts the servers.",
    )

    def place_colors(self, strategy: tf.distribute.Strategy) -> str:
        """Where and how replicas of `strategy` augment colours: `augment_on`, but for "auto".

        Where XLA is not used on their devices, a note on stderr names the reason.
        """
        chosen = self.augment_on
        if chosen == "auto":
            chosen = "device" if on_gpus(strategy) else "host"
        if chosen != "device":
            return chosen
        problem = compiler.problem(strategy.extended.worker_devices[0])
        if not problem:
            return chosen
        print(
            f"note: XLA is not used on the device ({problem}): colours and batch"
            " normalisation are computed there without it, more slowly.",
            file=sys.stderr,
        )
        return "device_without_xla"


DEFAULT_EXECUTION = Execution()


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A measurement of the backbone during pre-training.

    Attributes:
      measure: returns figures of a backbone by name.
      every_epochs: epochs between measurements.
    """

    measure: Callable[[keras.Model], dict[str, float]]
    every_epochs: float = 10.0


def pretrain(
    config: PretrainConfig,
    model_dir: str,
    options: LoopOptions = DEFAULT_OPTIONS,
    execution: Execution = DEFAULT_EXECUTION,
    evaluation: Evaluation | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> None:
    """Pre-trains a backbone, or resumes the run that `model_dir` holds.

    Args:
      config: of the run.
      model_dir: directory of the run, as described in `run_directory`.
      options: of the loop.
      execution: how a step is executed.
      evaluation: what is measured during training; None for nothing.
      strategy: devices and machines; `make_strategy()` when None.

    Raises:
      InputError: data, configuration and directory do not fit, found before any long work; or as
        `loop.train`.
      Stopped: a signal ended the run, and a checkpoint is written.
    """
    strategy = strategy or make_strategy()
    workers = Workers(strategy)
    videos = _checked_videos(config, strategy, execution).reading(options.parallel_reads)
    if execution.data_service:
        videos = videos.read_by(DataService.reached(execution.data_service))
    place = execution.place_colors(strategy)
    with workers.naming_lost_workers(lambda: checkpoints.latest(model_dir)):
        run_config.check_workers(workers, config, videos)
        started = tf.io.gfile.exists(RunDirectory(model_dir).config)
        trainer = _build_trainer(config, strategy, len(videos), execution.remat, place)
        if config.init_checkpoint:
            with strategy.scope():
                loaded = weights.initialize(trainer.method.trained, config)
            if workers.is_chief and not started:
                print(loaded)
        with strategy.scope():
            trainer.method.start()
    with run_config.training_in(
        model_dir, config, videos, workers.is_chief, options.flagfile, options.override
    ) as order:
        data = TrainingData(
            videos,
            order,
            config.batch_size,
            lambda size, share: pipeline.pretraining_batches(
                videos, config.views, size, order, share, place == "host"
            ),
            config.views.video_bytes(place == "host"),
            histograms=lambda batch: {"interval": batch.intervals},
            clip=config.clip,
            micro_batches=config.micro_batches,
        )
        run = Run(
            model_dir,
            config.total_steps(len(videos)),
            "pre-training",
            _of_the_loop(evaluation, trainer.backbone, config, len(videos)),
            begin=lambda writer, step: _write_pairs(writer, step, config, videos, order),
            step_memory=_step_memory(config, strategy, execution),
        )
        loop.train(trainer, data, run, options)


def _build_trainer(
    config: PretrainConfig,
    strategy: tf.distribute.Strategy,
    num_videos: int,
    remat: str,
    place: str,
) -> ContrastiveTrainer:
    """The trainer of new networks; `place` is that of `Execution.place_colors`."""
    with strategy.scope():
        return ContrastiveTrainer(
            config,
            config.steps_of(config.warmup_epochs, num_videos),
            config.total_steps(num_videos),
            remat,
            compiled_colors=place != "device_without_xla",
        )


def _checked_videos(
    config: PretrainConfig, strategy: tf.distribute.Strategy, execution: Execution
) -> IndexedSource:
    """The videos to train on, after the checks that come before any long work."""
    # With the interval zero all clips of a video are the same frames on purpose.
    different = 1 if config.interval == "zero" else config.clips_per_video
    source = find_source(config.train_data, "train_data")
    videos = checks.check_shards(source, config.clip, num_clips=different)
    if config.train_ids:
        chosen = subset.read_ids(config.train_ids)
        videos, _ = subset.restrict(videos, read_labels(videos), chosen)
    checks.note_repeated(videos)
    config.check(len(videos), strategy.num_replicas_in_sync)
    memory.check(_step_memory(config, strategy, execution), strategy)
    return videos


def _of_the_loop(
    evaluation: Evaluation | None, backbone: keras.Model, config: PretrainConfig, num_videos: int
) -> loop.Evaluation | None:
    """The evaluation as the loop sees it."""
    if not evaluation:
        return None
    every_steps = max(1, config.steps_of(evaluation.every_epochs, num_videos))
    return loop.Evaluation(every_steps, lambda: evaluation.measure(backbone))


def _step_memory(
    config: PretrainConfig, strategy: tf.distribute.Strategy, execution: Execution
) -> memory.StepMemory:
    number = strategy.num_replicas_in_sync
    return memory.StepMemory(config, number, execution.remat, on_gpus(strategy))


def _write_pairs(
    writer: MetricsWriter, step: int, config: PretrainConfig, videos: IndexedSource, order: Order
) -> None:
    """Draws the clips of the first videos."""
    size = min(PICTURED_VIDEOS, len(videos))
    with records.naming_bad_records(videos.name):
        here = videos.read_by(None)
        batch = next(iter(pipeline.pretraining_batches(here, config.views, size, order)))
    writer.write_pairs(step, np.stack(batch.views, axis=1))
