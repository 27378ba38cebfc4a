"""Measures the memory of the host while a step holds a batch and the next one is made.

  python -m tools.benchmark host --batch_size=1024 --accumulate=8 --json=host.json

It reads batches as training does, and holds each until nothing more is made ahead of the next step.
It does so with batches in parts, as training makes them, and with batches in one part, as earlier
versions made them, each in a process of its own. The peak is beyond the memory that the process
took before it read anything.
"""

import os
import tempfile
import time

import numpy as np

from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data import checks, pipeline
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.parts import Parts, cut_batch
from cvrl_tf.data.stream import Order
from cvrl_tf.progress import Progress
from cvrl_tf.training.config import PretrainConfig
from tools.benchmark import input as input_benchmark
from tools.benchmark import report
from tools.benchmark.others import measure

FLAGS = {
    "Work": (
        input_benchmark.DATA,
        *input_benchmark.CLIP,
        *flags_of(PretrainConfig, "clips_per_video", "batch_size", "accumulate"),
        Flag("augment_on", "device", "As of cvrl_tf.train.", choices=("host", "device")),
        Flag(
            "step_on",
            "cpu",
            "cpu: the host holds the batch of a step. gpu: the GPU holds it; none is needed.",
            choices=("cpu", "gpu"),
        ),
    ),
    "Measurement": (
        Flag("steps", 2, "Batches of a measurement.", lower=1),
        Flag("whole", True, "Also measure batches in one part, which take several times as much."),
    ),
    "Output": (report.JSON,),
}
COLUMNS = [
    ("GB of a batch", "batch_gb", ".2f"),
    ("peak GB", "peak_gb", ".2f"),
    ("x batch", "times_batch", ".2f"),
    ("CPU-s/video", "cpu_seconds_per_video", ".4f"),
    ("parts", "parts", ".0f"),
    ("ahead", "ahead", ".0f"),
]
QUIET_SECONDS = 1.0
Figures = dict[str, float]


def main(flags: Values) -> None:
    """Measures, prints the table and writes the JSON."""
    settings = report.settings(flags, FLAGS)
    config = flags.make(PretrainConfig, train_data="", steps=0, learning_rate=0.001)
    on_host = flags.augment_on == "host"
    config.check(config.batch_size, num_replicas=1)
    video_bytes = config.views.video_bytes(on_host)
    batch_bytes = config.batch_size * video_bytes
    held = flags.step_on == "cpu"
    parts = cut_batch(config.batch_size, video_bytes, config.micro_batches, held * batch_bytes)
    with tempfile.TemporaryDirectory(prefix="cvrl_benchmark_") as directory:
        name = flags.data or input_benchmark.render(os.path.join(directory, "records"))
        checks.check_shards(find_source(name, "data"), config.clip)
        cases = {"in parts": parts} | ({"in one part": Parts()} if flags.whole else {})
        results: dict[str, Figures] = {}
        with Progress("measuring", len(cases), "run") as progress:
            for title, case in cases.items():
                figures = input_benchmark.in_a_process(
                    _measure, name, config, case, on_host, held, flags.steps
                )
                figures["batch_gb"] = batch_bytes / 1e9
                figures["times_batch"] = figures["peak_gb"] / figures["batch_gb"]
                results[title] = figures | {"parts": case.number, "ahead": case.ahead}
                progress.update()
    print("\n" + report.table(COLUMNS, results))
    if flags.json:
        report.write_json(flags.json, "host", settings, results)
        print(f"written to {flags.json}")


def _measure(
    name: str, config: PretrainConfig, parts: Parts, on_host: bool, held: bool, steps: int
) -> Figures:
    videos = find_source(name, "data").indexed()
    count = (steps + 2) * config.batch_size
    repeated = videos.select(np.arange(count) % len(videos))
    before = measure.peak_memory_mb()
    cpu_start = measure.cpu_seconds()
    dataset = pipeline.pretraining_batches(
        repeated, config.views, parts.size(config.batch_size), Order(0), augmented=on_host
    )
    batches = parts.batches(dataset.prefetch(parts.ahead))
    for _ in range(steps):
        batch = next(batches)
        if not held:
            batch.clear()
        _wait_until_quiet()
        batch.clear()
    made = steps + parts.ahead / parts.number
    return {
        "peak_gb": (measure.peak_memory_mb() - before) / 1000,
        "cpu_seconds_per_video": (measure.cpu_seconds() - cpu_start) / (made * config.batch_size),
    }


def _wait_until_quiet() -> None:
    """Waits until this process computes nothing."""
    used = measure.cpu_seconds()
    while True:
        time.sleep(QUIET_SECONDS)
        before, used = used, measure.cpu_seconds()
        if used - before < 0.02 * QUIET_SECONDS:
            return


COMMAND = Command(main, __doc__, FLAGS)
