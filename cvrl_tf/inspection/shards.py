"""Checks each record of TFRecord shards by itself, in parallel processes."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

import google_crc32c
import numpy as np
import simplejpeg
import tensorflow as tf

from cvrl_tf.data import records, tfrecords
from cvrl_tf.errors import InputError

_JPEG_START = b"\xff\xd8"


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that is wrong; `record` and `video_id` are None where it is not about a record."""

    path: str
    record: int | None
    video_id: str | None
    text: str

    def __str__(self) -> str:
        record = "" if self.record is None else f", record {self.record}"
        video = f" ({self.video_id})" if self.video_id else ""
        return f"{self.path}{record}{video}: {self.text}"


@dataclasses.dataclass(frozen=True)
class InspectedVideo:
    """What is kept of a record that could be parsed.

    Attributes:
      path: its shard.
      record: position among the records of the shard, from 0.
      offset: its first byte in the shard.
      video_id: its id.
      label: class index, or None when unlabelled.
      label_name: class name, or None when unlabelled.
      num_frames: number of frames.
      frame_rate: frames per second as stored.
      seconds: from the first frame to the end of the last.
      height: pixels, as the record states.
      width: pixels, as the record states.
      decodes: whether all frames that were decoded are whole.
      fingerprint: of the bytes of all frames.
    """

    path: str
    record: int
    offset: int
    video_id: str
    label: int | None
    label_name: str | None
    num_frames: int
    frame_rate: float
    seconds: float
    height: int
    width: int
    decodes: bool
    fingerprint: int


# A shard's path, bytes, videos and problems.
ShardResult = tuple[str, int, list[InspectedVideo], list[Problem]]


def inspect_shards(
    paths: Sequence[str], frames_per_video: int, workers: int | None
) -> Iterator[ShardResult]:
    """Yields the results of the shards in the order of `paths`."""
    granted = getattr(os, "sched_getaffinity", None)  # unknown on macOS
    workers = workers or (len(granted(0)) if granted else os.cpu_count()) or 1
    if min(workers, len(paths)) == 1:
        yield from (_inspect_shard(path, frames_per_video) for path in paths)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(paths)),
        multiprocessing.get_context("spawn"),  # TensorFlow does not survive a fork
        initializer=_start_worker,
    )
    try:
        futures = [pool.submit(_inspect_shard, path, frames_per_video) for path in paths]
        for future in futures:
            yield future.result()
    except BrokenProcessPool:
        raise InputError(
            "A worker process was killed, most often because memory ran out: run again with fewer"
            " --workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the parent
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _inspect_shard(path: str, frames_per_video: int) -> ShardResult:
    videos: list[InspectedVideo] = []
    problems: list[Problem] = []
    size = 0
    try:
        size = tf.io.gfile.stat(path).length
        for stored in tfrecords.read_shard(path):
            if stored.serialized is None:
                problems.append(Problem(path, stored.number, None, stored.problem))
                continue
            video, wrong = _inspect_record(path, stored, frames_per_video)
            video_id = video.video_id if video else None
            problems += [Problem(path, stored.number, video_id, text) for text in wrong]
            if video:
                videos.append(video)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or error
        problems.append(Problem(path, None, None, f"the file cannot be read ({reason})"))
    if not videos and not problems:
        problems.append(Problem(path, None, None, "the file holds no records"))
    return path, size, videos, problems


def _inspect_record(
    path: str, stored: tfrecords.StoredRecord, frames_per_video: int
) -> tuple[InspectedVideo | None, list[str]]:
    try:
        video, problems = records.deserialize(stored.serialized)
    except ValueError as error:
        return None, [str(error)]
    if not video.video_id:
        problems.append("the id is empty")
    broken = _check_frames(video, frames_per_video)
    fingerprint = 0
    for frame in video.frames:
        fingerprint = google_crc32c.extend(fingerprint, frame)
    seconds = 0.0
    if video.timestamps:
        seconds = (video.timestamps[-1] - video.timestamps[0]) / 1e6
        seconds += 1 / video.frame_rate if video.frame_rate > 0 else 0
    inspected = InspectedVideo(
        path=path,
        record=stored.number,
        offset=stored.offset,
        video_id=video.video_id,
        label=video.label,
        label_name=video.label_name,
        num_frames=len(video.frames),
        frame_rate=video.frame_rate,
        seconds=seconds,
        height=video.height,
        width=video.width,
        decodes=bool(video.frames) and not broken,
        fingerprint=fingerprint,
    )
    return inspected, problems + broken


def spaced(total: int, count: int) -> list[int]:
    """`count` indices below `total`, evenly spaced from the first to the last; 0 for all."""
    if count <= 0 or count >= total:
        return list(range(total))
    return [round(index) for index in np.linspace(0, total - 1, count)]


def _check_frames(video: records.Video, frames_per_video: int) -> list[str]:
    """What is wrong with the JPEGs of a video, one phrase for each kind."""
    examined = set(spaced(len(video.frames), frames_per_video))
    unreadable: dict[int, str] = {}
    other_size: dict[int, str] = {}
    for index, frame in enumerate(video.frames):
        if not frame.startswith(_JPEG_START):
            unreadable[index] = "not a JPEG image"
            continue
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(frame)
            if (height, width) != (video.height, video.width):
                other_size[index] = f"{width}x{height}"
            if index in examined:
                # All of the file is read for an eighth of the size too, at half the cost. Strict:
                # what a lenient decoder fills with gray is an error.
                simplejpeg.decode_jpeg(frame, "GRAY", min_height=1, min_width=1)
        except ValueError as error:
            unreadable[index] = str(error)
    problems = []
    for wrong, text in (
        (unreadable, "cannot be decoded"),
        (other_size, f"do not have the size that the record states, {video.width}x{video.height}"),
    ):
        if wrong:
            index = next(iter(wrong))
            problems.append(
                f"{len(wrong)} of {len(video.frames)} frames {text} (first: frame {index},"
                f" {wrong[index]})"
            )
    return problems
