"""Checks each record of a TFRecord shard individually."""

import dataclasses
from collections.abc import Mapping

import google_crc32c
import numpy as np
import simplejpeg
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.conversion import twins
from cvrl_tf.conversion.workers import Report
from cvrl_tf.data import index_file, records, sampling, tfrecords
from cvrl_tf.data.index_file import DescribedRecord, ShardTable
from cvrl_tf.errors import reason

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
      signature: `twins.signature` of the video; None where frames are missing or damaged.
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
    signature: np.ndarray | None = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What was found in a shard of `num_bytes`.

    `table` is what an index holds of it; None where not all of it can be reached.
    """

    path: str
    num_bytes: int
    videos: list[InspectedVideo]
    problems: list[Problem]
    table: ShardTable | None = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class InspectionJob:
    """Inspects one shard; see `workers.Job`.

    Attributes:
      path: the shard.
      frames_per_video: how many frames to decode; 0 for all.
      ended: records at which a process that did this job hung or died, and how.
    """

    path: str
    frames_per_video: int
    ended: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def run(self, report: Report) -> ShardResult:
        """Inspects the whole shard, also after bad records."""
        files.load_file_systems(self.path)
        videos: list[InspectedVideo] = []
        problems: list[Problem] = []
        described: list[DescribedRecord | None] = []
        size = 0
        try:
            size = files.size(self.path)
            for stored in tfrecords.read_shard(self.path):
                video, video_id = None, None
                if stored.number in self.ended:
                    texts = [self.ended[stored.number]]
                    described.append(_undescribed(stored))
                elif stored.serialized is None:
                    texts = [stored.problem or ""]
                    described.append(_undescribed(stored))
                else:
                    report.start(stored.number)
                    video, texts, record = _inspect_record(self.path, stored, self.frames_per_video)
                    described.append(record)
                    report.decoded()
                if video is not None:
                    videos.append(video)
                    video_id = video.video_id
                problems += [Problem(self.path, stored.number, video_id, text) for text in texts]
        except (tf.errors.OpError, OSError) as error:
            text = f"the file cannot be read ({reason(error).rpartition('; ')[2]})"
            problems.append(Problem(self.path, None, None, text))
        if not videos and not problems:
            problems.append(Problem(self.path, None, None, "the file holds no records"))
        report.done(size, bool(problems))
        whole = [record for record in described if record is not None]
        table = ShardTable.of(whole) if whole and len(whole) == len(described) else None
        return ShardResult(self.path, size, videos, problems, table)

    def after(self, video: int, reason: str, final: bool) -> "InspectionJob":
        """The job without the record at which its process ended."""
        return dataclasses.replace(self, ended={**self.ended, video: reason})


def _undescribed(stored: tfrecords.StoredRecord) -> DescribedRecord | None:
    """What an index holds of a record that cannot be inspected; None where it is not whole."""
    if stored.checksum is None:
        return None
    return index_file.undescribed(stored.length, stored.checksum)


def _inspect_record(
    path: str, stored: tfrecords.StoredRecord, frames_per_video: int
) -> tuple[InspectedVideo | None, list[str], DescribedRecord]:
    """The video of a record, what is wrong with it, and what an index holds of it."""
    serialized = stored.serialized or b""
    try:
        video, problems = records.deserialize(serialized)
    except ValueError as error:
        return None, [str(error)], index_file.describe(serialized, [])
    if not video.video_id:
        problems.append("the id is empty")
    broken = _check_frames(video, frames_per_video)
    fingerprint = 0
    for frame in video.frames:
        fingerprint = google_crc32c.extend(fingerprint, frame)
    seconds = 0.0
    if video.timestamps:
        seconds = (records.end_microseconds(video) - video.timestamps[0]) / 1e6
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
        signature=_signature(video),
    )
    return inspected, problems + broken, index_file.describe(serialized, video.frames)


def _signature(video: records.Video) -> np.ndarray | None:
    numbers = sorted(twins.frame_numbers(len(video.frames)))
    try:
        return twins.signature([video.frames[number] for number in numbers]) if numbers else None
    except ValueError:
        return None


def _check_frames(video: records.Video, frames_per_video: int) -> list[str]:
    """What is wrong with the JPEGs of a video, one phrase for each kind."""
    examined = set(sampling.spaced(len(video.frames), frames_per_video))
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
                # missing data, which a lenient decoder fills with gray, is an error.
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
