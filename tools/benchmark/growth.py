"""Measures how cost grows with the number of records: slope 1 or less is linear or better.

  python -m tools.benchmark growth --json=growth.json --figure=growth.svg

For each number of --records, in a process of its own:
  convert     a tiny video (4 frames of 32x32) converted under as many ids as there are records
  start       what every run does before its first step: index, checks, labels and ids
  search      the same without the index file beside the shards
  epoch       one epoch of the stream: order, reading, positions; nothing is decoded
  checkpoint  what a run on these records stores after one step (R3D small)
  k-NN        the neighbours of --queries test videos among as many features, in a float16 file

Times are CPU seconds of all threads, which a busy machine changes less than the time of a clock.
Memory is what the search takes beyond the mapped file. The slopes are those of log(cost) over
log(records): of the line through all points, and between the two largest numbers.
"""

import concurrent.futures
import functools
import io
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping

import matplotlib
import numpy as np
import simplejpeg
import tensorflow as tf
from matplotlib.figure import Figure

from cvrl_tf import files
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.conversion.catalogs import Catalog, Entry
from cvrl_tf.conversion.convert import convert
from cvrl_tf.conversion.workers import InProcess
from cvrl_tf.data import checks, index_file, records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.labels import read_labels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import Gaps, Order, read_stream
from cvrl_tf.demo import drawing
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import probes
from cvrl_tf.evaluation.features import Features
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.pretrain import pretrain
from cvrl_tf.training.run_directory import RunDirectory
from tools.benchmark import report

FLAGS = {
    "Work": (
        Flag(
            "records",
            "1000,10000,100000,366016",
            "Numbers of records, with commas between them. Kinetics-600 has 366,016 in training.",
        ),
        Flag(
            "max_converted",
            0,
            "Larger data sets are not converted, but written from the JPEGs of one video: 366,016"
            " take some 15 CPU minutes to convert. 0 converts all.",
            lower=0,
        ),
        Flag("queries", 1000, "Test videos of the nearest-neighbour search.", lower=1),
    ),
    "Measurement": (),
    "Output": (report.JSON, Flag("figure", "", "SVG file for a picture of the table.")),
}
COLUMNS = [
    ("convert s", "convert_seconds", ".1f"),
    ("start s", "start_seconds", ".3f"),
    ("search s", "search_seconds", ".2f"),
    ("epoch s", "epoch_seconds", ".2f"),
    ("k-NN s", "neighbors_seconds", ".2f"),
    ("checkpoint MB", "checkpoint_mb", ".3f"),
    ("k-NN MB", "neighbors_mb", ".0f"),
]
CLASSES, FRAMES, SIZE = 10, 4, 32
CLIP = ClipSpec(frames=2, stride=1, size=SIZE)
RECORDS_IN_SHARD = 366  # as in 1,000 shards of Kinetics-600
FEATURE_SIZE, NEIGHBORS, ROWS_AT_ONCE = 2048, 20, 4096
BATCH = 1024
_LEAST = 1e-3  # for logarithms: what is less is not measured
Figures = dict[str, float]


def main(flags: Values) -> None:
    """Measures, prints the table and writes the JSON and the figure."""
    rows = {}
    for number in _numbers(flags.records):
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            converted = not flags.max_converted or number <= flags.max_converted
            rows[number] = pool.submit(measure, number, flags.queries, converted).result()
        if flags.json:  # after each number, since the next takes longer than all before
            settings = report.settings(flags, FLAGS)
            results = {"rows": rows, "slopes": slopes(rows)}
            report.write_json(flags.json, "growth", settings, results)
    found = slopes(rows)
    shown = {f"{number:,} records": row for number, row in rows.items()} | found
    print("\n" + report.table(COLUMNS, shown))
    if flags.figure:
        files.write_atomically(flags.figure, chart(rows))
        print(f"written to {flags.figure}")
    if flags.json:
        print(f"written to {flags.json}")


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= CLASSES for part in parts):
        raise InputError(
            f"--records={text}: expected numbers of at least {CLASSES} with commas between them,"
            " such as 1000,10000."
        )
    return sorted({int(part) for part in parts})


def slopes(rows: Mapping[int, Figures]) -> dict[str, Figures]:
    """The slopes of log(cost) over log(records), by name of the figure; none of a single row."""
    if len(rows) < 2:
        return {}
    found: dict[str, Figures] = {"slope": {}, "slope, last two": {}}
    for _, name, _ in COLUMNS:
        points = _points(rows, name)
        if len(points) > 1:
            for line, some in zip(found.values(), (points, points[-2:]), strict=True):
                numbers, costs = np.log(some).T
                line[name] = float(np.polyfit(numbers, costs, 1)[0])
    return found


def _points(rows: Mapping[int, Figures], name: str) -> list[tuple[int, float]]:
    """Numbers of records and costs, above 0, where the cost was measured."""
    return [(number, max(row[name], _LEAST)) for number, row in rows.items() if name in row]


def measure(number: int, queries: int, converted: bool) -> Figures:
    """All figures with this number of records; no `convert_seconds` unless they are converted."""
    with tempfile.TemporaryDirectory(prefix="cvrl_benchmark_") as directory:
        output = os.path.join(directory, "records")
        figures: Figures = {}
        if converted:
            work = functools.partial(_convert, number, directory, output)
            figures["convert_seconds"] = _cpu_seconds(work)
        else:
            _write(number, output)
        name = os.path.join(output, "train-*")
        started: list[IndexedSource] = []
        figures["start_seconds"] = _cpu_seconds(lambda: started.append(_start(name)))
        shutil.move(os.path.join(output, index_file.DIRECTORY), directory)
        figures["search_seconds"] = _cpu_seconds(lambda: _start(name))
        shutil.move(os.path.join(directory, index_file.DIRECTORY), output)
        figures["epoch_seconds"] = _cpu_seconds(lambda: _read_epoch(started[0]))
        figures["checkpoint_mb"] = _checkpoint_mb(name, os.path.join(directory, "run"))
        return figures | neighbors(number, queries, directory)


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _convert(number: int, directory: str, output: str) -> None:
    video = os.path.join(directory, "tiny.mp4")
    images = iter(_images())
    drawing.encode_video(video, images, crf=23, preset="veryfast")
    names = [f"class_{index}" for index in range(CLASSES)]
    entries = [
        Entry(f"video_{index}", video, index % CLASSES, names[index % CLASSES])
        for index in range(number)
    ]
    catalog = Catalog("growth", {"train": entries}, names)
    convert(catalog, output, InProcess(), num_shards=_num_shards(number))


def _images() -> list[np.ndarray]:
    return [np.full((SIZE, SIZE, 3), 60 * index, np.uint8) for index in range(FRAMES)]


def _num_shards(number: int) -> int:
    return max(1, round(number / RECORDS_IN_SHARD))


def _write(number: int, output: str) -> None:
    """Records and index as of `_convert`, without a decoder."""
    os.makedirs(output)
    jpegs = [simplejpeg.encode_jpeg(image, 95) for image in _images()]
    times = [100_000 * index for index in range(FRAMES)]
    shards, tables = _num_shards(number), {}
    for shard in range(shards):
        shard_name, described = f"train-{shard:05d}-of-{shards:05d}", []
        with tf.io.TFRecordWriter(os.path.join(output, shard_name)) as writer:
            for index in range(shard, number, shards):
                video = records.Video(
                    f"video_{index}", jpegs, times, 10.0, SIZE, SIZE, "tiny.mp4", index % CLASSES
                )
                record = records.serialize(video)
                writer.write(record)
                described.append(index_file.describe(record, jpegs))
        tables[shard_name] = index_file.ShardTable.of(described)
    index_file.write(index_file.path_of(output, "train"), tables)


def _start(name: str) -> IndexedSource:
    videos = checks.check_shards(find_source(name, "data"), CLIP)
    read_labels(videos)
    return videos


def _read_epoch(videos: IndexedSource) -> None:
    stream = read_stream(
        videos.index,
        Order(0),
        lambda record, seed: {"bytes": tf.strings.length(record)},
        lambda sample: sample["bytes"],
    )
    gaps = Gaps()
    for _, positions in stream.take(len(videos)).batch(BATCH):
        if gaps.missing(positions.numpy()):
            raise AssertionError("A record that was just written cannot be read.")


def _checkpoint_mb(name: str, model_dir: str) -> float:
    config = PretrainConfig(
        train_data=name,
        backbone="r3d_small",
        num_frames=CLIP.frames,
        stride=CLIP.stride,
        crop_size=CLIP.size,
        batch_size=4,
        steps=1,
        warmup_epochs=0.0,
        learning_rate=0.001,
    )
    pretrain(config, model_dir)
    directory = RunDirectory(model_dir).checkpoints
    return sum(entry.stat().st_size for entry in os.scandir(directory)) / 1e6


def neighbors(number: int, queries: int, directory: str) -> Figures:
    """The search of the neighbours of `queries` test videos among `number` training videos.

    Args:
      number: of random features (FEATURE_SIZE) of norm 1 in a float16 file, which is mapped.
      queries: of further ones.
      directory: for both files, of 2 * FEATURE_SIZE bytes a video.

    Returns:
      `neighbors_seconds` of all threads; `neighbors_mb`, memory beyond what the process held before
      and the mapped pages of the files.
    """
    train, test = (
        _random_features(os.path.join(directory, f"{count}_{seed}.npy"), count, seed)
        for seed, count in enumerate((number, queries))
    )
    with _Anonymous() as memory:
        seconds = _cpu_seconds(lambda: _search(train, test))
    return {"neighbors_seconds": seconds, "neighbors_mb": memory.grown_mb}


def _search(train: Features, test: Features) -> None:
    probes.nearest(train, test, min(NEIGHBORS, len(train.values)))


def _random_features(path: str, number: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    shape = number, FEATURE_SIZE
    written = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    for first in range(0, number, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, number - first)
        rows = rng.standard_normal((size, FEATURE_SIZE), np.float32)
        written[first : first + size] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    written.flush()
    del written
    values = np.load(path, mmap_mode="r")
    return Features(values, np.zeros(number, np.int64), [""] * number)


class _Anonymous(report.Watcher):
    """Memory that this process takes while the block runs, without pages of mapped files (Linux).

    Attributes:
      grown_mb: the largest seen, every 5 ms, beyond that at the start.
    """

    def __init__(self):
        super().__init__(0.005)
        self.grown_mb = 0.0
        self._before = report.anonymous_mb(os.getpid())

    def look(self) -> None:
        """See `Watcher`."""
        now = report.anonymous_mb(os.getpid())
        self.grown_mb = max(self.grown_mb, now - self._before)


def chart(rows: Mapping[int, Figures]) -> str:
    """Seconds and MB over the number of records, as an SVG picture with logarithmic axes."""
    gray = "#808080"
    panels = [
        (unit, [column for column in COLUMNS if column[0].endswith(unit)]) for unit in (" s", " MB")
    ]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "growth"}):
        figure = Figure(figsize=(8.4, 3.6), layout="constrained")
        for axes, (unit, columns) in zip(figure.subplots(1, 2), panels, strict=True):
            for heading, name, _ in columns:
                points = _points(rows, name)
                if points:
                    axes.plot(*zip(*points, strict=True), "o-", label=heading.removesuffix(unit))
            axes.set_xscale("log")
            axes.set_yscale("log")
            bottom, top = axes.get_ylim()
            low, high = min(rows), max(rows)
            axes.plot([low, high], [bottom, bottom * high / low], ":", color=gray, label="slope 1")
            axes.set_ylim(bottom, top)
            axes.set_xlabel("records", color=gray)
            axes.set_ylabel({" s": "CPU seconds", " MB": "MB"}[unit], color=gray)
            axes.tick_params(colors=gray, which="both")
            axes.grid(alpha=0.3)
            axes.legend(
                labelcolor=gray, framealpha=0, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3
            )
            for spine in axes.spines.values():
                spine.set_color(gray)
        output = io.StringIO()
        figure.savefig(output, format="svg", transparent=True, metadata={"Date": None})
    return output.getvalue()


COMMAND = Command(main, __doc__, FLAGS)
