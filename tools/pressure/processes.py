"""Training by the real command in a process of its own, observed through the files it writes."""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from cvrl_tf.errors import InputError
from cvrl_tf.training.run_directory import RunDirectory
from tools.pressure import compare

_POLL = 0.005  # seconds
LIMIT = 900.0  # seconds that any wait may take


class Training:
    """A process of `python -m cvrl_tf.train`, for a `with` block that kills it at its end.

    Args:
      directory: its --model_dir.
      arguments: its other flags.
      environment: variables added to those of this process.

    Attributes:
      resumed_from: the step of the newest checkpoint at its start, 0 if there was none.
      seconds: from its start until it held the lock (`locked`: imports, examination of the records,
        building the network), had restored its state (`restored`), and wrote its first line of
        metrics (`first_line`), as far as `wait_for_step` observed them.
    """

    def __init__(
        self, directory: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ):
        self._directory = directory
        self._metrics = RunDirectory(directory).metrics
        prefix = compare.latest_checkpoint(directory)
        self.resumed_from = int(prefix.rpartition("-")[2]) if prefix else 0
        self._file_before = self._file()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self.seconds: dict[str, float] = {}
        self._start = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cvrl_tf.train", f"--model_dir={directory}", *arguments],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def __enter__(self) -> "Training":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._errors.close()

    def _file(self) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(self._metrics).st_ino
        return None

    def _holds_lock(self) -> bool:
        path = RunDirectory(self._directory).lock
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            return file.read().startswith(f"{self._process.pid} ")
        return False

    def wait_for_step(self, step: int = 1, limit: float = LIMIT) -> bool:
        """Waits for a line of metrics of this process about `step` or a later step.

        Returns:
          Whether the line came; False if the process ended before, or after `limit` seconds.
        """
        step, end = max(step, self.resumed_from + 1), time.monotonic() + limit
        while time.monotonic() < end:
            now = time.monotonic() - self._start
            if "locked" not in self.seconds and self._holds_lock():
                self.seconds["locked"] = now
            if self._file() not in (None, self._file_before):
                self.seconds.setdefault("restored", now)
                with open(self._metrics, encoding="utf-8") as file:
                    steps = [json.loads(line)["step"] for line in file if line.endswith("\n")]
                if steps and steps[-1] > self.resumed_from:
                    self.seconds.setdefault("first_line", now)
                if steps and steps[-1] >= step:
                    return True
            if self._process.poll() is not None:
                return False
            time.sleep(_POLL)
        return False

    def wait_for_file(self, exists: Callable[[], bool]) -> bool:
        """Waits until `exists` is true; False if the process ends before."""
        while not exists():
            if self.ended():
                return False
            time.sleep(_POLL / 10)
        return True

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kills it, if it runs."""
        self._process.kill()
        self._process.wait()

    def limit_file_size(self, num_bytes: int) -> None:
        """Limits the size of its files from now on: larger ones fail as on a full disk."""
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    def wait(self, limit: float = LIMIT) -> tuple[int, str, float]:
        """Waits for its end.

        Returns:
          Its exit status, its stderr, and the seconds since its start.

        Raises:
          InputError: it does not end.
        """
        try:
            status = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            raise InputError(
                f"The training in {self._directory} has not ended after {limit:.0f} seconds: try a"
                " machine with less other work."
            ) from None
        return status, self.said(), time.monotonic() - self._start

    def said(self) -> str:
        """Its stderr so far."""
        self._errors.seek(0)
        return self._errors.read()

    def said_last(self) -> str:
        """The sentence with which it ended: the last line for users, empty if there is none."""
        lines = [
            line for line in self.said().splitlines() if line.startswith(("error:", "Stopped"))
        ]
        return (lines or self.said().strip().splitlines() or [""])[-1]


def expect_end(training: Training, status: int, sentence: str = "") -> tuple[list[str], float]:
    """Waits for the end of a training and checks how it ended.

    Args:
      training: the process.
      status: the expected exit status.
      sentence: regular expression that a line on stderr must match; lines of TensorFlow may follow.

    Returns:
      A phrase for each deviation; the seconds since its start.
    """
    found, said, seconds = training.wait()
    last = training.said_last()
    phrases = []
    if found != status:
        phrases.append(f"exit status {found} instead of {status}: {last}")
    if "Traceback" in said:
        phrases.append(f"a traceback: {last}")
    if not re.search(sentence, said, re.MULTILINE):
        phrases.append(f"it said {last!r} instead of {sentence!r}")
    return phrases, seconds
