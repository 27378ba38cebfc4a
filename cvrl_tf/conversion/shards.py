"""Writes catalog entries as TFRecord shards, in parallel processes."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import math
import multiprocessing
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import tensorflow as tf

import cvrl_tf
from cvrl_tf import files
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.frames import QUALITY, SHORT_SIDE, read_video
from cvrl_tf.data import records
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress

INFO_FILE = "dataset_info.json"
LABELS_FILE = "labels.txt"
VIDEOS_PER_SHARD = 32

# Unlike `train-00000-of-00010.tmp`, this is not matched by the pattern `train-*`.
_TEMPORARY = ".tmp-"


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """What the shards of a split hold; `bytes` is the size of the files."""

    videos: int
    frames: int
    bytes: int
    shards: int
    videos_per_class: dict[str, int]


def convert(
    splits: Mapping[str, Sequence[Entry]],
    classes: Sequence[str],
    output_dir: str,
    *,
    dataset: str,
    short_side: int = SHORT_SIDE,
    quality: int = QUALITY,
    num_shards: int | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Converts a data set: the shards of each split, `labels.txt` and `dataset_info.json`.

    A split is listed in `dataset_info.json` once all its shards are there. Splits that an earlier
    call wrote into the directory stay, and stay listed.

    Args:
      splits: the entries of each split; ids are unique within a split.
      classes: class names in the order of their labels.
      output_dir: where to write; made if need be.
      dataset: name of the data set, for `dataset_info.json`.
      short_side: pixels of the shorter side, when a video's is longer.
      quality: of the JPEGs, 1 to 100.
      num_shards: shards of each split; None for one for every 32 videos, see `write_shards`.
      workers: processes; None for one for each core. 1 runs in this process.

    Returns:
      The content of `dataset_info.json`.

    Raises:
      InputError: what is in the directory does not go with this call, it cannot be written to, or a
        video cannot be read. Shards that are complete by then stay.
    """
    info = {
        "version": cvrl_tf.__version__,
        "dataset": dataset,
        "parameters": {"short_side": short_side, "quality": quality},
        "classes": list(classes),
        "splits": {},
    }
    with _writing_to(output_dir):
        tf.io.gfile.makedirs(output_dir)
        info["splits"].update(_splits_so_far(info, output_dir))
        for split, entries in splits.items():  # all refusals come before any work
            _check_split(split, entries, output_dir, num_shards)
        for split, entries in splits.items():
            statistics = write_shards(
                entries, output_dir, split, num_shards, short_side, quality, workers
            )
            info["splits"][split] = dataclasses.asdict(statistics)
            files.write_atomically(
                os.path.join(output_dir, LABELS_FILE), "".join(f"{name}\n" for name in classes)
            )
            files.write_json(os.path.join(output_dir, INFO_FILE), info)
    return info


@contextlib.contextmanager
def _writing_to(output_dir: str) -> Iterator[None]:
    """Turns the errors of a full or forbidden directory into one sentence."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "message", None) or getattr(error, "strerror", None) or error
        raise InputError(
            f"Cannot write to --output_dir={output_dir} ({reason}): check that it may be written"
            " to and that the disk has space."
        ) from None


def _splits_so_far(info: Mapping[str, Any], output_dir: str) -> dict[str, Any]:
    """The splits that `dataset_info.json` lists, after a check that they go with `info`."""
    path = os.path.join(output_dir, INFO_FILE)
    if not tf.io.gfile.exists(path):
        return {}
    try:
        earlier = files.read_json(path)
        splits = earlier["splits"]
    except (ValueError, KeyError):
        raise InputError(
            f"{path} is not as a conversion writes it: remove it, or choose another --output_dir."
        ) from None
    for name in ("dataset", "parameters", "classes"):
        if earlier.get(name) != info[name]:
            raise InputError(
                f"{path} records {name} {_short(earlier.get(name))}, this conversion has"
                f" {_short(info[name])}: splits of one directory share them; choose another"
                " --output_dir, or convert with the same classes and flags."
            )
    return splits


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"({len(value)}) {', '.join(value[:5])}{', ...' if len(value) > 5 else ''}"
    if isinstance(value, dict):
        return " ".join(f"{name}={value[name]}" for name in value)
    return f"'{value}'"


def _check_split(
    split: str, entries: Sequence[Entry], output_dir: str, num_shards: int | None
) -> None:
    if not re.fullmatch(r"\w+", split):
        raise InputError(f"Found split '{split}': expected letters, digits and underscores.")
    if not entries or (num_shards or 1) > len(entries):
        raise InputError(
            f"Found {len(entries)} videos for {num_shards or 1} shards of split '{split}':"
            " expected at least one for each; lower --num_shards."
        )
    repeated = [name for name, n in Counter(entry.video_id for entry in entries).items() if n > 1]
    if repeated:
        raise InputError(
            f"Split '{split}' has {len(repeated)} videos more than once (first: {repeated[0]}):"
            " expected each once."
        )
    shards = [
        name
        for name in tf.io.gfile.listdir(output_dir)
        if re.fullmatch(rf"{split}-\d+-of-\d+", name)
    ]
    if shards:
        raise InputError(
            f"{output_dir} already holds {len(shards)} shards of split '{split}': choose another"
            " --output_dir, or remove them first."
        )


def write_shards(
    entries: Sequence[Entry],
    output_dir: str,
    split: str,
    num_shards: int | None = None,
    short_side: int = SHORT_SIDE,
    quality: int = QUALITY,
    workers: int | None = None,
) -> SplitStatistics:
    """Writes the shards of one split, `{split}-00000-of-00128` and so on.

    The order is a shuffle that depends on nothing but the ids, so that any number of workers writes
    the same bytes. A shard has its name only when it is complete. With more than one worker, the
    caller's module must be importable without side effects, as always with spawned processes.

    Args:
      entries: the videos, in any order.
      output_dir: an existing directory without shards of this split.
      split: its name.
      num_shards: None for one for every 32 videos, some 130 MB for the 10-second videos of
        Kinetics at 256 pixels.
      short_side: pixels of the shorter side, when a video's is longer.
      quality: of the JPEGs, 1 to 100.
      workers: processes; None for one for each core. 1 runs in this process.

    Raises:
      InputError: see `convert`; also a worker that was killed.
    """
    _check_split(split, entries, output_dir, num_shards)
    num_shards = num_shards or math.ceil(len(entries) / VIDEOS_PER_SHARD)
    # In the order of a hash: shuffled, and the same wherever and in whatever order they were found.
    shuffled = sorted(entries, key=lambda entry: hashlib.sha256(entry.video_id.encode()).digest())
    tasks = [
        _Task(
            os.path.join(output_dir, f"{split}-{index:05d}-of-{num_shards:05d}"),
            shuffled[index::num_shards],
            short_side,
            quality,
        )
        for index in range(num_shards)
    ]
    workers = min(workers or _cores(), num_shards)
    _remove_temporaries(output_dir, split)  # of a run that was killed
    try:
        with Progress(f"converting {split}", len(entries), "video") as progress:
            if workers == 1:
                sizes = [_write_shard(task, progress.update) for task in tasks]
            else:
                sizes = _write_in_processes(tasks, workers, progress)
    finally:
        _remove_temporaries(output_dir, split)
    names = Counter(entry.label_name for entry in shuffled if entry.label_name is not None)
    return SplitStatistics(
        videos=len(entries),
        frames=sum(frames for frames, _ in sizes),
        bytes=sum(size for _, size in sizes),
        shards=num_shards,
        videos_per_class=dict(sorted(names.items())),
    )


def _cores() -> int:
    # Fewer than the machine has where a scheduler such as Slurm grants fewer; unknown on macOS.
    granted = getattr(os, "sched_getaffinity", None)
    return len(granted(0)) if granted else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class _Task:
    path: str
    entries: Sequence[Entry]
    short_side: int
    quality: int


def _temporary(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f"{_TEMPORARY}{name}-{os.getpid()}")


def _remove_temporaries(output_dir: str, split: str) -> None:
    for name in tf.io.gfile.listdir(output_dir):
        if name.startswith(f"{_TEMPORARY}{split}-"):
            tf.io.gfile.remove(os.path.join(output_dir, name))


def _write_shard(task: _Task, on_video: Callable[[], None]) -> tuple[int, int]:
    """Writes one shard; returns its frames and bytes."""
    temporary = _temporary(task.path)
    frames = 0
    with _writing_to(os.path.dirname(task.path)):
        with tf.io.TFRecordWriter(temporary) as writer:
            for entry in task.entries:
                video = read_video(entry, task.short_side, task.quality)
                writer.write(records.serialize(video))
                frames += len(video.frames)
                on_video()
        size = tf.io.gfile.stat(temporary).length
        tf.io.gfile.rename(temporary, task.path)
    return frames, size


def _write_in_processes(
    tasks: Sequence[_Task], workers: int, progress: Progress
) -> list[tuple[int, int]]:
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    # Each task counts its videos in a slot of its own: no lock that a killed worker could hold.
    finished = context.RawArray("q", len(tasks))
    stop = context.RawValue("b", 0)
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(finished, stop)
    )
    shown = 0
    try:
        with _interrupts_blocked():  # which the workers inherit: an interrupt is for this process
            futures = [pool.submit(_write_shard_in_worker, *task) for task in enumerate(tasks)]
        pending = set(futures)
        while pending:
            done, pending = concurrent.futures.wait(
                pending, timeout=0.5, return_when=concurrent.futures.FIRST_COMPLETED
            )
            count = sum(finished)
            progress.update(count - shown)
            shown = count
            for future in done:
                future.result()
        return [future.result() for future in futures]
    except BaseException as error:
        stop.value = 1
        if isinstance(error, BrokenProcessPool):
            raise InputError(
                "A worker process was killed, most often because memory ran out: run again with"
                " fewer --workers."
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(finished: Any, stop: Any) -> None:
    global _finished
    _finished = finished
    threading.Thread(target=_exit_when_stopped, args=(stop,), daemon=True).start()


def _exit_when_stopped(stop: Any) -> None:
    # The pool itself lets workers finish their shards, and those of a killed parent wait for ever.
    parent = multiprocessing.parent_process()
    while parent.is_alive() and not stop.value:
        parent.join(timeout=0.5)
    os._exit(1)


def _write_shard_in_worker(index: int, task: _Task) -> tuple[int, int]:
    def on_video() -> None:
        _finished[index] += 1

    return _write_shard(task, on_video)
