"""The report of a benchmark: machine, versions, memory, tables and JSON."""

import contextlib
import glob
import importlib.metadata
import io
import os
import platform
import statistics
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

import matplotlib
from matplotlib.figure import Figure

from cvrl_tf import environment, files, text
from cvrl_tf.cli.flag import Flag, Values

PACKAGES = ("cvrl-tf", "tensorflow", "keras", "numpy", "av", "simplejpeg")


def machine() -> dict[str, Any]:
    """The machine and its current load (`load_average` of 1 minute)."""
    return {
        "cpu": _cpu_name(),
        "cores": environment.granted_cpus(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            line = next(line for line in file if line.startswith("model name"))
        return line.split(": ")[1].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that influence the figures."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class Watcher:
    """Calls `look` again and again, from a thread, while the block runs.

    Args:
      seconds: between two calls.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._seconds):
            self.look()

    def look(self) -> None:
        """Looks once."""
        raise NotImplementedError


class PeakMemory(Watcher):
    """Peak memory of this process and of its children while the block runs, on Linux.

    A thread observes the children all the time, because the value that the kernel reports at their
    end (`ru_maxrss`) includes the memory of their parent process.
    """

    def __init__(self):
        super().__init__(0.05)
        self._peaks: dict[int, float] = {}

    def look(self) -> None:
        """See `Watcher`."""
        own = os.getpid()
        for process in [own, *_children(own)]:
            self._peaks[process] = max(self._peaks.get(process, 0.0), _peak_mb(process))

    def children(self) -> float:
        """MB of the largest child."""
        return max((mb for process, mb in self._peaks.items() if process != os.getpid()), default=0)

    def total(self) -> float:
        """MB of this process and all its children, each at its peak."""
        return sum(self._peaks.values())


def _children(process: int) -> list[int]:
    found: list[int] = []
    for path in glob.glob(f"/proc/{process}/task/*/children"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
            found += map(int, file.read().split())
    return found


def _peak_mb(process: int) -> float:
    return _status_mb(process, "VmHWM")


def resident_mb(process: int) -> float:
    """MB of memory that a process holds now; 0 if it has ended, or on other systems than Linux."""
    return _status_mb(process, "VmRSS")


def anonymous_mb(process: int) -> float:
    """As `resident_mb`, without the pages of mapped files."""
    return _status_mb(process, "RssAnon")


def _status_mb(process: int, name: str) -> float:
    try:
        with open(f"/proc/{process}/status", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(name)]
        return int(lines[0].split()[1]) * 1024 / 1e6
    except (OSError, IndexError, ValueError):  # it has ended, or this is not Linux
        return 0.0


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over several runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def ratio(
    runs: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]], name: str
) -> float:
    """The median, over pairs of consecutive runs, of the ratio of a figure to that of the other."""
    return statistics.median(
        run[name] / other[name] for run, other in zip(runs, others, strict=True)
    )


def table(columns: Sequence[tuple[str, str, str]], rows: Mapping[str, Mapping[str, float]]) -> str:
    """Figures in aligned columns.

    Args:
      columns: heading, name of the figure and format of each; a missing figure is shown as '-'.
      rows: figures by the name of their row.
    """
    lines = [["", *[heading for heading, _, _ in columns]]]
    for row, figures in rows.items():
        cells = [
            format(figures[name], form) if name in figures else "-" for _, name, form in columns
        ]
        lines.append([row, *cells])
    return text.table(lines)


RUNS = Flag("runs", 3, "Number of times that everything is measured.", lower=1)
JSON = Flag("json", "", "File for all figures, machine, versions and settings.")


def settings(flags: Values, groups: Mapping[str, Sequence[Flag]]) -> dict[str, Any]:
    """The values of the flags under the headings Work and Measurement, for `write_json`."""
    chosen = [*groups["Work"], *groups["Measurement"]]
    return {flag.name: flags[flag.name].value for flag in chosen}


def write_json(
    path: str,
    benchmark: str,
    settings: Mapping[str, Any],
    results: Any,
    environments: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Writes a benchmark's results with machine, versions and settings.

    Args:
      path: of the file.
      benchmark: its name.
      settings: values of its flags.
      results: its figures, as JSON values.
      environments: versions of packages in the environments of other implementations.
    """
    content = {
        "benchmark": benchmark,
        "machine": machine(),
        "versions": {**versions(), **(environments or {})},
        "settings": dict(settings),
        "results": results,
    }
    files.write_json(path, content)


def line_chart(points: Sequence[tuple[float, float]], x_name: str, y_name: str) -> str:
    """One line as an SVG picture, both axes from 0, legible on light and dark ground.

    Args:
      points: x and y, in the order of x.
      x_name: what x is, with its unit.
      y_name: what y is, with its unit.
    """
    gray = "#808080"
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "line_chart"}):
        figure = Figure(figsize=(6.4, 3.0), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(*zip(*points, strict=True), color="#2f7ed8")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(x_name, color=gray)
        axes.set_ylabel(y_name, color=gray)
        axes.tick_params(colors=gray, which="both")
        for spine in axes.spines.values():
            spine.set_color(gray)
        output = io.StringIO()
        figure.savefig(output, format="svg", transparent=True, metadata={"Date": None})
    return output.getvalue()
