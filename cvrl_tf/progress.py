"""Progress of long jobs: a bar on a terminal, plain lines elsewhere; and notes.

What cannot be written is dropped: progress and notes never end a run.
"""

import contextlib
import sys
import time
from types import TracebackType

from tqdm import tqdm

from cvrl_tf.text import printable


class _Stderr:
    """The standard error of the moment, which may be closed; what cannot be written is dropped."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, AttributeError):  # it is None where it was closed
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()


_STDERR = _Stderr()


def note(text: str) -> None:
    """Prints lines on stderr, above the bar if there is one; names in them cannot send commands."""
    tqdm.write("\n".join(map(printable, text.split("\n"))), file=_STDERR)
    _STDERR.flush()


class Progress:
    """Counts finished items of a long job and shows its progress.

    On a terminal this is a tqdm bar. Where the output is piped, a line is printed every
    `line_seconds`, and one at the end, so that logs stay readable.

    Args:
      description: what is being done, such as "pre-training".
      total: number of items of the whole job; None where it is not known.
      unit: name of one item, such as "video".
      initial: items that an earlier run has finished.
      line_seconds: seconds between two plain lines.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        unit: str,
        initial: int = 0,
        line_seconds: float = 30.0,
    ):
        self._description, self._total, self._unit = description, total, unit
        self._line_seconds = line_seconds
        self._initial = self._count = initial
        self._figures = ""
        self._start = self._last_line = time.monotonic()
        self._on_terminal = _STDERR.isatty()
        self._bar = tqdm(
            desc=description,
            total=total,
            unit=unit,
            initial=initial,
            disable=not self._on_terminal,
            dynamic_ncols=True,
            file=_STDERR,
        )

    def update(self, count: int = 1, **figures: float | str) -> None:
        """Adds `count` finished items and shows `figures` (name=value) beside the count.

        `count` may be 0, to print a line that is due, or negative, for items that start over.
        """
        self._count += count
        if figures:
            self._figures = " ".join(
                f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in figures.items()
            )
            self._bar.set_postfix_str(self._figures, refresh=False)
        self._bar.update(count)
        if not self._on_terminal and time.monotonic() - self._last_line >= self._line_seconds:
            self._print_line()

    def note(self, text: str) -> None:
        """See `progress.note`."""
        note(text)

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        seconds = self._last_line - self._start
        rate = (self._count - self._initial) / max(seconds, 1e-9)
        speed = f", {rate:.3g} {self._unit}s/s" if rate > 0 else ""
        left = of_all = ""
        if self._total is not None:
            of_all = f"/{self._total}"
            left = f", {(self._total - self._count) / rate:.0f} s left" if rate > 0 else ""
        note(
            f"{self._description}: {self._count}{of_all} {self._unit}s"
            f" after {seconds:.0f} s{speed}{left} {self._figures}".rstrip()
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        if not self._on_terminal:
            self._print_line()
