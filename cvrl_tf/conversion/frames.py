"""A video file to JPEG frames."""

import contextlib
import io
from collections.abc import Iterator, Sequence

import av
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.data.records import Video
from cvrl_tf.errors import InputError

SHORT_SIDE = 256
# 41 dB against the frame that goes in; 95 makes files half as large again for 2 dB more.
QUALITY = 90

_UPRIGHT = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


def read_video(entry: Entry, short_side: int = SHORT_SIDE, quality: int = QUALITY) -> Video:
    """Decodes a video once, frame by frame, into JPEGs of one size.

    A frame is turned upright as the file's display matrix says. Pixels are taken to be square:
    aspect ratios written into re-encoded data sets are often wrong, and loaders ignore them.
    Damaged packets are skipped. The same file gives the same bytes.

    Args:
      entry: the file, its id and label.
      short_side: pixels of the shorter side, when the video's is longer; never enlarged.
      quality: of the JPEGs, 1 to 100, at 4:2:0.

    Returns:
      The video, ready for `records.serialize`; timestamps count from its first frame.

    Raises:
      InputError: the file cannot be opened, or holds no frame that can be decoded.
    """
    try:
        # "file:" keeps a colon in the name from being read as a protocol.
        with (
            _local_copy(entry.path) as path,
            av.open(f"file:{path}", metadata_errors="ignore") as container,
        ):
            # Cover art of a music file is a video stream too.
            streams = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic and stream.codec_context
            ]
            if not streams:
                raise InputError(
                    f"{entry.path} has no video stream that can be decoded: expected a video;"
                    " replace or remove the file."
                )
            return _encode_frames(entry, container, streams[0], short_side, quality)
    except av.FFmpegError as error:
        raise InputError(
            f"{entry.path} cannot be opened as a video ({error.strerror}): replace or remove the"
            " file."
        ) from None


@contextlib.contextmanager
def _local_copy(path: str) -> Iterator[str]:
    if path.startswith("tfds:"):
        from cvrl_tf.conversion import tfds_videos  # imports tensorflow_datasets

        with tfds_videos.local_copy(path) as copy:
            yield copy
    else:
        yield path


def _encode_frames(
    entry: Entry,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    short_side: int,
    quality: int,
) -> Video:
    # One thread: there is one process for each core, and threads cost up to a quarter more CPU.
    stream.codec_context.thread_count = 1
    reformatter = VideoReformatter()
    frames: list[bytes] = []
    pts: list[int | None] = []
    for frame in _decode(container, stream):
        if not frames:  # the first frame decides the size of all
            scale = min(1.0, short_side / min(frame.width, frame.height))
            width, height = round(frame.width * scale), round(frame.height * scale)
            turn = _UPRIGHT.get(round(frame.rotation / 90) * 90 % 360)
        # Area averaging does not alias when shrinking, at half of bicubic's cost.
        rgb = reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        image = rgb.to_image()
        if turn is not None:
            image = image.transpose(turn)
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=quality, subsampling="4:2:0")
        frames.append(jpeg.getvalue())
        pts.append(frame.pts)
    if not frames:
        raise InputError(
            f"{entry.path} holds no frame that can be decoded: replace or remove the file."
        )
    frame_rate = float(stream.average_rate or stream.guessed_rate or 0)
    timestamps = _timestamps(pts, float(stream.time_base or 0), frame_rate)
    if frame_rate <= 0 and timestamps[-1] > 0:
        frame_rate = 1e6 * (len(frames) - 1) / timestamps[-1]
    return Video(
        video_id=entry.video_id,
        frames=frames,
        timestamps=timestamps,
        frame_rate=frame_rate,
        height=image.height,
        width=image.width,
        path=entry.path,
        label=entry.label,
        label_name=entry.label_name,
    )


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Yields the frames that can be decoded, in the order of display."""
    packets = container.demux(stream)
    while True:
        try:
            decoded = next(packets).decode()
        except StopIteration:
            return
        except av.FFmpegError:  # a damaged packet, or a damaged file: then the packets end here
            continue
        yield from decoded


def _timestamps(pts: Sequence[int | None], time_base: float, frame_rate: float) -> list[int]:
    """Microseconds from the first frame; counted by the frame rate where the file has no order."""
    known = [value for value in pts if value is not None]
    if len(known) == len(pts) and all(a < b for a, b in zip(known, known[1:], strict=False)):
        return [round((value - known[0]) * time_base * 1e6) for value in known]
    return [round(index * 1e6 / frame_rate) if frame_rate > 0 else 0 for index in range(len(pts))]
