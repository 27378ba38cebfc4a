"""Standard output and standard error that may go away while a command runs.

The reader of a pipe ends, the terminal closes, a scheduler starts the command without output, the
disk under a log file is full: what is printed then is lost, and the command continues.
"""

import contextlib
import io
import os
import sys
from typing import Any, TextIO


class _Output(io.FileIO):
    """A file descriptor; what cannot be written to it is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def protect() -> None:
    """Makes sure that nothing that is printed from here on can end the process.

    Descriptors 0 to 2 that are closed are opened on the null device, so that no file that is opened
    later has one of their numbers and receives what is printed.
    """
    for number in range(3):
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the smallest number that is free
    sys.stdout = _protected(1, sys.stdout)
    sys.stderr = _protected(2, sys.stderr)


def _protected(number: int, stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed when Python started
        return open(os.devnull, "w")  # noqa: SIM115
    with contextlib.suppress(OSError):
        stream.flush()
    raw = _Output(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),
        write_through=getattr(stream, "write_through", False),
    )
