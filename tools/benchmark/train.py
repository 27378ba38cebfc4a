"""Measures the real training loop: videos per second, waiting for input, and memory over time.

  python -m tools.benchmark train --backbone=r3d_small --num_frames=8 --crop_size=64 \\
      --batch_size=16 --steps=2000 --figure=memory.svg

Training runs as in cvrl_tf.train, on the same devices, in a process of its own. The first tenth of
the steps is not counted. Waiting is the time that the loop waits for its next batch. Where the
device works asynchronously, as a GPU does, it is an upper bound of the cost of input.
"""

import multiprocessing
import os
import statistics
import tempfile
import time

from cvrl_tf import files
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.training import metrics
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.loop import LoopOptions
from cvrl_tf.training.pretrain import Execution, pretrain
from tools.benchmark import input as input_benchmark
from tools.benchmark import report

FLAGS = {
    "Work": (
        input_benchmark.DATA,
        *input_benchmark.CLIP,
        input_benchmark.BATCH_SIZE,
        *flags_of(PretrainConfig, "backbone", "precision"),
        *flags_of(Execution, "augment_on"),
    ),
    "Measurement": (Flag("steps", 20, "Steps of the run.", lower=10),),
    "Output": (report.JSON, Flag("figure", "", "SVG file for a picture of memory over time.")),
}
COLUMNS = [
    ("s/step", "step_seconds", ".3f"),
    ("videos/s", "videos_per_second", ".2f"),
    ("waiting", "input_wait", ".1%"),
    ("peak MB", "peak_memory_mb", ".0f"),
    ("growth", "memory_growth", "+.1%"),
]
# In shorter runs the first steps, which allocate everything, are too large a part.
STEPS_FOR_GROWTH = 500


def main(flags: Values) -> None:
    """Measures, prints the table and writes the JSON and the figure."""
    with tempfile.TemporaryDirectory(prefix="cvrl_benchmark_") as directory:
        name = flags.data or input_benchmark.render(os.path.join(directory, "records"))
        num_videos = len(find_source(name, "data").indexed())
        config = flags.make(PretrainConfig, train_data=name, warmup_epochs=0.0, learning_rate=0.001)
        if config.batch_size > num_videos:
            raise InputError(
                f"--batch_size={config.batch_size} is more than the {num_videos} videos of the"
                " data: lower it, or give more with --data."
            )
        model_dir = os.path.join(directory, "run")
        memory = _train(config, model_dir, flags.augment_on, max(1, flags.steps // 50))
        rows = metrics.read_metrics(model_dir)
    _print(flags, rows[max(1, len(rows) // 10) :], memory)


def _train(
    config: PretrainConfig, model_dir: str, augment_on: str, log_every_steps: int
) -> list[tuple[float, float]]:
    """Trains in a separate process; returns samples of its resident memory, (seconds, MB)."""
    process = multiprocessing.get_context("spawn").Process(
        target=pretrain,
        args=(config, model_dir),
        kwargs={
            "options": LoopOptions(
                log_every_steps=log_every_steps, save_every_steps=10**9, save_every_minutes=0
            ),
            "execution": Execution(augment_on=augment_on),
        },
    )
    start, memory = time.monotonic(), []
    process.start()
    assert process.pid is not None
    while process.is_alive():
        memory.append((time.monotonic() - start, report.resident_mb(process.pid)))
        process.join(timeout=0.5)
    if process.exitcode != 0:
        raise InputError(f"Training ended with exit status {process.exitcode}, see above.")
    return [sample for sample in memory if sample[1] > 0]


def _print(flags: Values, rows: list[dict[str, float]], memory: list[tuple[float, float]]) -> None:
    speed = statistics.median(row["videos_per_second"] for row in rows)
    results = {
        "step_seconds": flags.batch_size / speed,
        "videos_per_second": speed,
        "input_wait": statistics.mean(row["input_wait"] for row in rows),
        "peak_memory_mb": max(mb for _, mb in memory),
    }
    if flags.steps >= STEPS_FOR_GROWTH:
        quarters = [[mb for _, mb in memory[len(memory) * q // 4 :]] for q in (1, 3)]
        early, late = quarters[0][: len(quarters[1])], quarters[1]
        results["memory_growth"] = statistics.median(late) / statistics.median(early) - 1.0
    print("\n" + report.table(COLUMNS, {flags.backbone: results}))
    if "memory_growth" in results:
        print("growth: memory in the last quarter of the time against that in the second quarter.")
    if results["input_wait"] > 0.05:
        print(
            "Training waits for input: more CPU cores, --augment_on=device with a GPU, or a smaller"
            " --crop_size help; tools.benchmark input shows the cost of each phase."
        )
    else:
        print(
            "Training is bound by the step: a GPU, a smaller network, crop or --num_frames, or"
            " --precision=bfloat16 help; tools.benchmark step measures them."
        )
    if flags.figure:
        files.write_atomically(flags.figure, report.line_chart(memory, "seconds", "resident MB"))
        print(f"written to {flags.figure}")
    if flags.json:
        settings = report.settings(flags, FLAGS)
        report.write_json(flags.json, "train", settings, results | {"memory_mb": memory})
        print(f"written to {flags.json}")


COMMAND = Command(main, __doc__, FLAGS, defaults={"precision": "bfloat16"})
