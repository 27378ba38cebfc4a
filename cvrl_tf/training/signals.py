"""SIGTERM and SIGINT as a request to stop after the step that is running."""

import signal
import sys
import threading
from types import FrameType, TracebackType


class StopRequest:
    """Notes SIGTERM and SIGINT inside its block; a second one interrupts at once.

    Schedulers send SIGTERM before they take a machine away. In a thread other than the main one,
    where Python has no signals, nothing is noted.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.received: str | None = None
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        print(
            f"\n{self.received}: stopping after this step, with a checkpoint;"
            " a second signal stops at once, without one.",
            file=sys.stderr,
        )

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
