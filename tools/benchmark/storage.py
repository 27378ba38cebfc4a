"""Measures how a run starts and reads, from a local disk and from an S3 bucket.

  python -m tools.benchmark storage --json=storage.json

The start: it makes tiny records in many shards, then finds them, reads their labels and checks the
first record of each shard, with and without an index. From the bucket without an index it does so
for few shards and extrapolates.

Reading: the input pipeline of pre-training on rendered videos of 250 frames of 340x256 pixels, from
a local disk, and from a bucket where each request waits.

The bucket is one of moto's server on this machine, which takes CPU time from what is measured.
Needs the packages of the extras `test` and `remote`.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import simplejpeg

from cvrl_tf import files
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.conversion.workers import Report
from cvrl_tf.data import checks, index_file, labels, pipeline, records, tfrecords
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.index_file import DescribedRecord, ShardTable
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.data.stream import Order
from cvrl_tf.inspection import indexes
from cvrl_tf.inspection.shards import InspectionJob
from cvrl_tf.progress import Progress
from tools.benchmark import input as input_benchmark
from tools.benchmark import local_bucket, report
from tools.benchmark.local_bucket import LocalBucket
from tools.benchmark.others import measure

FLAGS = {
    "Work": (
        Flag("records", 366_016, "Number of tiny records. Kinetics-600 has 366,016.", lower=1),
        Flag("shards", 1000, "Number of shards that hold them.", lower=1),
        Flag(
            "searched_shards",
            4,
            "Number of shards in the bucket without an index, where each record takes requests.",
            lower=1,
        ),
        Flag("delay", 0.05, "Seconds that each request waits while videos are read.", lower=0.0),
    ),
    "Measurement": (
        Flag("videos", 48, "Videos of a run, after half as many that are not counted.", lower=1),
        report.RUNS,
    ),
    "Output": (report.JSON,),
}
CLASSES, PIXELS, CLIP = 600, 32, ClipSpec(16, 2, 224)
START_COLUMNS = [
    ("seconds", "seconds", ".1f"),
    ("CPU seconds", "cpu_seconds", ".1f"),
    ("requests", "requests", ".0f"),
]
READ_COLUMNS = [
    ("videos/s", "videos_per_second", ".1f"),
    ("CPU-s/video", "cpu_seconds_per_video", ".4f"),
    ("share of the CPUs", "share", ".2f"),
    ("requests at once", "most", ".0f"),
]
Figures = dict[str, float]


def main(flags: Values) -> None:
    """Measures, prints the tables and writes the JSON."""
    with (
        tempfile.TemporaryDirectory(prefix="cvrl_benchmark_") as directory,
        local_bucket.serving() as bucket,
        _environment(bucket),
    ):
        starts = _measure_starts(flags, directory, bucket)
        reads = _measure_reads(flags, directory, bucket)
    print("\n" + report.table(START_COLUMNS, starts))
    print("\n" + report.table(READ_COLUMNS, reads))
    if flags.json:
        results = {"start": starts, "reading": reads}
        report.write_json(flags.json, "storage", report.settings(flags, FLAGS), results)
        print(f"written to {flags.json}")


@contextlib.contextmanager
def _environment(bucket: LocalBucket) -> Iterator[None]:
    """This process and those that it starts find the server."""
    before = dict(os.environ)
    os.environ.update(bucket.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_tiny(directory: str, num_records: int, num_shards: int) -> None:
    """Writes shards of records of one frame, and their index, as a conversion does.

    Args:
      directory: where to; it is made.
      num_records: of all shards, with different ids and `CLASSES` labels.
      num_shards: number of shards, `train-00000-of-01000` and so on.
    """
    frame = simplejpeg.encode_jpeg(np.zeros((PIXELS, PIXELS, 3), np.uint8))
    mark = _id(-1)  # which each record replaces
    templates = []
    for label in range(CLASSES):
        video = records.Video(
            mark, [frame], [0], 25.0, PIXELS, PIXELS, f"{mark}.mp4", label, f"class {label}"
        )
        templates.append(records.serialize(video))
    about = [index_file.describe(template, [frame]) for template in templates]
    os.makedirs(directory)
    tables = {}
    with Progress("writing", num_shards, "shard") as progress:
        for shard in range(num_shards):
            described = []
            name = f"train-{shard:05d}-of-{num_shards:05d}"
            with open(os.path.join(directory, name), "wb") as file:
                for number in range(shard, num_records, num_shards):
                    label = number % CLASSES
                    data = templates[label].replace(mark.encode(), _id(number).encode())
                    head, checksum = len(data).to_bytes(8, "little"), tfrecords.checksum(data)
                    file.write(tfrecords.HEAD.pack(len(data), tfrecords.checksum(head)) + data)
                    file.write(tfrecords.TAIL.pack(checksum))
                    values = len(data), checksum, *about[label].values[2:]
                    described.append(DescribedRecord(_id(number), values))
            tables[name] = ShardTable.of(described)
            progress.update()
    index_file.write(index_file.path_of(directory, "train"), tables)


def _id(number: int) -> str:
    """11 digits, as many as the ids of Kinetics have characters."""
    return f"{number + 1:011d}"


def _measure_starts(flags: Values, directory: str, bucket: LocalBucket) -> dict[str, Figures]:
    tiny = os.path.join(directory, "tiny")
    write_tiny(tiny, flags.records, flags.shards)
    bucket.upload(tiny, "tiny")
    for path in sorted(pathlib.Path(tiny).glob("train-*"))[: flags.searched_shards]:
        bucket.put(f"plain/{path.name}", path.read_bytes())
    found: dict[str, list[Figures]] = {}
    for _ in range(flags.runs):
        _add(found, "disk, with the index", _start(bucket, f"{tiny}/train-*"))
        hidden = f"{tiny}/{index_file.DIRECTORY}"
        shutil.move(hidden, f"{tiny}/.set_aside")
        _add(found, "disk, without", _start(bucket, f"{tiny}/train-*"))
        shutil.move(f"{tiny}/.set_aside", hidden)
        _add(found, "bucket, with the index", _start(bucket, "s3://data/tiny/train-*"))
    searched = _start(bucket, "s3://data/plain/train-*")
    factor = flags.shards / min(flags.searched_shards, flags.shards)
    results = {name: report.medians(runs) for name, runs in found.items()}
    results["bucket, without (extrapolated)"] = {
        name: value * factor for name, value in searched.items()
    }
    shutil.rmtree(tiny)
    return results


def _add(runs: dict[str, list[Figures]], name: str, figures: Figures) -> None:
    runs.setdefault(name, []).append(figures)


def _start(bucket: LocalBucket, name: str) -> Figures:
    """Seconds of a start in a new process, after imports, and the requests that it sends."""
    bucket.control(delay=0)
    figures = input_benchmark.in_a_process(_started, name)
    return figures | {"requests": bucket.control()["all"]}


def _started(name: str) -> Figures:
    files.load_file_systems(name)  # imports tensorflow-io
    start, cpu = time.monotonic(), measure.cpu_seconds()
    videos = checks.check_shards(find_source(name, "data"), ClipSpec(1, 1, PIXELS))
    found = labels.read_labels(videos)
    figures = {
        "seconds": time.monotonic() - start,
        "cpu_seconds": measure.cpu_seconds() - cpu,
    }
    if len(set(found.ids)) != len(videos) or found.labels.min() != 0:
        raise RuntimeError(f"{name}: found {len(set(found.ids))} ids of {len(videos)} records")
    return figures


def _measure_reads(flags: Values, directory: str, bucket: LocalBucket) -> dict[str, Figures]:
    local = os.path.join(directory, "videos", "train-00000-of-00001")
    os.makedirs(os.path.dirname(local))
    input_benchmark.render(local)
    indexes.write({local: InspectionJob(local, 1).run(Report()).table})
    bucket.upload(os.path.dirname(local), "videos")
    remote = "s3://data/videos/train-*"
    cases = {
        "disk": (local, 0),
        "bucket": (remote, 0),
        "bucket, --parallel_reads=2": (remote, 2),
    }
    found: dict[str, list[Figures]] = {}
    for _ in range(flags.runs):
        for name, (data, parallel) in cases.items():
            bucket.control(delay=flags.delay)
            figures = input_benchmark.in_a_process(_read, data, parallel, flags.videos)
            _add(found, name, figures | {"most": bucket.control(delay=0)["most"]})
    return {name: report.medians(runs) for name, runs in found.items()}


def _read(data: str, parallel_reads: int, num_videos: int) -> Figures:
    videos = find_source(data, "data").indexed().reading(parallel_reads)
    many = videos.select(np.arange(4 * num_videos) % len(videos))
    dataset = pipeline.pretraining_batches(many, ViewsSpec(CLIP), 8, Order(0))
    figures = measure.batches(iter(dataset.prefetch(1)), 8, num_videos)
    used = figures["cpu_seconds_per_video"] * figures["videos_per_second"]
    return figures | {"share": used / measure.cores()}


COMMAND = Command(main, __doc__, FLAGS)
