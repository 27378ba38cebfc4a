"""A video file to JPEG frames."""

import contextlib
import dataclasses
import math
import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Callable, Container, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import simplejpeg
from av.codec.context import Flags
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from cvrl_tf import files
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.data.records import Video
from cvrl_tf.errors import InputError
from cvrl_tf.settings import setting

SHORT_SIDE = 256
# 41 dB against the frame that goes in; 95 makes files half as large again for 2 dB more.
QUALITY = 90
# Of the JPEGs of one record, which are in memory twice while it is written. Protocol buffers end at
# 2 GB; 512 MB are some 20 minutes of 256-pixel video.
MAX_RECORD_BYTES = 512_000_000
# How far FFmpeg looks for streams when the start of the file, its default, has no video.
_WHOLE_FILE = {"analyzeduration": "3600000000", "probesize": "100000000"}

# Titles and comments need not be UTF-8. PyAV 19 decodes any bytes and has no such argument.
_METADATA: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}
)

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
    """Which frames of a video are kept, and how."""

    short_side: int = setting(
        SHORT_SIDE,
        "Pixels of the shorter side of the frames. Smaller videos are not enlarged.",
        lower=1,
    )
    quality: int = setting(
        QUALITY, "JPEG quality, 1 to 100, with 4:2:0 subsampling.", lower=1, upper=100
    )
    fps: float | None = setting(
        None,
        "Subsample to this number of frames per second, using the timestamps; frames are never"
        " repeated. Without it all frames are kept.",
        lower=0.001,
    )
    max_seconds: float | None = setting(
        None,
        "Keep only this many seconds from the start of each video. Without it all is kept.",
        lower=0.001,
    )
    min_frames: int = setting(
        1,
        "Skip videos that give fewer frames, because they are short or damaged.",
        lower=1,
    )


DEFAULTS = Settings()


class VideoError(InputError):
    """A video that cannot be decoded.

    Attributes:
      reason: a few words, the same for all videos with this fault.
      detail: what is particular to this one; may be empty.
      frames: how many frames could be decoded.
    """

    def __init__(self, path: str, reason: str, detail: str | None = "", frames: int = 0):
        super().__init__(f"{path}: {reason}" + f" ({detail})" * bool(detail))
        self.reason, self.detail, self.frames = reason, detail or "", frames


class VideoTooLongError(VideoError):
    """A video whose JPEGs are more than `MAX_RECORD_BYTES`."""


def read_video(
    entry: Entry, settings: Settings = DEFAULTS, on_progress: Callable[[], None] = lambda: None
) -> tuple[Video, str]:
    """Decodes a video once, frame by frame, into JPEGs of one size.

    Of several video streams, the one that FFmpeg prefers is read. A frame is turned upright as the
    file's display matrix says. Pixels are taken to be square: aspect ratios written into re-encoded
    data sets are often wrong, and loaders ignore them. Damaged packets are skipped. The same file
    gives the same bytes on all x86-64 processors with SSSE3; on others, colours of frames that are
    not resized may differ by rounding.

    Timestamps are the file's own, from its first frame on. A frame that has none, or one that is
    not after the frame before, comes one frame duration after that. The frame rate is the file's
    average, unless the timestamps differ from it by more than a factor of 2: then it is theirs.

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
      VideoError: not a file that can be read, no frame that can be decoded without damage, or too
        few frames.
      VideoTooLongError: a record of more than `MAX_RECORD_BYTES`.
    """
    with _local_copy(entry.path, on_progress) as local:
        return _read(entry, local, settings, on_progress)


def read_needed_frames(
    entry: Entry,
    needed: Callable[[int], set[int]],
    settings: Settings = DEFAULTS,
    on_progress: Callable[[], None] = lambda: None,
) -> tuple[Video, str]:
    """Decodes a video of which only some frames are needed: the memory is that of these frames.

    Args:
      entry: the file, its id and label.
      needed: from the number of frames of the video to the numbers of the needed ones.
      settings: as for `read_video`.
      on_progress: as for `read_video`.

    Returns:
      As `read_video`, but frames that are not needed are empty bytes.

    Raises:
      VideoError: as `read_video`.
    """
    with _local_copy(entry.path, on_progress) as local:
        numbers = needed(_expected_frames(entry.path, local, on_progress))
        while True:
            video, damage = _read(entry, local, settings, on_progress, numbers)
            # How many frames there are is certain only now. Where fewer or more were expected,
            # the video is decoded again.
            missing = needed(len(video.frames)) - numbers
            if not missing:
                return video, damage
            numbers = numbers | missing


def _read(
    entry: Entry,
    local: str | None,
    settings: Settings,
    on_progress: Callable[[], None],
    needed: Container[int] | None = None,
) -> tuple[Video, str]:
    """`read_video` of a local file; the frames whose numbers are not in `needed` are empty."""
    with _open(entry.path, local) as container:
        stream = _video_stream(entry.path, container)
        try:
            return _encode_frames(entry, container, stream, settings, on_progress, needed)
        except av.FFmpegError as error:  # _decode takes those of single packets
            raise VideoError(entry.path, "cannot be decoded", error.strerror) from None


def _expected_frames(path: str, local: str | None, on_progress: Callable[[], None]) -> int:
    """The number of frames that a file declares, or of its packets where it declares none."""
    with _open(path, local) as container:
        stream = _video_stream(path, container)
        if stream.frames > 0:
            return stream.frames
        packets = container.demux(stream)
        count = 0
        while True:
            try:
                count += next(packets).size > 0
                on_progress()
            except (StopIteration, IndexError, av.FFmpegError):  # as in `_Decoding`
                return count


def estimate_bytes(entry: Entry, settings: Settings, on_progress: Callable[[], None]) -> float:
    """About how large a video's record will be, from its first two seconds and its duration.

    Raises:
      VideoError: see `read_video`.
    """
    sample = 2.0 if settings.max_seconds is None else min(2.0, settings.max_seconds)
    part = dataclasses.replace(settings, max_seconds=sample, min_frames=1)
    with (
        _local_copy(entry.path, on_progress) as local,
        _open(entry.path, local) as container,
    ):
        stream = _video_stream(entry.path, container)
        # Where the file does not say: a clip of Kinetics.
        duration = float((_declared_end(container, stream) or 10) - _declared_start(stream))
        video, _ = _encode_frames(entry, container, stream, part, on_progress)
    if settings.max_seconds is not None:
        duration = min(duration, settings.max_seconds)
    return sum(map(len, video.frames)) * max(1.0, duration / sample)


@contextlib.contextmanager
def _open(path: str, local: str | None) -> Iterator[av.container.InputContainer]:
    _check_file(path, local)
    assert local is not None  # it was found
    try:
        container = _open_container(local)
        if not container.streams.video:  # it may appear later in the file
            container.close()
            container = _open_container(local, _WHOLE_FILE)
    except av.FFmpegError as error:  # a demuxer may also say "Operation not permitted"
        raise VideoError(path, "not a video that can be opened", error.strerror) from None
    with container:
        yield container


def _open_container(
    local: str, options: dict[str, str] | None = None
) -> av.container.InputContainer:
    # "file:" keeps a colon in the name from being read as a protocol.
    return av.open(f"file:{local}", options=options, **_METADATA)


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
    """Names what FFmpeg does not distinguish."""
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
        with open(local, "rb"):  # raises PermissionError
            pass
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
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise VideoError(path, "a video stream that FFmpeg cannot decode")
    best = container.streams.best("video")
    stream = best if best in decodable else decodable[0]
    # One thread: there is one process for each core, and threads cost up to a quarter more CPU.
    stream.codec_context.thread_count = 1
    # Without this flag FFmpeg keeps columns that the file cuts off, to keep memory aligned.
    stream.codec_context.flags |= Flags.unaligned
    return stream


class _JpegEncoder:
    """Makes JPEGs of one size of frames; the first frame decides the size.

    Attributes:
      height, width: pixels, known after the first JPEG.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._reformatter = VideoReformatter()
        self._stored_size: tuple[int, int] | None = None
        self.height = self.width = 0

    def fit(self, frame: av.VideoFrame) -> None:
        """Takes the size from a frame, if it is the first."""
        if self._stored_size is None:
            scale = min(1.0, self._settings.short_side / min(frame.width, frame.height))
            self._stored_size = round(frame.width * scale), round(frame.height * scale)
            self._turn = _turn(frame)

    def encode(self, frame: av.VideoFrame) -> bytes:
        """The JPEG of a frame in the size of the first, which `fit` took."""
        # Area averaging does not alias when shrinking, at half of bicubic's cost.
        width, height = self._stored_size or (None, None)
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        image = rgb.to_ndarray()
        if self._turn is not None:
            image = np.ascontiguousarray(self._turn(image))
        self.height, self.width = image.shape[:2]
        return simplejpeg.encode_jpeg(image, self._settings.quality, "RGB", "420")


def _encode_frames(
    entry: Entry,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    settings: Settings,
    on_progress: Callable[[], None],
    needed: Container[int] | None = None,
) -> tuple[Video, str]:
    encoder = _JpegEncoder(settings)
    frames: list[bytes] = []
    timestamps: list[int] = []
    size = 0
    decoding = _Decoding(container, stream, on_progress)
    for time, frame in decoding.kept(settings.fps, settings.max_seconds):
        encoder.fit(frame)
        is_needed = needed is None or len(frames) in needed
        frames.append(encoder.encode(frame) if is_needed else b"")
        timestamps.append(round(time * 1_000_000))
        size += len(frames[-1])
        if size > MAX_RECORD_BYTES:
            raise VideoTooLongError(
                entry.path,
                f"too long for one record of {MAX_RECORD_BYTES / 1e6:.0f} MB",
                f"full after {float(time):.1f} s",
                len(frames),
            )
    if not decoding.has_whole_frames():
        raise VideoError(entry.path, "no frame that can be decoded", decoding.damage())
    if len(frames) < settings.min_frames:
        reason = f"fewer frames than min_frames={settings.min_frames}"
        raise VideoError(entry.path, reason, decoding.damage(), len(frames))
    frame_rate = decoding.frame_rate()
    video = Video(
        video_id=entry.video_id,
        frames=frames,
        timestamps=timestamps,
        frame_rate=frame_rate if settings.fps is None else min(frame_rate, float(settings.fps)),
        height=encoder.height,
        width=encoder.width,
        path=entry.path,
        label=entry.label,
        label_name=entry.label_name,
        start=entry.start,
    )
    return video, decoding.damage()


def _turn(frame: av.VideoFrame) -> _Turn | None:
    """How to turn a frame upright: its display matrix, to the nearest quarter turn, or mirrored."""
    matrix = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]
    if matrix is None:
        return None
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        b = c = 0
    else:
        a = d = 0
    return _UPRIGHT.get(tuple((value > 0) - (value < 0) for value in (a, b, c, d)))


def _declared_start(stream: av.VideoStream) -> Fraction:
    return Fraction((stream.start_time or 0) * (stream.time_base or 0))


def _declared_end(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Fraction | None:
    """When the video ends as the file says, if it does: seconds on the clock of its timestamps."""
    if stream.duration is not None and stream.time_base:
        return _declared_start(stream) + stream.duration * stream.time_base
    # Matroska has a tag for each stream.
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
    # Of the longest stream, which may be the sound.
    if container.duration is not None and len(container.streams) == 1:
        return Fraction((container.start_time or 0) + container.duration, av.time_base)
    return None


class _Decoding:
    """One pass over the frames of a stream, in the order of display, and what went wrong in it.

    Args:
      container: just opened.
      stream: of `container`.
      on_progress: called after every frame.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        on_progress: Callable[[], None],
    ):
        self._container, self._stream, self._on_progress = container, stream, on_progress
        self._time_base = stream.time_base or Fraction(0)
        self._rate = Fraction(stream.average_rate or stream.guessed_rate or 0)
        self._step = 1 / self._rate if self._rate > 0 else Fraction(0)
        self._faults: Counter[str] = Counter()
        self._frames = 0
        # Seconds: of the first frame on the file's clock; the others from the first frame.
        self._start: Fraction | None = None
        self._last = self._end = Fraction(0)
        self._complete = False

    def kept(
        self, fps: float | None, max_seconds: float | None
    ) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Yields the frames to keep, each with its seconds from the first; see `read_video`."""
        timed = self._timed() if fps is None else self._thinned(Fraction(fps))
        return timed if max_seconds is None else _first_seconds(timed, max_seconds)

    def has_whole_frames(self) -> bool:
        """Whether any frame was decoded without damage."""
        return self._frames > self._faults["damaged frames"]

    def frame_rate(self) -> float:
        """Frames per second; see `read_video`."""
        found = (self._frames - 1) / self._last if self._last > 0 else self._rate
        agree = self._rate / 2 <= found <= self._rate * 2
        return float(self._rate if agree else found)

    def damage(self) -> str:
        """What was wrong with the file, in words; empty when nothing was."""
        faults = [f"{name}: {count}" for name, count in sorted(self._faults.items()) if count]
        end = _declared_end(self._container, self._stream)
        if self._complete and end is not None:
            duration = end - (self._start or 0)
            if duration - self._end > max(0.5, 0.05 * duration):  # durations are not exact
                faults.append(f"ends after {float(self._end):.1f} of {float(duration):.1f} s")
        return ", ".join(faults)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            # IndexError: at the end, PyAV before 19 does not find a stream that appeared late.
            except (StopIteration, IndexError):
                self._complete = True
                return
            except av.FFmpegError:  # in the file: the packets end here
                self._faults["packets that cannot be decoded"] += 1
                continue
            if packet.is_corrupt:
                self._faults["damaged packets"] += 1
            if packet.has_sidedata("encryption_info"):  # and nobody has given its key
                self._faults["encrypted packets"] += 1
                continue
            if not packet.size and packet.pts is not None:  # shows the frame before for longer
                self._show_until(packet.pts, packet.duration)
                continue
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                self._faults["packets that cannot be decoded"] += 1
                continue
            for frame in decoded:
                self._frames += 1
                if frame.is_corrupt:
                    self._faults["damaged frames"] += 1
                self._on_progress()
                yield frame

    def _show_until(self, pts: int, duration: int | None) -> None:
        if self._start is not None:
            end = (pts + (duration or 0)) * self._time_base - self._start
            self._end = max(self._end, end)

    def _timed(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        time = None
        for frame in self._decoded():
            following = Fraction(0) if time is None else time + self._step
            stamp = None if frame.pts is None else frame.pts * self._time_base
            if self._start is None and stamp is not None:
                self._start = stamp - following
            elapsed = None if stamp is None or self._start is None else stamp - self._start
            if elapsed is not None and (time is None or elapsed > time):
                time = elapsed
            else:
                time = following
            self._last = time
            self._end = time + (frame.duration * self._time_base or self._step)
            yield time, frame

    def _thinned(self, fps: Fraction) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        # Half a unit of the time base is what rounding can have added to a timestamp.
        slack = self._time_base / 2
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
