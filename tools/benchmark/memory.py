"""Measures the memory of a training step, and computes which batches fit which cards.

  python -m tools.benchmark memory --backbone=r3d_50 --precision=bfloat16 --json=memory.json

For each value of --remat it measures the peak memory of two steps of different numbers of clips,
each in a process of its own, on one device. The line through the two gives the memory of a clip and
what does not depend on clips: weights, momenta, gradients. The memory of a clip is in proportion to
its pixels, so small clips may be measured (--measured_crop_size) for large ones (--crop_size).

From that it computes for cards of some sizes the videos that fit a device, the number of devices
that --batch_size needs, and the --accumulate that it needs on --devices. A card keeps 1 GB for the
libraries. Measured on a CPU, the tables are an extrapolation: GPUs have other kernels.
"""

import concurrent.futures
import dataclasses
import multiprocessing
import time
from collections.abc import Mapping, Sequence

from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.models.rematerialization import REMAT
from cvrl_tf.progress import Progress
from cvrl_tf.text import table
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer
from cvrl_tf.training.strategy import make_strategy
from tools.benchmark import report
from tools.benchmark.step import make_batch, peak_memory_mb

FLAGS = {
    "Work": (
        *flags_of(PretrainConfig, "backbone", "width_multiplier", "batch_size"),
        *flags_of(PretrainConfig, "num_frames", "crop_size", "clips_per_video", "precision"),
        *flags_of(PretrainConfig, "momentum_encoder"),
        Flag("devices", 8, "Devices of the table of --accumulate.", lower=1),
    ),
    "Measurement": (
        Flag("measured_crop_size", 112, "Crop size of the clips that are measured.", lower=32),
        Flag(
            "videos", 2, "Videos of the smaller step; the larger has three times as many.", lower=1
        ),
        Flag("steps", 2, "Steps of a measurement; the time of the last is shown.", lower=1),
    ),
    "Output": (report.JSON,),
}
CARDS = (16, 24, 40, 80)  # GB
RESERVED = 1.0  # GB of a card that the libraries of CUDA take
COLUMNS = [("MB a clip", "clip_mb", ".1f"), ("other MB", "fixed_mb", ".0f")]
COLUMNS += [(f"s/step, {which}", f"{which}_seconds", ".2f") for which in ("small", "large")]


@dataclasses.dataclass(frozen=True)
class Line:
    """The memory of a step on one device: `fixed_mb` and `clip_mb` for each clip."""

    fixed_mb: float
    clip_mb: float

    @classmethod
    def through(cls, clips: Sequence[int], megabytes: Sequence[float]) -> "Line":
        """The line through two measurements."""
        clip_mb = (megabytes[1] - megabytes[0]) / (clips[1] - clips[0])
        return cls(megabytes[0] - clips[0] * clip_mb, clip_mb)

    def fitting_clips(self, gigabytes: float) -> int:
        """The number of clips that fit a card."""
        free = 1000 * (gigabytes - RESERVED) - self.fixed_mb
        return max(0, int(free / self.clip_mb))


def main(flags: Values) -> None:
    """Measures, prints the tables and writes the JSON."""
    config = flags.make(PretrainConfig, train_data="", steps=0, learning_rate=0.001)
    measured = dataclasses.replace(config, crop_size=flags.measured_crop_size)
    results = {}
    with Progress("measuring", 2 * len(REMAT), "run") as progress:
        for remat in REMAT:
            results[remat] = _two_sizes(measured, remat, flags, progress)
    larger = (config.crop_size / measured.crop_size) ** 2
    lines = {
        remat: Line(figures["fixed_mb"], larger * figures["clip_mb"])
        for remat, figures in results.items()
    }
    size = measured.crop_size
    print(f"\nMeasured with clips of {config.num_frames} frames of {size}x{size}:")
    print(report.table(COLUMNS, results))
    for title, rows in tables(config, lines, flags.devices).items():
        print(f"\n{title}\n{table(rows)}")
    if flags.json:
        settings = report.settings(flags, FLAGS)
        report.write_json(flags.json, "memory", settings, results)
        print(f"written to {flags.json}")


def _two_sizes(
    config: PretrainConfig, remat: str, flags: Values, progress: Progress
) -> dict[str, float]:
    """The line through two numbers of videos, and the seconds of both steps."""
    clips, runs = [], []
    for size in (flags.videos, 3 * flags.videos):
        runs.append(
            in_own_process(dataclasses.replace(config, batch_size=size), remat, flags.steps)
        )
        clips.append(config.clips_per_video * size)
        progress.update()
    line = Line.through(clips, [run["megabytes"] for run in runs])
    seconds = {"small_seconds": runs[0]["seconds"], "large_seconds": runs[1]["seconds"]}
    return dataclasses.asdict(line) | seconds


def tables(
    config: PretrainConfig, lines: Mapping[str, Line], num_devices: int
) -> dict[str, list[list[str]]]:
    """Rows of cells by title: for each value of --remat and each card, what fits.

    Args:
      config: with the batch size to reach, and the clips of a video.
      lines: the memory of its clips by value of --remat.
      num_devices: that the table of --accumulate is for.
    """
    batch = config.batch_size
    found: dict[str, list[list[str]]] = {
        "Videos a device:": [],
        f"Devices for --batch_size={batch} without --accumulate:": [],
        f"--accumulate for --batch_size={batch} on {num_devices} devices:": [],
    }
    heading = ["", *[f"{card} GB" for card in CARDS]]
    for rows in found.values():
        rows.append(heading)
    for remat, line in lines.items():
        videos = [line.fitting_clips(card) // config.clips_per_video for card in CARDS]
        cells = (
            [str(number) for number in videos],
            [_parts(batch, number) for number in videos],
            [_parts(batch // num_devices, number) for number in videos],
        )
        for rows, row in zip(found.values(), cells, strict=True):
            rows.append([f"--remat={remat}", *row])
    return found


def _parts(videos: int, fitting: int) -> str:
    """The smallest number of equal parts of `videos` that each have at most `fitting` of them."""
    for parts in range(1, videos + 1):
        if videos % parts == 0 and videos // parts <= fitting:
            return str(parts)
    return "-"


def in_own_process(config: PretrainConfig, remat: str, num_steps: int) -> dict[str, float]:
    """`measure` in a process whose memory nothing else has taken."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(measure, config, remat, num_steps).result()


def measure(config: PretrainConfig, remat: str, num_steps: int) -> dict[str, float]:
    """The memory that training takes on one device, beyond TensorFlow's, and seconds of a step."""
    strategy = make_strategy("one_device")
    before = peak_memory_mb()
    with strategy.scope():
        trainer = ContrastiveTrainer(config, 10, 1000, remat)
        trainer.method.start()
    batch = make_batch(config, strategy)
    for _ in range(num_steps):
        start = time.monotonic()
        trainer.step(batch)["loss"].numpy()
    seconds = time.monotonic() - start
    return {"megabytes": peak_memory_mb() - before, "seconds": seconds}


COMMAND = Command(main, __doc__, FLAGS, defaults={"precision": "bfloat16"})
