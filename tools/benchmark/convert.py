"""Measures the conversion of videos to TFRecords, and the ffmpeg command line on the same work.

  python -m tools.benchmark convert --videos='videos/*/*.mp4' --json=convert.json

Each run converts all videos in new processes. The start of the processes (TensorFlow takes seconds
to import, ffmpeg starts once for each video) is measured with videos of one frame. Speeds exclude
it unless stated otherwise. Figures are medians of the runs; ratios compare consecutive runs.

The ffmpeg command line, if installed, decodes the same files, scales them to the same sizes with
the same filter, and writes Motion JPEG on one thread, with the -q:v that gives the closest number
of bytes per frame.
"""

import concurrent.futures
import contextlib
import glob
import io
import itertools
import math
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import av

from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.conversion import convert, frames
from cvrl_tf.conversion.catalogs import Catalog, Entry
from cvrl_tf.conversion.workers import WorkerPool
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress
from tools.benchmark import report

FLAGS = {
    "Work": (
        Flag(
            "videos", "", "Glob pattern of video files, in quotes. When empty, videos are rendered."
        ),
        Flag(
            "frames",
            20_000,
            "Smallest number of frames of a run; the videos are converted repeatedly until it is"
            " reached. In a longer run, the start of the processes matters less.",
            lower=1,
        ),
        Flag("short_side", frames.SHORT_SIDE, "As in make_tfrecords.", lower=1),
        Flag("quality", frames.QUALITY, "As in make_tfrecords.", lower=1, upper=100),
    ),
    "Measurement": (
        Flag("workers", ["1", "2"], "Numbers of processes to measure, with commas."),
        report.RUNS,
    ),
    "Output": (report.JSON,),
}
COLUMNS = [
    ("videos/s", "videos_per_second", ".2f"),
    ("frames/s", "frames_per_second", ".0f"),
    ("MB/s", "megabytes_per_second", ".1f"),
    ("frames/CPU-s", "frames_per_cpu_second", ".0f"),
    ("CPU-s/video", "cpu_seconds_per_video", ".3f"),
    ("bytes/frame", "bytes_per_frame", ".0f"),
    ("peak MB", "peak_memory_mb", ".0f"),
    ("start s", "start_seconds", ".1f"),
    ("start CPU-s", "start_cpu_seconds", ".1f"),
]
RENDERED_VIDEOS, RENDERED_SIZE, RENDERED_FRAMES = 8, (256, 340), 120
_RENDERED = "rendered"
Figures = dict[str, float]


def main(flags: Values) -> None:
    """Measures, prints the table and writes the JSON."""
    worker_counts = _worker_counts(flags.workers)
    ffmpeg = shutil.which("ffmpeg")
    with tempfile.TemporaryDirectory(prefix="cvrl_benchmark_") as directory:
        paths = _videos(flags.videos, directory)
        settings = frames.Settings(short_side=flags.short_side, quality=flags.quality)
        sizes, frame_counts = _probe(paths, settings)
        passes = max(math.ceil(flags.frames / sum(frame_counts)), math.ceil(8 / len(paths)))
        runs: dict[str, list[Figures]] = {_name(count): [] for count in worker_counts}
        quality = None
        if ffmpeg:
            runs["ffmpeg"] = []
            quality = _match_bytes(ffmpeg, paths, sizes, frame_counts, settings, directory)
        else:
            print("There is no ffmpeg command on the PATH: nothing to compare with.")
        with Progress("measuring", flags.runs * len(runs), "run") as progress:
            for _ in range(flags.runs):
                for count in worker_counts:
                    runs[_name(count)].append(_convert(paths * passes, settings, count, directory))
                    progress.update()
                if ffmpeg and quality:
                    runs["ffmpeg"].append(
                        _run_ffmpeg(ffmpeg, paths * passes, sizes * passes, quality, directory)
                    )
                    progress.update()
        frame_count = sum(frame_counts) * passes
        if ffmpeg and any(run["frames"] != frame_count for run in runs["ffmpeg"]):
            print(f"ffmpeg wrote {runs['ffmpeg'][0]['frames']:.0f} frames of {frame_count}")
        work = {"num_videos": len(paths), "passes": passes, "frames": frame_count}
        _print(flags, runs, worker_counts, work, quality)


def _name(workers: int) -> str:
    return f"workers={workers}"


def _worker_counts(texts: Sequence[str]) -> list[int]:
    try:
        counts = sorted({int(text) for text in texts})
        if not counts or counts[0] < 1:
            raise ValueError
    except ValueError:
        raise InputError(
            f"--workers={','.join(texts)}: expected numbers of at least 1, such as 1,2."
        ) from None
    return counts


def _videos(pattern: str, directory: str) -> list[str]:
    if pattern:
        paths = sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
        if not paths:
            raise InputError(f"--videos={pattern} matches no file: expected a glob pattern.")
        return paths
    from cvrl_tf.demo import drawing

    os.makedirs(os.path.join(directory, _RENDERED))
    paths = []
    with Progress("rendering", RENDERED_VIDEOS, "video") as progress:
        names = itertools.islice(itertools.cycle(drawing.CLASSES), RENDERED_VIDEOS)
        for seed, name in enumerate(names):
            paths.append(os.path.join(directory, _RENDERED, f"{seed:02d}.mp4"))
            drawn = drawing.render_video(name, seed, *RENDERED_SIZE, RENDERED_FRAMES)
            drawing.encode_video(paths[-1], drawn, crf=23, preset="veryfast")
            progress.update()
    return paths


def _probe(
    paths: Sequence[str], settings: frames.Settings
) -> tuple[list[tuple[int, int]], list[int]]:
    """Stored width and height, and number of frames, of each video; also fills the disk cache."""
    sizes, counts = [], []
    with Progress("reading", len(paths), "video") as progress:
        for path in paths:
            video, _ = frames.read_video(Entry(path, path, None, None), settings)
            sizes.append((video.width, video.height))
            counts.append(len(video.frames))
            progress.update()
    return sizes, counts


def _convert(
    paths: Sequence[str], settings: frames.Settings, workers: int, directory: str
) -> Figures:
    """Converts in a separate process, whose memory and CPU time can be measured."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measure_conversion, paths, settings, workers, directory).result()


def _measure_conversion(
    paths: Sequence[str], settings: frames.Settings, workers: int, directory: str
) -> Figures:
    tiny = os.path.join(directory, "tiny.avi")
    _write_tiny_video(tiny)
    with _timed() as start:
        _convert_all([tiny] * workers, settings, workers, directory, num_shards=workers)
    # Several shards for each worker, so that they end at about the same time.
    num_shards = min(len(paths), 8 * workers)
    with _timed() as whole, report.PeakMemory() as memory:
        info = _convert_all(paths, settings, workers, directory, num_shards)
    held = info["splits"]["all"]
    # The memory includes the process that distributes the work.
    return _figures(held["videos"], held["frames"], held["bytes"], start, whole, memory.total())


def _convert_all(
    paths: Sequence[str], settings: frames.Settings, workers: int, directory: str, num_shards: int
) -> dict[str, Any]:
    entries = [Entry(f"{index}", path, None, None) for index, path in enumerate(paths)]
    with (
        tempfile.TemporaryDirectory(dir=directory) as output,
        contextlib.redirect_stderr(io.StringIO()),  # its progress; errors are raised
    ):
        return convert.convert(
            Catalog("benchmark", {"all": entries}, []),
            output,
            WorkerPool(workers),
            settings=settings,
            num_shards=num_shards,
        )


def _write_tiny_video(path: str) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", 25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode())


@contextlib.contextmanager
def _timed() -> Iterator[Figures]:
    """Wall-clock and CPU seconds of the block, including children that ended in it."""
    spent: Figures = {}
    wall, cpu = time.perf_counter(), _cpu_seconds()
    yield spent
    spent["seconds"], spent["cpu_seconds"] = time.perf_counter() - wall, _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _figures(
    videos: int, num_frames: float, size: float, start: Figures, whole: Figures, peak: float
) -> Figures:
    seconds = max(whole["seconds"] - start["seconds"], 1e-3)
    cpu_seconds = max(whole["cpu_seconds"] - start["cpu_seconds"], 1e-3)
    return {
        "videos_per_second": videos / seconds,
        "frames_per_second": num_frames / seconds,
        "megabytes_per_second": size / 1e6 / seconds,
        "frames_per_cpu_second": num_frames / cpu_seconds,
        "cpu_seconds_per_video": cpu_seconds / videos,
        "bytes_per_frame": size / num_frames,
        "peak_memory_mb": peak,
        "start_seconds": start["seconds"],
        "start_cpu_seconds": start["cpu_seconds"],
        "whole_seconds": whole["seconds"],
        "whole_cpu_seconds": whole["cpu_seconds"],
        "whole_frames_per_cpu_second": num_frames / whole["cpu_seconds"],
        "videos": videos,
        "frames": num_frames,
    }


def _run_ffmpeg(
    ffmpeg: str,
    paths: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    quality: int,
    directory: str,
) -> Figures:
    """Runs the command once for each video, in sequence."""
    tiny = os.path.join(directory, "tiny_ffmpeg.avi")
    _write_tiny_video(tiny)
    starts, whole = [], {"seconds": 0.0, "cpu_seconds": 0.0}
    for _ in range(5):
        starts.append(_ffmpeg_once(ffmpeg, tiny, (32, 32), quality, directory))
    size = num_frames = peak = 0.0
    for path, dimensions in zip(paths, sizes, strict=True):
        run = _ffmpeg_once(ffmpeg, path, dimensions, quality, directory)
        for name in whole:
            whole[name] += run[name]
        size, num_frames = size + run["bytes"], num_frames + run["frames"]
        peak = max(peak, run["peak_memory_mb"])
    start = {name: len(paths) * statistics.median(run[name] for run in starts) for name in whole}
    return _figures(len(paths), num_frames, size, start, whole, peak)


def _ffmpeg_once(
    ffmpeg: str, path: str, size: tuple[int, int], quality: int, directory: str
) -> Figures:
    output = os.path.join(directory, "ffmpeg.mjpeg")
    scale = f"scale={size[0]}:{size[1]}:flags=area"
    command = [ffmpeg, "-nostdin", "-v", "quiet", "-y", "-threads", "1", "-i", f"file:{path}"]
    command += ["-map", "0:v:0", "-vsync", "passthrough", "-filter_threads", "1", "-vf", scale]
    command += ["-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-qmin", "1", "-q:v", str(quality)]
    start = time.perf_counter()
    with report.PeakMemory() as memory:
        process = subprocess.Popen([*command, "-threads", "1", "-f", "mjpeg", output])
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    with open(output, "rb") as file:
        content = file.read()
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": memory.children(),
        "bytes": len(content),
        "frames": content.count(b"\xff\xd8\xff"),
    }


def _match_bytes(
    ffmpeg: str,
    paths: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    frame_counts: Sequence[int],
    settings: frames.Settings,
    directory: str,
) -> int:
    """The -q:v for which ffmpeg's JPEGs have the size closest to ours, from a few videos."""
    sample = sorted({0, len(paths) // 2, len(paths) - 1})
    wanted = []
    for index in sample:
        video, _ = frames.read_video(Entry("x", paths[index], None, None), settings)
        wanted.append(sum(map(len, video.frames)) / frame_counts[index])

    def error(quality: int) -> float:
        found = [_ffmpeg_once(ffmpeg, paths[i], sizes[i], quality, directory) for i in sample]
        per_frame = sum(run["bytes"] / max(run["frames"], 1) for run in found)
        return math.log(per_frame / sum(wanted))

    return _closest(error, 1, 31)


def _closest(error: Callable[[int], float], low: int, high: int) -> int:
    """The argument for which a falling function is closest to 0, by bisection."""
    errors = {}
    while high - low > 1:
        middle = (low + high) // 2
        errors[middle] = error(middle)
        low, high = (middle, high) if errors[middle] > 0 else (low, middle)
    return min((low, high), key=lambda at: abs(errors.setdefault(at, error(at))))


def _print(
    flags: Values,
    runs: dict[str, list[Figures]],
    worker_counts: Sequence[int],
    work: Mapping[str, int],
    quality: int | None,
) -> None:
    results = {name: report.medians(figures) for name, figures in runs.items()}
    names = {"ffmpeg": f"ffmpeg -q:v {quality}"}
    print(report.table(COLUMNS, {names.get(name, name): row for name, row in results.items()}))
    ratios = {}
    one = _name(worker_counts[0])
    if "ffmpeg" in runs:
        for label, key in (
            ("frames a CPU-second", "frames_per_cpu_second"),
            ("the same with starts", "whole_frames_per_cpu_second"),
        ):
            ratios[f"{one} to ffmpeg, {label}"] = report.ratio(runs[one], runs["ffmpeg"], key)
    for count in worker_counts[1:]:
        ratios[f"{_name(count)} to {one}, frames a second"] = report.ratio(
            runs[_name(count)], runs[one], "frames_per_second"
        )
    print()
    for name, value in ratios.items():
        print(f"{name}: {value:.2f}")
    machine = report.machine()
    print(
        f"\n{work['num_videos']} videos, {work['passes']} times, {work['frames']} frames;"
        f" medians of {flags.runs} runs; {machine['cpu']}, {machine['cores']} cores, load"
        f" {machine['load_average']}"
    )
    if flags.json:
        settings = {
            "videos": flags.videos or _RENDERED,
            **work,
            "short_side": flags.short_side,
            "quality": flags.quality,
            "runs": flags.runs,
            "ffmpeg_quality": quality,
            "ffmpeg_version": _ffmpeg_version() if quality else None,
        }
        report.write_json(
            flags.json, "convert", settings, {**results, "ratios": ratios, "runs": runs}
        )


def _ffmpeg_version() -> str:
    done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else ""


COMMAND = Command(main, __doc__, FLAGS)
