"""Measures a tf.data service on this machine, and what the detour over it costs.

  python -m tools.benchmark service --data='records/train-*' --json=service.json

It measures the input pipeline with colours on the device, in this process and with one and more
workers of a service, whose servers run on the same machine. CPU seconds are those of all processes.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.data import checks, pipeline
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.data.service import DataService
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import Order
from cvrl_tf.errors import InputError
from tools.benchmark import input as input_benchmark
from tools.benchmark import report
from tools.benchmark.others import measure

FLAGS = {
    "Work": (input_benchmark.DATA, *input_benchmark.CLIP, input_benchmark.BATCH_SIZE),
    "Measurement": (
        Flag("workers", 2, "Largest number of workers.", lower=1),
        Flag("videos", 96, "Videos of a run, after half as many that are not counted.", lower=1),
    ),
    "Output": (report.JSON,),
}
COLUMNS = [
    ("videos/s", "videos_per_second", ".1f"),
    ("CPU-s/video", "cpu_seconds_per_video", ".4f"),
    ("of them here", "cpu_seconds_here", ".4f"),
    ("detour", "detour", ".4f"),
]


def main(flags: Values) -> None:
    """Measures, prints the table and writes the JSON."""
    clip = ClipSpec(flags.num_frames, flags.stride, flags.crop_size)
    with tempfile.TemporaryDirectory(prefix="cvrl_benchmark_") as directory:
        name = flags.data or input_benchmark.render(os.path.join(directory, "records"))
        source = find_source(name, "data")
        videos = checks.check_shards(source, clip)
        results = {"this process": _measure(flags, videos, clip, [])}
        for count in range(1, flags.workers + 1):
            with _servers(count) as (address, pids):
                served = videos.read_by(DataService.reached(f"grpc://{address}"))
                figures = _measure(flags, served, clip, pids)
            results[f"{count} worker{'s' * (count > 1)}"] = figures
    plain = results["this process"]["cpu_seconds_per_video"]
    for figures in results.values():
        figures["detour"] = figures["cpu_seconds_per_video"] - plain
    print("\n" + report.table(COLUMNS, results))
    if flags.json:
        report.write_json(flags.json, "service", report.settings(flags, FLAGS), results)
        print(f"written to {flags.json}")


def _measure(
    flags: Values, videos: IndexedSource, clip: ClipSpec, pids: list[int]
) -> dict[str, float]:
    """Videos a second, and CPU seconds a video of this process and the others."""
    dataset = pipeline.pretraining_batches(
        videos, ViewsSpec(clip), flags.batch_size, Order(0), augmented=False
    )
    batches = iter(dataset.prefetch(1))
    count = max(1, flags.videos // flags.batch_size)
    for _ in range(max(1, count // 2)):
        next(batches)
    start = time.monotonic(), measure.cpu_seconds(), _cpu_seconds(pids)
    for _ in range(count):
        next(batches)
    end = time.monotonic(), measure.cpu_seconds(), _cpu_seconds(pids)
    wall, here, there = (b - a for a, b in zip(start, end, strict=True))
    number = count * flags.batch_size
    return {
        "videos_per_second": number / wall,
        "cpu_seconds_per_video": (here + there) / number,
        "cpu_seconds_here": here / number,
    }


def _cpu_seconds(pids: list[int]) -> float:
    """CPU time of other processes so far; of Linux."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _servers(count: int) -> Iterator[tuple[str, list[int]]]:
    """Starts a dispatcher and workers; yields the address and the numbers of the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    worker = ["worker", f"--dispatcher={address}", "--host=127.0.0.1"]
    commands = [["dispatcher", f"--port={port}"], *[worker] * count]
    with contextlib.ExitStack() as stack:
        servers = []
        for command in commands:
            server = subprocess.Popen(
                [sys.executable, "-m", "cvrl_tf.data_server", *command],
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(server.wait)
            stack.callback(server.terminate)
            servers.append(server)
        for server in servers:
            if server.stdout is None or not server.stdout.readline():
                raise InputError("A server did not start; its error is above.")
        yield address, [server.pid for server in servers]


COMMAND = Command(main, __doc__, FLAGS)
