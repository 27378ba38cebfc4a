"""Measures the input pipeline of pre-training: speed, memory, and the cost of each phase.

  python -m tools.benchmark input --data='records/train-*' --json=input.json

It measures three pipelines on the same records and draws, each in a process of its own: all phases
on the host; without colours, as for --augment_on=device; and the plain way, which decodes whole
frames and uses operations of tf.image, like the authors' code. Figures are medians of the runs;
ratios compare consecutive runs.

With --authors_python, the Python of an environment with the authors' implementation (TensorFlow
Model Garden), it also measures their pipeline on the same records, in alternating runs.
tools/benchmark/others/authors_input.py states what is equal and what is not. To make the
environment:

  python -m venv authors && authors/bin/python -m pip install \\
      tf-models-official==2.20.0 tensorflow-cpu==2.20.0 tf_keras==2.20.1
"""

import concurrent.futures
import itertools
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import simplejpeg
import tensorflow as tf

from cvrl_tf import compiler, text
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data import augment, checks, clips, pipeline, records, stream
from cvrl_tf.data.augment import Parameters
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.data.sampling import fold
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import Order
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress
from cvrl_tf.training.config import PretrainConfig
from tools.benchmark import comparison, reference, report
from tools.benchmark.others import measure

DATA = Flag(
    "data",
    "",
    "What to read, as --train_data of cvrl_tf.train. When empty, videos of 250 frames of 340x256"
    " pixels are rendered.",
)
CLIP = flags_of(PretrainConfig, "num_frames", "stride", "crop_size")
BATCH_SIZE = Flag("batch_size", 8, "Videos of a batch of one device.", lower=1)

FLAGS = {
    "Work": (
        DATA,
        Flag(
            "records",
            240_000,
            "Number of records in the index, for memory as with a data set of this size; the"
            " records of the data are repeated. Kinetics-400 has 240,000.",
            lower=1,
        ),
        *CLIP,
        BATCH_SIZE,
    ),
    "Measurement": (
        Flag("videos", 96, "Videos of a run, after half as many that are not counted.", lower=1),
        report.RUNS,
    ),
    "Comparison": (
        Flag(
            "authors_python",
            "",
            "Python interpreter of an environment with the authors' implementation: measures its"
            " pipeline too.",
        ),
    ),
    "Output": (report.JSON,),
}
PIPELINES = ("host", "device", "plain")
TITLES = {
    "host": "--augment_on=host",
    "device": "--augment_on=device",
    "plain": "the plain way",
}
COLUMNS = [
    ("CPU-s/video", "cpu_seconds_per_video", ".4f"),
    ("videos/s", "videos_per_second", ".1f"),
    ("peak MB", "peak_memory_mb", ".0f"),
    ("x plain", "times_plain", ".2f"),
]
AUTHORS_COLUMN = ("x authors", "times_authors", ".2f")
PHASES = ("read", "parse", "sample", "decode", "crop and resize", "colour", "blur", "batch")
BATCH_FOR_PHASES = 8
RENDERED_VIDEOS, RENDERED_SIZE, RENDERED_FRAMES = 16, (256, 340), 250
Figures = dict[str, float]


def main(flags: Values) -> None:
    """Measures, prints the tables and writes the JSON."""
    clip = ClipSpec(flags.num_frames, flags.stride, flags.crop_size)
    authors = _authors(flags)
    with tempfile.TemporaryDirectory(prefix="cvrl_benchmark_") as directory:
        name = flags.data or render(os.path.join(directory, "records"))
        source = find_source(name, "data")
        checks.check_shards(source, clip)
        arguments = (name, flags.records, clip)
        runs: dict[str, list[Figures]] = {which: [] for which in [*PIPELINES, *authors]}
        phases: list[Figures] = []
        with Progress("measuring", flags.runs * (len(runs) + 1), "run") as progress:
            for _ in range(flags.runs):
                for which in PIPELINES:
                    runs[which].append(
                        in_a_process(_measure, *arguments, which, flags.batch_size, flags.videos)
                    )
                    progress.update()
                for which, environment in authors.items():
                    runs[which].append(
                        environment.measure("authors_input", _settings(flags, name, clip))
                    )
                    progress.update()
                phases.append(in_a_process(_measure_phases, *arguments, flags.videos))
                progress.update()
    _print(flags, runs, phases, authors)


def _authors(flags: Values) -> dict[str, comparison.Environment]:
    """The environment of the authors' implementation, if one is given."""
    if flags.authors_python and flags.data.startswith("tfds:"):
        raise InputError(
            f"--data={flags.data} is not in the layout that the authors' implementation reads:"
            " expected TFRecords of make_tfrecords, or no --authors_python."
        )
    return comparison.find_environments(
        {"authors": comparison.AUTHORS}, {"authors": flags.authors_python}
    )


def _settings(flags: Values, name: str, clip: ClipSpec) -> dict[str, Any]:
    """The settings of `others/authors_input.py`: the same work as ours."""
    return {
        "data": name,
        "frames": clip.frames,
        "stride": clip.stride,
        "size": clip.size,
        "batch_size": flags.batch_size,
        "videos": flags.videos,
    }


def render(path: str) -> str:
    """Writes records of rendered videos, 250 frames of 340x256 pixels each; returns their path."""
    from cvrl_tf.demo import drawing

    with (
        tf.io.TFRecordWriter(path) as writer,
        Progress("rendering", RENDERED_VIDEOS, "video") as progress,
    ):
        names = itertools.islice(itertools.cycle(drawing.CLASSES), RENDERED_VIDEOS)
        for seed, name in enumerate(names):
            frames = [
                simplejpeg.encode_jpeg(np.ascontiguousarray(frame), 90, colorsubsampling="420")
                for frame in drawing.render_video(name, seed, *RENDERED_SIZE, RENDERED_FRAMES)
            ]
            times = [40_000 * index for index in range(len(frames))]
            video = records.Video(f"{seed}", frames, times, 25.0, *RENDERED_SIZE, f"{seed}.mp4")
            writer.write(records.serialize(video))
            progress.update()
    return path


def in_a_process(function: Callable[..., Figures], *arguments: Any) -> Figures:
    """What a function returns in a new process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def _videos(name: str, num_records: int) -> IndexedSource:
    """`num_records` videos: those of the data, repeated."""
    videos = find_source(name, "data").indexed()
    return videos.select(np.arange(num_records) % len(videos))


def _measure(
    name: str, num_records: int, clip: ClipSpec, which: str, batch_size: int, num_videos: int
) -> Figures:
    videos, spec = _videos(name, num_records), ViewsSpec(clip)
    if which == "plain":

        def sample(serialized: tf.Tensor, epoch_seed: tf.Tensor) -> dict[str, tf.Tensor]:
            return pipeline.sample_clips(videos.source.parse(serialized), spec, epoch_seed)

        def finish(sample: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            return reference.make_views(sample, spec)

        dataset = stream.read_stream(videos.index, Order(0), sample, finish)
        dataset = dataset.batch(batch_size, drop_remainder=True)
    else:
        dataset = pipeline.pretraining_batches(
            videos, spec, batch_size, Order(0), augmented=which == "host"
        )
    return measure.batches(iter(dataset.prefetch(1)), batch_size, num_videos)


def _measure_phases(name: str, num_records: int, clip: ClipSpec, num_videos: int) -> Figures:
    """CPU seconds per video of each phase: a pipeline up to the phase minus one without it."""
    videos, spec = _videos(name, num_records), ViewsSpec(clip)

    def crop(sample: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        views = []
        for index in range(2):
            frames, seed = sample["frames"][index], fold(sample["seed"], index)
            shape = tf.io.extract_jpeg_shape(frames[0])
            window = augment.crop_window(spec.augmentation, shape[0], shape[1], seed)
            views.append(clips.decode_and_crop(frames, window))
        return views

    def color(*views: pipeline.CroppedClip) -> list[tf.Tensor]:
        off = {"sigma": tf.constant(0.0)}
        return [augment.apply(clip, Parameters(**{**p._asdict(), **off})) for clip, p in views]

    def parallel(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
        return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE)

    def sample(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        return pipeline.sample_clips(videos.source.parse(serialized), spec, tf.constant([0, 0]))

    compiler.start()
    order = Order(0).of_epoch(0, len(videos))(tf.range(len(videos), dtype=tf.int64))
    serialized = parallel(tf.data.Dataset.from_tensor_slices(order).repeat(), videos.index.read)
    samples = parallel(serialized, sample)
    cropped = parallel(samples, lambda sample: pipeline.crop_views(sample, spec))
    augmented = parallel(cropped, lambda *views: tuple(augment.apply(*view) for view in views))
    stages = {
        "read": serialized,
        "parse": parallel(serialized, videos.source.parse),
        "sample": samples,
        "decode": parallel(samples, crop),
        "crop and resize": cropped,
        "colour": parallel(cropped, color),
        "blur": augmented,
        "batch": augmented.batch(BATCH_FOR_PHASES),
    }
    costs, before = {}, 0.0
    for phase, dataset in stages.items():
        batch = BATCH_FOR_PHASES if phase == "batch" else 1
        cost = _cost(dataset, num_videos // batch) / batch
        costs[phase], before = cost - before, cost
    return costs


def _cost(dataset: tf.data.Dataset, num_elements: int) -> float:
    """CPU seconds per element, after as many uncounted ones.

    From a single iterator, because a new one compiles its programs again.
    """
    elements = iter(dataset)
    for _ in range(num_elements):
        next(elements)
    start = measure.cpu_seconds()
    for _ in range(num_elements):
        next(elements)
    return (measure.cpu_seconds() - start) / num_elements


def _print(
    flags: Values,
    runs: Mapping[str, list[Figures]],
    phases: list[Figures],
    authors: Mapping[str, comparison.Environment],
) -> None:
    results = {which: report.medians(runs[which]) for which in runs}
    for base in ("plain", *authors):
        for which in runs:
            results[which][f"times_{base}"] = report.ratio(
                runs[base], runs[which], "cpu_seconds_per_video"
            )
            results[which][f"wall_times_{base}"] = report.ratio(
                runs[which], runs[base], "videos_per_second"
            )
    titles = TITLES | {which: comparison.AUTHORS.title for which in authors}
    columns = [*COLUMNS, *([AUTHORS_COLUMN] if authors else [])]
    print("\n" + report.table(columns, {titles[which]: results[which] for which in runs}))
    for environment in authors.values():
        print(environment.describe())
    costs = report.medians(phases)
    total = sum(costs.values())
    print("\nCPU milliseconds a video, --augment_on=host, one phase after the other:")
    lines = [[name, f"{1e3 * costs[name]:.2f}", f"{costs[name] / total:.0%}"] for name in PHASES]
    print(text.table([["", "ms", "share"], *lines]))
    cores = report.machine()["cores"] or 1
    host, device = (1.0 / results[which]["cpu_seconds_per_video"] for which in ("host", "device"))
    print(
        f"\n{cores} cores make at most {cores * host:.0f} videos/s, or {cores * device:.0f} with"
        f" --augment_on=device. {_advice(costs)}"
    )
    if flags.json:
        report.write_json(
            flags.json,
            "input",
            report.settings(flags, FLAGS),
            {"pipelines": results, "cpu_seconds_per_video_by_phase": costs},
            {which: environment.versions for which, environment in authors.items()},
        )
        print(f"written to {flags.json}")


def _advice(costs: Figures) -> str:
    largest = max(costs, key=costs.__getitem__)
    return (
        f"The largest part is {largest}: "
        + {
            "read": "a faster disk, or a smaller --quality in make_tfrecords, helps.",
            "parse": "long records cost here; --fps in make_tfrecords makes them shorter.",
            "sample": "nothing is to be gained there.",
            "decode": "a smaller --short_side in make_tfrecords makes frames cheaper.",
            "crop and resize": "a smaller --crop_size makes it cheaper.",
            "colour": "--augment_on=device takes it off the host.",
            "blur": "--augment_on=device takes it off the host.",
            "batch": "memory is slow here; a smaller --batch_size may help.",
        }[largest]
    )


COMMAND = Command(main, __doc__, FLAGS)
