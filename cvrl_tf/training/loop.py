"""The training loop: goes on exactly where it stopped, stops when asked, tells how it goes."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data import records
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import Gaps, Order, Share
from cvrl_tf.errors import InputError, Stopped
from cvrl_tf.progress import Progress
from cvrl_tf.training.checkpoints import LoopState, RunCheckpoints
from cvrl_tf.training.log import Log
from cvrl_tf.training.metrics import MetricsWriter
from cvrl_tf.training.signals import StopRequest
from cvrl_tf.training.strategy import Workers
from cvrl_tf.training.trainer import Trainer

BAD_RECORDS_FILE = "bad_records.txt"


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How a run is written down and how it bears trouble; nothing here changes what it computes.

    Attributes:
      save_every_steps: steps from one checkpoint to the next; the last step always has one.
      save_every_minutes: also a checkpoint when so long has passed since the last; 0 for never.
      keep_checkpoints: how many of the newest checkpoints stay.
      log_every_steps: steps from one line of metrics to the next.
      max_bad_records: so many different records that cannot be used are passed over.
      on_nan: a step whose loss or gradients are not finite changes no weight; then the run stops
        ("stop"), or goes on ("skip").
      profile: first and last step of a profile for TensorBoard; None for no profile.
    """

    save_every_steps: int = 500
    save_every_minutes: float = 30.0
    keep_checkpoints: int = 3
    log_every_steps: int = 10
    max_bad_records: int = 100
    on_nan: str = "stop"
    profile: tuple[int, int] | None = None


DEFAULT_OPTIONS = LoopOptions()


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Something that is measured now and then on the way, and at the end.

    Attributes:
      every_steps: steps from one time to the next.
      measure: called without arguments by the process that writes; returns figures by name.
    """

    every_steps: int
    measure: Callable[[], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a run is trained on.

    Attributes:
      videos: all that is read in an epoch.
      order: in which they are read.
      batch_size: videos of a step over all replicas.
      batches: the batches of one worker, endless, from the batch size of a replica and the worker's
        share of the stream; batches have an attribute `positions`.
      histograms: from a batch to values whose distribution TensorBoard shows, by name.
    """

    videos: IndexedSource
    order: Order
    batch_size: int
    batches: Callable[[int, Share], tf.data.Dataset]
    histograms: Callable[[Any], dict[str, tf.Tensor]] = lambda batch: {}


def train(
    trainer: Trainer,
    data: TrainingData,
    total_steps: int,
    model_dir: str,
    description: str,
    options: LoopOptions = DEFAULT_OPTIONS,
    evaluation: Evaluation | None = None,
    begin: Callable[[MetricsWriter, int], None] = lambda writer, step: None,
) -> None:
    """Trains to `total_steps`, from the newest intact checkpoint in `model_dir` if there is one.

    SIGTERM and SIGINT end it after the step that is running, with a checkpoint.

    Args:
      trainer: made in the scope of its strategy, with the weights that a new run starts from.
      data: what to train on.
      total_steps: steps of the whole run.
      model_dir: the directory of the run, made by `run_directory.prepare`.
      description: for the progress bar, such as "pre-training".
      options: how it is written down, and how it bears trouble.
      evaluation: what is measured on the way.
      begin: called once, with the step to go on from, by the process that writes.

    Raises:
      InputError: too many records that cannot be used, a loss that is not finite, a checkpoint that
        cannot be read or written, or a worker that is gone; the message says how to go on.
      Stopped: a signal ended it, and a checkpoint is written.
    """
    strategy = trainer.strategy
    workers = Workers(strategy)
    state = trainer.checkpoint.loop = LoopState()
    checkpoints = RunCheckpoints(trainer.checkpoint, model_dir, options.keep_checkpoints)
    if workers.is_chief:
        files.remove_temporaries(model_dir)
        checkpoints.remove_temporaries()
    checkpoints.restore()
    done = int(trainer.checkpoint.step.numpy())
    bad_records = _BadRecords(data, state.bad_records, options.max_bad_records, model_dir)
    writer = MetricsWriter(model_dir, done) if workers.is_chief else None
    if writer:
        begin(writer, done)
    batches, gaps = _read(data, strategy, workers.share, state.positions)
    saved = time.monotonic()
    with (
        StopRequest() as stop,
        Progress(description, total_steps, "step", initial=done) as progress,
        _Profile(options.profile if writer else None, model_dir) as profile,
        workers.naming_lost_workers(lambda: checkpoints.latest),
    ):
        log = Log(
            writer, progress, data.batch_size, len(data.videos), options.on_nan, state.pending
        )
        for step in range(done + 1, total_steps + 1):
            profile.before(step)
            with log.waiting(), records.naming_bad_records(data.videos.name):
                batch = next(batches)
            positions = workers.local_values(batch.positions)
            bad_records.add(gaps.missing(positions), progress)
            histograms = data.histograms(batch)
            log.add(
                step,
                trainer.step(batch),
                {name: workers.local_values(values) for name, values in histograms.items()},
            )
            progress.update()
            profile.after(step)

            last = step == total_steps
            evaluates = evaluation and (last or step % evaluation.every_steps == 0)
            if last or evaluates or step % options.log_every_steps == 0:
                log.write(
                    step,
                    float(trainer.schedule(step - 1)),
                    checkpoints.latest,
                    bad_records=len(state.bad_records),
                    **(evaluation.measure() if evaluates and writer else {}),
                )
            stopping, state.positions = workers.agree(bool(stop.received), gaps.next_position)
            minutes = (time.monotonic() - saved) / 60.0
            late = 0 < options.save_every_minutes <= minutes
            if last or stopping or late or step % options.save_every_steps == 0:
                state.pending = log.pending(checkpoints.latest)
                if writer:
                    checkpoints.save(step)
                saved = time.monotonic()
            if stopping and not last:
                raise Stopped(
                    f"Stopped at step {step} of {total_steps} by {stop.received or 'a signal'},"
                    f" saved to {model_dir}: the same command goes on from there."
                )


def _read(
    data: TrainingData, strategy: tf.distribute.Strategy, share: Share, positions: Sequence[int]
) -> tuple[Iterator[Any], Gaps]:
    """This worker's batches from where the workers stopped, and what finds the gaps in them."""
    same = len(positions) == share.count  # as many workers as before
    first = positions[share.index] if same else min(positions, default=0)
    rest = dataclasses.replace(share, first=first)
    batches = strategy.distribute_datasets_from_function(
        lambda context: data.batches(context.get_per_replica_batch_size(data.batch_size), rest)
    )
    return iter(batches), Gaps(rest)


class _BadRecords:
    """Names the records of positions that did not come, each once, and counts them.

    Args:
      data: what is read.
      known: numbers of the records that are known already; new ones are added to it.
      most: so many are passed over.
      model_dir: gets the list.
    """

    def __init__(self, data: TrainingData, known: set[int], most: int, model_dir: str):
        self._data, self._known, self._most = data, known, most
        self._path = os.path.join(model_dir, BAD_RECORDS_FILE)

    def add(self, positions: list[int], progress: Progress) -> None:
        """Adds the records at positions of the stream.

        Raises:
          InputError: they are too many now.
        """
        for position in positions:
            videos = self._data.videos
            number = self._data.order.video_at(position, len(videos))
            if number in self._known:
                continue
            self._known.add(number)
            line = f"{videos.index.origin(number)}: {videos.problem(number)}"
            lines = files.read_text(self._path).splitlines() if self._exists() else []
            files.write_if_changed(self._path, "\n".join(sorted({*lines, line})) + "\n")
            progress.note(f"left out: {line}")
            if len(self._known) > self._most:
                raise InputError(
                    f"{len(self._known)} records cannot be used, more than --max_bad_records="
                    f"{self._most}; the last: {line}. All are in {self._path}: convert their videos"
                    " again, or raise --max_bad_records."
                )

    def _exists(self) -> bool:
        return tf.io.gfile.exists(self._path)


class _Profile:
    """Profiles steps, the first to the last of `steps`, to a directory; None for none."""

    def __init__(self, steps: tuple[int, int] | None, directory: str):
        self._steps, self._directory = steps, directory
        self._running = False

    def before(self, step: int) -> None:
        if self._steps and step == self._steps[0]:
            tf.profiler.experimental.start(self._directory)
            self._running = True

    def after(self, step: int) -> None:
        if self._running and step == self._steps[1]:
            self._stop()

    def _stop(self) -> None:
        self._running = False
        tf.profiler.experimental.stop()

    def __enter__(self) -> "_Profile":
        return self

    def __exit__(self, *error: object) -> None:
        if self._running:
            self._stop()
