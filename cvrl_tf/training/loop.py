"""The training loop: resumes exactly where it stopped, stops when asked, reports its progress."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cvrl_tf import files, progress
from cvrl_tf.data import records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.parts import Parts, cut_batch
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import Gaps, Order, Share
from cvrl_tf.errors import InputError, Stopped
from cvrl_tf.progress import Progress
from cvrl_tf.settings import setting
from cvrl_tf.text import counted
from cvrl_tf.training import memory
from cvrl_tf.training.checkpoints import LoopState, RunCheckpoints
from cvrl_tf.training.log import ON_NAN, Log
from cvrl_tf.training.metrics import MetricsWriter
from cvrl_tf.training.run_directory import RunDirectory
from cvrl_tf.training.selection import Selection, Selector
from cvrl_tf.training.signals import StopRequest
from cvrl_tf.training.strategy import Workers, on_gpus
from cvrl_tf.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How a run is recorded, and whether it continues after faults or with other settings.

    `max_bad_records` and `on_nan` decide whether a run continues after a fault, and `override`
    whether it resumes with the settings given now. The others do not change what it computes.

    Attributes:
      profile: first and last step of a profile for TensorBoard; None for no profile.
      flagfile: text of `flags.txt` in the directory of the run; None writes none.
    """

    save_every_steps: int = setting(
        500, "Steps between checkpoints; the last step always has one.", lower=1
    )
    save_every_minutes: float = setting(
        30.0, "Also save a checkpoint after this many minutes; 0 disables.", lower=0
    )
    keep_checkpoints: int = setting(3, "Number of newest checkpoints to keep.", lower=1)
    log_every_steps: int = setting(10, "Steps between lines of metrics.jsonl.", lower=1)
    max_bad_records: int = setting(
        100,
        "Maximum number of unreadable records that a worker skips; one more stops training. Each is"
        " listed in bad_records.txt.",
        lower=0,
    )
    on_nan: str = setting(
        "stop",
        "What to do after a step whose loss or gradients are not finite, which never changes the"
        " weights: stop, or skip the step and continue.",
        choices=ON_NAN,
    )
    parallel_reads: int = setting(
        0,
        "Number of records that a worker reads at once; 0 chooses it: one for each CPU from a local"
        " disk; from a bucket four for each CPU, at least 16. Raise it when training waits for a"
        " bucket; each record takes memory, some 6 MB for 10 seconds of Kinetics.",
        lower=0,
        upper=4096,
    )
    override: bool = setting(
        False, "Resume a run that was started with other settings, with the settings given now."
    )
    profile: tuple[int, int] | None = None
    flagfile: str | None = None


DEFAULT_OPTIONS = LoopOptions()


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Something that is measured during training, every `every_steps` steps and at the end.

    Attributes:
      every_steps: steps between measurements.
      measure: called without arguments by the process that writes; returns figures by name.
    """

    every_steps: int
    measure: Callable[[], dict[str, float]]

    def due(self, step: int, last: bool) -> bool:
        """Whether to measure after this step."""
        return last or step % self.every_steps == 0


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of the loop is.

    Attributes:
      model_dir: its directory, made by `run_config.prepare`.
      total_steps: steps of the whole run.
      description: for the progress bar, such as "pre-training".
      evaluation: what is measured during training; None for nothing.
      selection: how the evaluations decide which weights are kept and when the run ends.
      begin: called once, with the step to resume from, by the process that writes.
      step_memory: what the memory of a step depends on, to say what fits where it does not.
    """

    model_dir: str
    total_steps: int
    description: str
    evaluation: Evaluation | None = None
    selection: Selection | None = None
    begin: Callable[[MetricsWriter, int], None] = lambda writer, step: None
    step_memory: memory.StepMemory | None = None


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a run is trained on.

    Attributes:
      videos: all that is read in an epoch.
      order: in which they are read.
      batch_size: videos of a step over all replicas.
      batches: the batches of one worker, endless, from their size on a replica and the worker's
        share of the stream; batches have an attribute `positions`. The loop asks for parts.
      video_bytes: that a video takes in a batch.
      histograms: from a batch to values whose distribution TensorBoard shows, by name.
      clip: that is taken of a video, for messages.
      micro_batches: into which a step splits the batch of a replica.
    """

    videos: IndexedSource
    order: Order
    batch_size: int
    batches: Callable[[int, Share], tf.data.Dataset]
    video_bytes: float
    histograms: Callable[[Any], dict[str, tf.Tensor]] = lambda batch: {}
    clip: ClipSpec | None = None
    micro_batches: int = 1

    def parts(self, strategy: tf.distribute.Strategy, workers: Workers) -> Parts:
        """How the batches of this worker are cut."""
        share = self.batch_size // strategy.num_replicas_in_sync
        held = 0.0 if on_gpus(strategy) else self.batch_size / workers.share.count
        return cut_batch(share, self.video_bytes, self.micro_batches, held * self.video_bytes)


def train(
    trainer: Trainer, data: TrainingData, run: Run, options: LoopOptions = DEFAULT_OPTIONS
) -> None:
    """Trains to the last step, from the newest intact checkpoint of the run if there is one.

    SIGTERM, SIGINT and SIGHUP end it after the step that is running, with a checkpoint.

    Args:
      trainer: made in the scope of its strategy, with the weights that a new run starts from.
      data: what to train on.
      run: directory, length and name of the run, and what is measured during it.
      options: how it is recorded, and which faults it tolerates.

    Raises:
      InputError: too many unreadable records, a loss that is not finite, a checkpoint that cannot
        be read or written, a step that exhausts the memory, or a worker that is gone; the message
        says how to resume, or what fits.
      Stopped: a signal ended it, and a checkpoint is written.
    """
    workers = Workers(trainer.strategy)
    state = trainer.checkpoint.loop = LoopState()
    checkpoints = RunCheckpoints(trainer.checkpoint, run.model_dir, options.keep_checkpoints)
    selector = Selector(run.selection, trainer, run.model_dir, state)
    if workers.is_chief:
        _remove_temporaries(run.model_dir, checkpoints)
    checkpoints.restore()
    done = int(trainer.checkpoint.step.numpy())
    path = RunDirectory(run.model_dir).bad_records(workers.share.index)
    bad_records = _BadRecords(data, state.bad_records, options.max_bad_records, path)
    writer = MetricsWriter(run.model_dir, done) if workers.is_chief else None
    if writer:
        progress.note(_described(run, data, trainer.strategy, done))
        selector.begin(done)
        run.begin(writer, done)
    batches, gaps = _read(data, trainer.strategy, workers, state.positions)
    timer = _SaveTimer(options)
    with (
        StopRequest() as stop,
        Progress(run.description, run.total_steps, "step", initial=done) as bar,
        _Profile(options.profile if writer else None, run.model_dir) as profile,
        workers.naming_lost_workers(lambda: checkpoints.latest),
    ):
        log = Log(writer, bar, data.batch_size, len(data.videos), options.on_nan, state.pending)
        for step in range(done + 1, 1 + (done if selector.ended else run.total_steps)):
            profile.before(step)
            with log.waiting(), records.naming_bad_records(data.videos.name):
                parts = next(batches)
            bad_records.add(gaps.missing(_positions(workers, parts)), bar)
            figures = _step(trainer, parts, run.step_memory)
            log.add(step, figures, _values(workers, parts, data.histograms))
            del parts  # else those of the next batch would come beside them
            bar.update()
            profile.after(step)

            last = step == run.total_steps
            evaluated = run.evaluation is not None and run.evaluation.due(step, last)
            measured = _measure(run, log, checkpoints.latest) if evaluated and writer else {}
            improved = selector.add(step, measured)
            if last or evaluated or step % options.log_every_steps == 0:
                measured["bad_records"] = len(state.bad_records)
                log.write(step, float(trainer.schedule(step - 1)), checkpoints.latest, **measured)
            request = bool(stop.received), selector.ended, gaps.next_position
            stopping, ended, state.positions = workers.agree(*request)
            last |= ended
            if last or stopping or improved or timer.due(step):
                state.pending = log.pending(checkpoints.latest)
                with log.paused():
                    if writer:
                        checkpoints.save(step)
                        selector.keep(step)
                timer.restart()
            if stopping and not last:
                raise _stopped(run, step, stop)
            if last:
                break
    if selector.ended:
        progress.note(selector.reason)


def _step(
    trainer: Trainer, parts: Sequence[Any], step_memory: memory.StepMemory | None
) -> dict[str, tf.Tensor]:
    """A step; exhausted memory is one sentence."""
    with memory.naming_exhaustion(step_memory, trainer.strategy):
        return trainer.step(*parts)


def _stopped(run: Run, step: int, stop: StopRequest) -> Stopped:
    """What ends a run after a step whose checkpoint is saved."""
    return Stopped(
        f"Stopped at step {step} of {run.total_steps} by {stop.received or 'a signal'}, saved to"
        f" {run.model_dir}: the same command resumes from there."
    )


def _remove_temporaries(model_dir: str, checkpoints: RunCheckpoints) -> None:
    """Removes what a killed process has left in the directory of the run."""
    files.remove_temporaries(model_dir)
    checkpoints.remove_temporaries()


def _described(run: Run, data: TrainingData, strategy: tf.distribute.Strategy, done: int) -> str:
    """What runs, in one line."""
    number, devices = len(data.videos), strategy.num_replicas_in_sync
    clip = data.clip
    parts = [
        counted(number, "video"),
        f"{counted(f'{number / data.batch_size:.3g}', 'step')} an epoch",
        counted(run.total_steps, "step"),
        *([f"{clip.frames} frames of {clip.size}x{clip.size}"] if clip else []),
        counted(devices, "device"),
    ]
    if done >= run.total_steps:
        parts.append("all of them done")
    elif done:
        parts.append(f"resuming from step {done}")
    return f"{run.description}: {', '.join(parts)}"


def _measure(run: Run, log: Log, last_checkpoint: str | None) -> dict[str, float]:
    """The figures of the evaluation; its time does not count as training."""
    log.pending(last_checkpoint)  # waits for the steps, and finds those that are not finite
    with log.paused():
        return run.evaluation.measure() if run.evaluation else {}


def _positions(workers: Workers, parts: Sequence[Any]) -> np.ndarray:
    """The positions of this worker in all parts of a batch."""
    return workers.local_values(*(part.positions for part in parts))


def _values(
    workers: Workers,
    parts: Sequence[Any],
    histograms: Callable[[Any], dict[str, tf.Tensor]],
) -> dict[str, np.ndarray]:
    """The values of this worker in all parts of a batch, by name."""
    found = [histograms(part) for part in parts]
    return {name: workers.local_values(*(values[name] for values in found)) for name in found[0]}


class _SaveTimer:
    """Knows when the next checkpoint is due, by steps and by minutes."""

    def __init__(self, options: LoopOptions):
        self._options = options
        self.restart()

    def restart(self) -> None:
        self._saved = time.monotonic()

    def due(self, step: int) -> bool:
        minutes = (time.monotonic() - self._saved) / 60.0
        late = 0 < self._options.save_every_minutes <= minutes
        return late or step % self._options.save_every_steps == 0


def _read(
    data: TrainingData,
    strategy: tf.distribute.Strategy,
    workers: Workers,
    positions: Sequence[int],
) -> tuple[Iterator[list[Any]], Gaps]:
    """This worker's batches from where the workers stopped, and what finds the gaps in them.

    Each batch is a list of its parts.
    """
    share, parts = workers.share, data.parts(strategy, workers)
    same = len(positions) == share.count  # as many workers as before
    first = positions[share.index] if same else min(positions, default=0)
    rest = dataclasses.replace(share, first=first)

    def read(batch_size: int) -> tf.data.Dataset:
        return data.batches(parts.size(batch_size), rest).prefetch(parts.ahead)

    if strategy.num_replicas_in_sync == 1 and not on_gpus(strategy):
        # A distributed dataset would buffer on the device by a dataset of its own, whose autotuning
        # no option reaches: when it ends, it waits up to a minute (`stream.steady_options`).
        return parts.batches(read(data.batch_size)), Gaps(rest)
    distributed = strategy.distribute_datasets_from_function(
        lambda context: read(context.get_per_replica_batch_size(data.batch_size))
    )
    return parts.batches(distributed), Gaps(rest)


class _BadRecords:
    """Reports, counts and lists the records at positions that are missing from the stream.

    Each is reported once. More than `most` of them stop the run.

    Args:
      data: what is read.
      known: numbers of the records that are known already; new ones are added to it.
      most: maximum number of records to skip.
      path: of the list of them; no two workers share one.
    """

    def __init__(self, data: TrainingData, known: set[int], most: int, path: str):
        self._data, self._known, self._most, self._path = data, known, most, path

    def add(self, positions: list[int], bar: Progress) -> None:
        """Adds the records at positions of the stream.

        Raises:
          InputError: there are more than `most` now.
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
            bar.note(f"skipped: {line}")
            if len(self._known) > self._most:
                raise InputError(
                    f"{len(self._known)} records cannot be used, more than max_bad_records="
                    f"{self._most}; the last: {line}. {self._path} lists all of them: raise"
                    " max_bad_records, or convert their videos again and resume with override."
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
        if self._running and self._steps and step == self._steps[1]:
            self._stop()

    def _stop(self) -> None:
        self._running = False
        tf.profiler.experimental.stop()

    def __enter__(self) -> "_Profile":
        return self

    def __exit__(self, *error: object) -> None:
        if self._running:
            self._stop()
