"""A video file to JPEG frames."""

import contextlib
import dataclasses
import math
import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
import simplejpeg
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from cvrl_tf import files
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.data.records import Video
from cvrl_tf.errors import InputError

SHORT_SIDE = 256
# 41 dB against the frame that goes in; 95 makes files half as large again for 2 dB more.
QUALITY = 90
# Of the JPEGs of one record, which are in memory twice while it is written. Protocol buffers end at
# 2 GB; 512 MB are some 20 minutes of 256-pixel video.
MAX_RECORD_BYTES = 512_000_000

# What the signs of a display matrix (a, b, c, d) make of a picture: x' = ax + cy, y' = bx + dy.
_Turn = Callable[[np.ndarray], np.ndarray]
_UPRIGHT: dict[tuple[int, ...], _Turn] = {
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, 1, 0): lambda image: image.swapaxes(0, 1),
    (0, -1, -1, 0): lambda image: image[::-1, ::-1].swapaxes(0, 1),
    (0, -1, 1, 0): np.rot90,
    (0, 1, -1, 0): lambda image: np.rot90(image, 3),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What of a video is kept, and how.

    Attributes:
      short_side: pixels of the shorter side, when the video's is longer; never enlarged.
      quality: of the JPEGs, 1 to 100, at 4:2:0.
      fps: frames per second to thin out to; None keeps all.
      max_seconds: how much of the start is kept; None keeps all.
      min_frames: a video that gives fewer is refused.
    """

    short_side: int = SHORT_SIDE
    quality: int = QUALITY
    fps: float | None = None
    max_seconds: float | None = None
    min_frames: int = 1


DEFAULTS = Settings()


class VideoError(InputError):
    """A video that cannot be converted.

    Attributes:
      reason: a few words, the same for all videos with this fault.
      detail: what is particular to this one; may be empty.
      frames: how many frames could be decoded.
    """

    def __init__(self, path: str, reason: str, detail: str = "", frames: int = 0):
        super().__init__(f"{path}: {reason}" + f" ({detail})" * bool(detail))
        self.reason, self.detail, self.frames = reason, detail, frames


def read_video(
    entry: Entry, settings: Settings = DEFAULTS, on_progress: Callable[[], None] = lambda: None
) -> tuple[Video, str]:
    """Decodes a video once, frame by frame, into JPEGs of one size.

    A frame is turned upright as the file's display matrix says. Pixels are taken to be square:
    aspect ratios written into re-encoded data sets are often wrong, and loaders ignore them.
    Damaged packets are skipped. The same file gives the same bytes.

    Timestamps are the file's own, from its first frame on. A frame that has none, or one that is
    not after the frame before, comes one frame duration after that.

    With `settings.fps` the video is looked at 0, 1/fps, 2/fps, ... seconds after its first frame,
    and the frame that is on display then (the last one at or before) is kept, once, with its own
    timestamp. So a video with fewer frames per second stays as it is, and one with a variable rate
    has at most that many. Containers round timestamps: half their unit counts as "at".

    Args:
      entry: the file, its id and label.
      settings: what is kept, and how.
      on_progress: called after every decoded frame, and while a remote file is copied.

    Returns:
      The video, ready for `records.serialize`; and in words what of the file was damaged or is
      missing, empty for a sound file.

    Raises:
      VideoError: not a file that can be read, nothing that can be decoded, too few frames, or a
        record of more than `MAX_RECORD_BYTES`.
    """
    with _open(entry.path, on_progress) as container:
        stream = _video_stream(entry.path, container)
        try:
            return _encode_frames(entry, container, stream, settings, on_progress)
        except av.FFmpegError as error:  # _decode takes those of single packets
            raise VideoError(entry.path, "cannot be decoded", error.strerror) from None


def estimate_bytes(entry: Entry, settings: Settings, on_progress: Callable[[], None]) -> float:
    """About how large a video's record will be, from its first two seconds and its duration.

    Raises:
      VideoError: see `read_video`.
    """
    sample = 2.0 if settings.max_seconds is None else min(2.0, settings.max_seconds)
    part = dataclasses.replace(settings, max_seconds=sample, min_frames=1)
    with _open(entry.path, on_progress) as container:
        stream = _video_stream(entry.path, container)
        # Where the file does not tell: a clip of Kinetics.
        duration = float(_declared_duration(container, stream) or 10)
        video, _ = _encode_frames(entry, container, stream, part, on_progress)
    if settings.max_seconds is not None:
        duration = min(duration, settings.max_seconds)
    return sum(map(len, video.frames)) * max(1.0, duration / sample)


@contextlib.contextmanager
def _open(path: str, on_progress: Callable[[], None]) -> Iterator[av.container.InputContainer]:
    with _local_copy(path, on_progress) as local:
        _check_file(path, local)
        try:
            # "file:" keeps a colon in the name from being read as a protocol.
            container = av.open(f"file:{local}", metadata_errors="ignore")
        except av.FFmpegError as error:
            if isinstance(error, PermissionError):
                raise VideoError(path, "no permission to read it") from None
            raise VideoError(path, "not a video that can be opened", error.strerror) from None
        with container:
            yield container


@contextlib.contextmanager
def _local_copy(path: str, on_progress: Callable[[], None]) -> Iterator[str | None]:
    if path.startswith("tfds:"):
        from cvrl_tf.conversion import tfds_videos  # imports tensorflow_datasets

        with tfds_videos.local_copy(path) as local:
            yield local
    else:
        with files.local_copy(path, on_progress) as local:
            yield local


def _check_file(path: str, local: str | None) -> None:
    """Names what FFmpeg does not tell apart."""
    try:
        if local is None:
            raise FileNotFoundError
        status = os.stat(local)
        if stat.S_ISDIR(status.st_mode):
            raise VideoError(path, "a directory")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe may take for ever
            raise VideoError(path, "not a file")
        if status.st_size == 0:
            raise VideoError(path, "empty file")
    except (FileNotFoundError, NotADirectoryError):
        is_link = local is not None and os.path.islink(local)
        raise VideoError(path, "link to nowhere" if is_link else "missing") from None
    except PermissionError:
        raise VideoError(path, "no permission to read it") from None
    except OSError as error:
        raise VideoError(path, "cannot be read", error.strerror) from None


def _video_stream(path: str, container: av.container.InputContainer) -> av.VideoStream:
    # Cover art of a music file is a video stream too.
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise VideoError(path, "no video stream")
    if streams[0].codec_context is None:
        raise VideoError(path, "a video stream that FFmpeg cannot decode")
    # One thread: there is one process for each core, and threads cost up to a quarter more CPU.
    streams[0].codec_context.thread_count = 1
    return streams[0]


def _encode_frames(
    entry: Entry,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    settings: Settings,
    on_progress: Callable[[], None],
) -> tuple[Video, str]:
    reformatter = VideoReformatter()
    frames: list[bytes] = []
    timestamps: list[int] = []
    size = 0
    rate = Fraction(stream.average_rate or stream.guessed_rate or 0)
    decoding = _Decoding(container, stream, rate, on_progress)
    for time, frame in decoding.kept(settings.fps, settings.max_seconds):
        if not frames:  # the first frame decides the size of all
            scale = min(1.0, settings.short_side / min(frame.width, frame.height))
            width, height = round(frame.width * scale), round(frame.height * scale)
            turn = _turn(frame)
        # Area averaging does not alias when shrinking, at half of bicubic's cost.
        rgb = reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        image = rgb.to_ndarray()
        if turn is not None:
            image = np.ascontiguousarray(turn(image))
        frames.append(simplejpeg.encode_jpeg(image, settings.quality, "RGB", "420"))
        timestamps.append(round(time * 1_000_000))
        size += len(frames[-1])
        if size > MAX_RECORD_BYTES:
            raise VideoError(
                entry.path,
                f"too long for one record of {MAX_RECORD_BYTES / 1e6:.0f} MB",
                f"full after {float(time):.1f} s: lower --max_seconds, --fps or --short_side",
                len(frames),
            )
    if not frames:
        raise VideoError(entry.path, "no frame that can be decoded")
    if len(frames) < settings.min_frames:
        raise VideoError(
            entry.path,
            f"fewer frames than --min_frames={settings.min_frames}",
            decoding.damage(),
            len(frames),
        )
    frame_rate = float(rate)
    if frame_rate <= 0 and timestamps[-1] > 0:
        frame_rate = 1e6 * (len(frames) - 1) / timestamps[-1]
    if settings.fps is not None:
        frame_rate = min(frame_rate, float(settings.fps))
    video = Video(
        video_id=entry.video_id,
        frames=frames,
        timestamps=timestamps,
        frame_rate=frame_rate,
        height=image.shape[0],
        width=image.shape[1],
        path=entry.path,
        label=entry.label,
        label_name=entry.label_name,
        start=entry.start,
    )
    return video, decoding.damage()


def _turn(frame: av.VideoFrame) -> _Turn | None:
    """How to turn a frame upright: its display matrix, to the nearest quarter turn, or mirrored."""
    matrix = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return None
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        b = c = 0
    else:
        a = d = 0
    return _UPRIGHT.get(tuple((value > 0) - (value < 0) for value in (a, b, c, d)))


def _declared_duration(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Fraction | None:
    """Seconds of video as the file says, if it does."""
    if stream.duration is not None and stream.time_base:
        return stream.duration * stream.time_base
    # Matroska has a tag for each stream. Its times are those of the end, not from the first frame.
    start = max(0, stream.start_time or 0) * (stream.time_base or 0)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3]) - start
    # Of the longest stream, which may be the sound.
    if container.duration is not None and len(container.streams) == 1:
        return Fraction(container.duration, av.time_base) - start
    return None


class _Decoding:
    """One pass over the frames of a stream, in the order of display, and what went wrong in it.

    Args:
      container: just opened.
      stream: of `container`.
      rate: frames per second, 0 where unknown.
      on_progress: called after every frame.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        rate: Fraction,
        on_progress: Callable[[], None],
    ):
        self._container, self._stream, self._on_progress = container, stream, on_progress
        self._step = 1 / rate if rate > 0 else Fraction(0)
        self._faults: Counter[str] = Counter()
        self._end = Fraction(0)
        self._complete = False

    def kept(
        self, fps: float | None, max_seconds: float | None
    ) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Yields the frames to keep, each with its seconds from the first; see `read_video`."""
        timed = self._timed() if fps is None else self._thinned(Fraction(fps))
        return timed if max_seconds is None else _first_seconds(timed, max_seconds)

    def damage(self) -> str:
        """What was wrong with the file, in words; empty when nothing was."""
        faults = [f"{name}: {count}" for name, count in sorted(self._faults.items())]
        duration = _declared_duration(self._container, self._stream)
        # Declared durations are not exact.
        if self._complete and duration and duration - self._end > max(0.5, 0.05 * duration):
            faults.append(f"ends after {float(self._end):.1f} of {float(duration):.1f} s")
        return ", ".join(faults)

    def _frames(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                self._faults.update(["damaged packets"] * packet.is_corrupt)
                decoded = packet.decode()
            except StopIteration:
                self._complete = True
                return
            except av.FFmpegError:  # in a packet, or in the file: then the packets end here
                self._faults["packets that cannot be decoded"] += 1
                continue
            for frame in decoded:
                self._faults.update(["damaged frames"] * frame.is_corrupt)
                self._on_progress()
                yield frame

    def _timed(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        time = start = None
        for frame in self._frames():
            following = Fraction(0) if time is None else time + self._step
            stamp = None if frame.pts is None else frame.pts * self._stream.time_base
            if start is None and stamp is not None:
                start = stamp - following
            if stamp is not None and (time is None or stamp - start > time):
                time = stamp - start
            else:
                time = following
            self._end = time + (frame.duration * (self._stream.time_base or 0) or self._step)
            yield time, frame

    def _thinned(self, fps: Fraction) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        # Half a unit of the time base is what rounding can have added to a timestamp.
        slack = (self._stream.time_base or Fraction(0)) / 2
        on_display = None
        tick = 0  # the first that no frame has been kept for
        for time, frame in self._timed():
            if on_display is not None and tick / fps < time - slack:
                yield on_display
                tick = math.ceil((time - slack) * fps)
            on_display = time, frame
        if on_display is not None and tick / fps < self._end:
            yield on_display


def _first_seconds(
    timed: Iterator[tuple[Fraction, av.VideoFrame]], seconds: float
) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    for time, frame in timed:
        if time > 0 and time >= seconds:
            return
        yield time, frame
