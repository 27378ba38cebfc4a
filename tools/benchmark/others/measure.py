"""Measures any implementation, also this package. Needs the standard library only."""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


def settings() -> dict[str, Any]:
    """The settings of a program of this directory: its one argument, JSON."""
    return json.loads(sys.argv[1])


def print_figures(figures: dict[str, Any]) -> None:
    """Prints the result of a program, as the last line of its output."""
    print(json.dumps(figures))


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_seconds() -> float:
    """CPU time of this process so far, in user and kernel mode."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory_mb() -> float:
    """Peak of the resident memory of this process, in MB.

    `ru_maxrss` is not used on Linux, because it starts with the memory of the parent process.
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):  # not Linux
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def steps(step: Callable[[], object], num_steps: int) -> dict[str, float]:
    """Medians of `num_steps` steps, after two uncounted ones.

    Args:
      step: makes one step and waits for its end.
      num_steps: number of counted steps.
    """
    for _ in range(2):
        step()
    seconds, cpu = [], []
    for _ in range(num_steps):
        start, cpu_start = time.monotonic(), cpu_seconds()
        step()
        seconds.append(time.monotonic() - start)
        cpu.append(cpu_seconds() - cpu_start)
    return {
        "step_seconds": statistics.median(seconds),
        "cpu_seconds_per_step": statistics.median(cpu),
    }


def batches(batches: Iterator[Any], batch_size: int, num_videos: int) -> dict[str, float]:
    """Means over batches of at least `num_videos` videos, after half as many uncounted ones."""
    num_batches = -(-num_videos // batch_size)
    for _ in range(max(2, num_batches // 2)):  # until everything is compiled
        next(batches)
    cpu_start, start = cpu_seconds(), time.monotonic()
    for _ in range(num_batches):
        next(batches)
    videos = num_batches * batch_size
    return {
        "cpu_seconds_per_video": (cpu_seconds() - cpu_start) / videos,
        "videos_per_second": videos / (time.monotonic() - start),
        "peak_memory_mb": peak_memory_mb(),
    }
