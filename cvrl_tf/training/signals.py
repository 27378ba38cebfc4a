"""SIGTERM, SIGINT and SIGHUP as a request to stop after the step that is running."""

import contextlib
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from cvrl_tf import progress


class StopRequest:
    """Notes SIGTERM, SIGINT and SIGHUP inside its block; a second one interrupts at once.

    Schedulers send SIGTERM before they take a machine away; SIGHUP comes when the terminal or the
    ssh session closes, and is left alone where it is ignored, as under nohup. In a thread other
    than the main one, where Python has no signals, nothing is noted.

    Args:
      announcement: what happens next, printed when the first signal arrives.

    Attributes:
      received: name of the signal that was received, None before.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(
        self,
        announcement: str = "stopping after this step, with a checkpoint; a second signal stops at"
        " once, without one.",
    ):
        self.received: str | None = None
        self._announcement = announcement
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        with contextlib.suppress(RuntimeError):  # the signal came while a line was being written
            progress.note(f"\n{self.received}: {self._announcement}")

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                ignored = signal.getsignal(number) == signal.SIG_IGN
                if not (ignored and number == signal.SIGHUP):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
