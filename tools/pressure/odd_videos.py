"""Video files that converters get wrong, made with PyAV and edited by hand."""

import pathlib
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition


def draw(num_frames: int, height: int, width: int) -> list[np.ndarray]:
    """Frames (height, width, 3) uint8 in which up, down, left, right, early and late differ.

    Red grows to the right, green downwards, blue with time.
    """
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[..., 0] = np.linspace(0, 250, width)
    frames[..., 1] = np.linspace(0, 250, height)[:, None]
    frames[..., 2] = np.linspace(20, 220, num_frames)[:, None, None]
    return list(frames)


def noise(num_frames: int) -> list[np.ndarray]:
    """Frames (48, 64, 3) uint8 that compress badly, so that damage hits."""
    return list(np.random.default_rng(0).integers(0, 255, (num_frames, 48, 64, 3), np.uint8))


def write(
    path: str | pathlib.Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    rate: int = 10,
    milliseconds: Sequence[int] | None = None,
    muxing: dict[str, str] | None = None,
) -> str:
    """Encodes RGB frames and returns the path.

    Args:
      path: its extension is the container.
      frames: (height, width, 3) uint8 each.
      codec: encoder.
      rate: frames per second.
      milliseconds: time of each frame, instead of `rate`.
      muxing: options of the container.
    """
    with av.open(str(path), "w", options=muxing or {}) as container:
        stream = container.add_stream(codec, rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if milliseconds:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if milliseconds:
                frame.pts, frame.time_base = milliseconds[index], stream.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def write_thumbnail_first(
    path: str | pathlib.Path, frames: Sequence[np.ndarray], codec_id: bytes = b"V_MJPEG"
) -> str:
    """Writes an .mkv file whose first stream is one red picture of 32x24, and returns the path.

    Args:
      path: ends in .mkv.
      frames: of the second stream, which is the default one, at 10 a second.
      codec_id: what the first stream claims to be, as long as V_MJPEG.
    """
    with av.open(str(path), "w") as container:
        thumbnail = container.add_stream("mjpeg", 1)
        film = container.add_stream("libx264", 10, options={"crf": "5"})
        thumbnail.width, thumbnail.height, thumbnail.pix_fmt = 32, 24, "yuvj420p"
        film.height, film.width = frames[0].shape[:2]
        film.pix_fmt = "yuv420p"
        thumbnail.disposition, film.disposition = Disposition(0), Disposition.default
        red = np.full((24, 32, 3), (250, 0, 0), np.uint8)
        for stream, pictures in ((thumbnail, [red]), (film, frames)):
            for pixels in pictures:
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    with open(path, "r+b") as file:
        content = file.read()
        file.seek(content.index(b"V_MJPEG"))
        file.write(codec_id)
    return str(path)


def write_with_sound(
    path: str | pathlib.Path,
    frames: Sequence[np.ndarray],
    video_start: float,
    audio_start: float,
    streams: int = 0,
) -> str:
    """Writes an .flv or .mkv file, 10 frames a second, with sound to its end; returns the path.

    Args:
      path: its extension is the container.
      frames: (height, width, 3) uint8 each.
      video_start: seconds before the first frame.
      audio_start: seconds before the first sound.
      streams: what the head of an .flv file announces: 1 for video, 4 for sound, 0 for both. A
        stream that is not announced is there when its first packet comes.
    """
    with av.open(str(path), "w") as container:
        video = container.add_stream("flv" if str(path).endswith(".flv") else "mpeg4", 10)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", 44100)
        packets = []
        for pixels in frames:
            packets += video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        packets += video.encode()
        for packet in packets:
            packet.pts = packet.dts = packet.pts + round(video_start / packet.time_base)
        seconds = video_start + len(frames) / 10 - audio_start
        for index in range(round(10 * seconds)):
            silence = np.zeros((1, 4410), np.int16)
            sound = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            sound.sample_rate, sound.time_base = 44100, Fraction(1, 44100)
            sound.pts = round(44100 * audio_start) + 4410 * index
            packets += audio.encode(sound)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    if streams:
        with open(path, "r+b") as file:
            file.seek(4)
            file.write(bytes([streams]))
    return str(path)


def edit_packets(
    source: str | pathlib.Path, target: str | pathlib.Path, edit: Callable[[bytes], bytes]
) -> str:
    """Copies a video of one stream with the data of each packet as `edit` returns it."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for packet in reader.demux(stream):
            if packet.size:
                edited = av.Packet(edit(bytes(packet)))
                edited.stream, edited.time_base = copy, packet.time_base
                edited.pts, edited.dts = packet.pts, packet.dts
                edited.is_keyframe = packet.is_keyframe
                writer.mux_one(edited)
    return str(target)


def garble(data: bytes) -> bytes:
    """The data of a packet with zeros as its second half."""
    return data[: len(data) // 2].ljust(len(data), b"\0")


def cut_off(source: str | pathlib.Path, target: str | pathlib.Path, left: int, top: int) -> str:
    """Copies an H.264 video as one whose first columns and rows are not to be shown."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        edit = f"h264_metadata=crop_left={left}:crop_top={top}"
        crop = BitStreamFilterContext(edit, stream, copy)
        for packet in reader.demux(stream):
            for cropped in crop.filter(packet if packet.dts is not None else None):
                cropped.stream = copy
                writer.mux(cropped)
    return str(target)


def truncate(path: str | pathlib.Path, fraction: float) -> str:
    """Keeps the beginning of a file."""
    with open(path, "rb+") as file:
        file.truncate(int(file.seek(0, 2) * fraction))
    return str(path)
