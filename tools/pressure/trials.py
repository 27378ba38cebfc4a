"""The trials: a fault for each run, and what was lost at its end."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.text import printable
from cvrl_tf.training.metrics import read_metrics
from cvrl_tf.training.run_directory import RunDirectory
from tools.pressure import compare, data, odd_files
from tools.pressure.processes import Training, expect_end

SAVE_EVERY, LOG_EVERY, BATCH_SIZE = 3, 2, 4  # so that lines and checkpoints do not coincide
WORKERS = 2
CLOSE = 1e-4  # relative, of losses of several workers
_SAVING_SECONDS = 0.03  # from the first file of a checkpoint to a kill, at most


@dataclasses.dataclass
class Result:
    """The result of a trial.

    Attributes:
      done: the fault.
      times: number of times that it was injected.
      lost: a phrase for each loss or unexpected behaviour.
      figures: measurements by name.
    """

    done: str
    times: int
    lost: list[str]
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


class Campaign:
    """Trains in a directory, uninterrupted and with faults, and converts odd files in it.

    Args:
      directory: an empty directory for records and runs.
      steps: of each run.
      kills: number of kills of the run of one process.
      worker_kills: number of kills of one of two workers.
      seed: of the random times and of the damage.
      on_start: called for each training that starts.
    """

    def __init__(
        self,
        directory: str,
        steps: int,
        kills: int,
        worker_kills: int,
        seed: int,
        on_start: Callable[[], None],
    ):
        self._directory, self._steps = directory, steps
        self._kills, self._worker_kills = kills, worker_kills
        self._rng = np.random.default_rng(seed)
        self._on_start = on_start
        self._reference = self._path("reference")
        self._startup, self._step_seconds = 0.0, 0.0

    @functools.cached_property
    def _records(self) -> str:
        return data.render(self._path("records"))

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _start(
        self, directory: str, records: str = "", environment: dict[str, str] | None = None
    ) -> Training:
        self._on_start()
        arguments = [
            f"--train_data={records or self._records}",
            "--backbone=r3d_small",
            "--num_frames=4",
            "--crop_size=32",
            f"--batch_size={BATCH_SIZE}",
            f"--steps={self._steps}",
            "--warmup_epochs=0",
            "--learning_rate=0.01",
            f"--save_every_steps={SAVE_EVERY}",
            f"--log_every_steps={LOG_EVERY}",
        ]
        return Training(directory, arguments, environment)

    def _lost(self, directory: str, expected: str = "") -> list[str]:
        expected = expected or self._reference
        rows = read_metrics(expected), read_metrics(directory)
        return compare.differing_runs(expected, directory, rows)

    def _finish(self, directory: str) -> list[str]:
        """Runs the command once more, which must reach the end; returns what was lost."""
        with self._start(directory) as training:
            failed, _ = expect_end(training, 0)
        return failed or self._lost(directory)

    def reference(self) -> Result:
        """The uninterrupted run, with which the others are compared."""
        with self._start(self._reference) as training:
            training.wait_for_step()
            failed, seconds = expect_end(training, 0)
        self._startup = training.seconds.get("first_line", seconds)
        self._step_seconds = (seconds - self._startup) / self._steps
        rows = read_metrics(self._reference)
        expected = [{"step": step} for step in range(LOG_EVERY, self._steps + 1, LOG_EVERY)]
        steps = [{"step": row["step"]} for row in rows]
        prefix = compare.latest_checkpoint(self._reference)
        figures = {"seconds": seconds, **_state_bytes(prefix), "start": dict(training.seconds)}
        lost = failed + compare.differing_rows(expected, steps)
        return Result(f"nothing: the reference, {self._steps} steps", 1, lost, figures)

    def kills(self) -> Result:
        """SIGKILL at random times; of four, one during the start and one during a save."""
        directory = self._path("killed")
        phases, again, starting, saving, temporaries = [], [], 0, 0, []
        for number in range(self._kills):
            with self._start(directory) as training:
                if number % 4 == 3:
                    time.sleep(self._rng.uniform(0, self._startup))
                    starting += 1
                elif training.wait_for_step():
                    self._sleep_some_steps(self._kills)
                    if number % 4 == 1:
                        saving += training.wait_for_file(lambda: bool(_temporaries(directory)))
                        time.sleep(self._rng.uniform(0, _SAVING_SECONDS))
                if training.ended():
                    return Result("SIGKILL", number, ["it ended before it was killed"])
                training.kill()
            if "first_line" in training.seconds:
                phases.append(training.seconds)
                last, saved = _last_step(directory), _saved_step(directory)
                again.append(max(last - saved, 0))
            temporaries += _temporaries(directory)
        lost = self._finish(directory)
        figures = {
            "kills_while_starting": starting,
            "kills_while_saving": saving,
            "restarts": self._kills,
            "temporaries_left_by_kills": len(temporaries),
            "most_steps_done_again": max(again, default=0),
            "seconds_to_go_on": _spread([phase["first_line"] for phase in phases]),
            "seconds_until_locked": _spread([phase["locked"] for phase in phases]),
            "seconds_until_restored": _spread(
                [phase["restored"] - phase["locked"] for phase in phases]
            ),
            "seconds_until_first_line": _spread(
                [phase["first_line"] - phase["restored"] for phase in phases]
            ),
        }
        return Result("SIGKILL at random times, restarted", self._kills, lost, figures)

    def _sleep_some_steps(self, kills: int) -> None:
        # At most its part of the run, so that the run outlasts all kills.
        steps = self._rng.uniform(0, self._steps / (kills + 1))
        time.sleep(steps * self._step_seconds)

    def workers(self) -> Result:
        """SIGKILL of one of two workers; both are restarted."""
        expected, directory = self._path("workers_reference"), self._path("workers_killed")
        seconds, lost = self._run_workers(expected, kill=False)
        survivors = []
        for _ in range(self._worker_kills):
            seconds, phrases = self._run_workers(directory, kill=True)
            survivors.append(seconds)
            lost += phrases
        lost += self._run_workers(directory, kill=False)[1]
        rows = read_metrics(expected), read_metrics(directory)
        figures: dict[str, Any] = {"seconds_until_survivor_ended": _spread(survivors)}
        differing = self._lost(directory, expected)
        figures["bit_for_bit"] = not differing
        gaps = [phrase for phrase in differing if "line" in phrase or "file" in phrase]
        if gaps or len(rows[0]) != len(rows[1]):
            lost += gaps
        else:
            figures["largest_loss_difference"] = compare.largest_difference(*rows)
            if figures["largest_loss_difference"] > CLOSE:
                lost.append(f"losses differ by {figures['largest_loss_difference']:.1e}")
        done = "one of two workers killed, both restarted"
        return Result(done, self._worker_kills, lost, figures)

    def _run_workers(self, directory: str, kill: bool) -> tuple[float, list[str]]:
        """Starts two workers, kills one if `kill`, and waits for the end of both.

        Returns:
          The seconds from the kill, or from the start, to the end of the last worker; a phrase for
          each unexpected behaviour.
        """
        with contextlib.ExitStack() as stack:
            addresses = _free_addresses(WORKERS)
            workers = []
            for index in range(WORKERS):
                task = {"type": "worker", "index": index}
                text = json.dumps({"cluster": {"worker": addresses}, "task": task})
                worker = self._start(directory, environment={"TF_CONFIG": text})
                workers.append(stack.enter_context(worker))
            if not kill:
                ends = [expect_end(worker, 0) for worker in workers]
                return max(end[1] for end in ends), [phrase for end in ends for phrase in end[0]]
            began = workers[0].wait_for_step()  # the first writes the lines
            self._sleep_some_steps(self._worker_kills)
            if not began or any(worker.ended() for worker in workers):
                return 0.0, ["the workers ended before one was killed"]
            victim = int(self._rng.integers(WORKERS))
            workers[victim].kill()
            start = time.monotonic()
            phrases, _ = expect_end(workers[1 - victim], 2, "^error: Another worker is gone")
            return time.monotonic() - start, phrases

    def bad_records(self) -> Result:
        """One record in a hundred is damaged, each in another way."""
        numbers = self._rng.choice(data.VIDEOS, len(data.DAMAGES), replace=False)
        damaged = dict(zip(map(int, numbers), data.DAMAGES, strict=True))
        directory = self._path("bad_records")
        records = data.render(self._path("damaged"), damaged)
        with self._start(directory, records) as training:
            lost, _ = expect_end(training, 0)
        path = RunDirectory(directory).bad_records()
        named = files.read_text(path).splitlines() if os.path.exists(path) else []
        origins = sorted(line.partition(": ")[0] for line in named)
        if origins != sorted(data.origin(records, number) for number in damaged):
            lost.append(f"records {sorted(damaged)} were damaged, {origins} are named")
        rows = read_metrics(directory)
        if not rows or (rows[-1]["step"], rows[-1]["bad_records"]) != (self._steps, len(damaged)):
            lost.append(f"the last line of metrics is {rows[-1:]}")
        what = ", ".join(data.DAMAGES)
        share = len(damaged) / data.VIDEOS
        named = [line.replace(os.path.join(os.path.dirname(records), ""), "") for line in named]
        return Result(f"{share:.0%} of the records: {what}", len(damaged), lost, {"named": named})

    def full_disk(self) -> Result:
        """A checkpoint cannot be written for lack of space; then there is space again."""
        directory = self._path("full_disk")
        with self._start(directory) as training:
            training.wait_for_step(SAVE_EVERY + LOG_EVERY)
            prefix = compare.latest_checkpoint(self._reference)
            training.limit_file_size(_state_bytes(prefix)["checkpoint_bytes"] // 2)
            lost, _ = expect_end(training, 2, "^error: The checkpoint of step .* cannot be written")
            sentence = training.said_last()
        saved = compare.latest_checkpoint(directory)
        try:
            reader = tf.train.load_checkpoint(saved)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
        except Exception as error:  # whatever TensorFlow raises for a file that is damaged
            lost.append(f"the checkpoint before, {saved}, cannot be read: {error}")
        lost += [f"{name} is left over" for name in _temporaries(directory)]
        figures = {"saved_step": _saved_step(directory), "sentence": sentence}
        lost += self._finish(directory)
        return Result("no space for a checkpoint, then space again", 1, lost, figures)

    def two_processes(self) -> Result:
        """A second process starts in the directory of a run."""
        directory = self._path("two_processes")
        with self._start(directory) as first:
            first.wait_for_file(lambda: os.path.exists(RunDirectory(directory).config))
            with self._start(directory) as second:
                lost, seconds = expect_end(second, 2, "^error: Another process .* is training in")
                sentence = second.said_last()
            if first.ended():
                lost.append("the first had ended when the second was refused")
            lost += expect_end(first, 0)[0]
        lost += self._lost(directory)
        figures = {"seconds_until_refused": seconds, "sentence": sentence}
        return Result("a second process in the same directory", 1, lost, figures)

    def sigterm(self) -> Result:
        """SIGTERM, as a scheduler sends it."""
        directory = self._path("sigterm")
        with self._start(directory) as training:
            training.wait_for_step(LOG_EVERY + int(self._rng.integers(1, self._steps // 2)))
            training.send(signal.SIGTERM)
            start = time.monotonic()
            lost, _ = expect_end(training, 75, "^Stopped at step .* the same command resumes")
            seconds = time.monotonic() - start
        figures = {"seconds_until_ended": seconds, "saved_step": _saved_step(directory)}
        lost += self._finish(directory)
        return Result("SIGTERM, restarted", 1, lost, figures)

    def files(self) -> Result:
        """Odd video files, names and lists are converted, each with what it must give."""
        self._on_start()
        directory = self._path("odd_files")
        os.makedirs(directory)
        found = odd_files.outcomes(directory)
        lost = [
            printable(f"{outcome.what}: must give {outcome.gives!r}, gave {outcome.gave!r}")
            for outcome in found
            if not outcome.right
        ]
        done = "odd files, names and lists converted"
        return Result(done, len(found), lost, {"outcomes": found})


def _state_bytes(prefix: str | None) -> dict[str, int]:
    """Bytes of a checkpoint's files, and of the loop's own state in it."""
    if prefix is None:
        return {"checkpoint_bytes": 0, "loop_state_bytes": 0}
    size = sum(os.path.getsize(path) for path in tf.io.gfile.glob(f"{prefix}.*"))
    reader = tf.train.load_checkpoint(prefix)
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("loop/")]
    own = sum(len(reader.get_tensor(name)) for name in names)
    return {"checkpoint_bytes": size, "loop_state_bytes": own}


def _temporaries(directory: str) -> list[str]:
    """Incomplete files that an ended process has left."""
    marks = ("_temp", "tempstate", ".tmp")
    paths = [directory, RunDirectory(directory).checkpoints]
    names = [name for path in paths for name in files.names_in(path)]
    return [name for name in names if any(mark in name for mark in marks)]


def _saved_step(directory: str) -> int:
    prefix = compare.latest_checkpoint(directory)
    return int(prefix.rpartition("-")[2]) if prefix else 0


def _last_step(directory: str) -> int:
    rows = read_metrics(directory)
    return int(rows[-1]["step"]) if rows else 0


def _spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum; empty for no values."""
    if not values:
        return {}
    return {"median": statistics.median(values), "least": min(values), "largest": max(values)}


def _free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
