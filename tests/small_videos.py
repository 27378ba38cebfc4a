"""Video files that tests are made of."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition


def draw(num_frames: int, height: int, width: int) -> list[np.ndarray]:
    """Frames (height, width, 3) uint8 that tell up from down, left from right, early from late.

    Red grows to the right, green downwards, blue with time.
    """
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[..., 0] = np.linspace(0, 250, width)
    frames[..., 1] = np.linspace(0, 250, height)[:, None]
    frames[..., 2] = np.linspace(20, 220, num_frames)[:, None, None]
    return list(frames)


def write_video(
    path,
    frames: Sequence[np.ndarray],
    rate: int = 10,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    milliseconds: Sequence[int] | None = None,
    matrix: tuple[int, int, int, int] | None = None,
    b_frames: int | None = None,
    index_first: bool = False,
) -> str:
    """Encodes RGB frames at high quality and returns the path.

    Args:
      path: its extension is the container.
      frames: (height, width, 3) uint8 each.
      rate: frames per second.
      codec: encoder.
      pixel_format: of the stream.
      rotation: degrees, anticlockwise, that a player is told to turn the frames by.
      milliseconds: time of each frame, for a variable frame rate.
      matrix: (a, b, c, d) of a display matrix: x' = ax + cy, y' = bx + dy.
      b_frames: frames in a row that are stored after one that is shown later.
      index_first: puts the index of an .mp4 file at its start.
    """
    muxing = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", options=muxing) as container:
        options = {"crf": "5"} if codec == "libx264" else {"qscale": "2", "flags": "+qscale"}
        stream = container.add_stream(codec, rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix:
            a, b, c, d = (value << 16 for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if milliseconds:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if milliseconds:
                frame.pts, frame.time_base = milliseconds[index], stream.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def write_thumbnail_first(path, frames: Sequence[np.ndarray], codec_id: bytes = b"V_MJPEG") -> str:
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
    path, frames: Sequence[np.ndarray], video_start: float, audio_start: float, streams: int = 0
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


def edit_packets(source, target, edit: Callable[[bytes], bytes]) -> str:
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


def write_class_folders(directory, videos_per_class: dict[str, int]) -> str:
    """Makes `<class>/<class>_<n>.mp4`, video n with 4 + n frames of 32x24, and returns the path."""
    for name, count in videos_per_class.items():
        (directory / name).mkdir(parents=True)
        for index in range(count):
            write_video(directory / name / f"{name}_{index}.mp4", draw(4 + index, 24, 32))
    return str(directory)


def touch(directory, *names: str) -> str:
    """Makes empty files, and the folders that they are in, and returns the directory's path."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(directory)
