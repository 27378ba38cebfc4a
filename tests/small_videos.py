"""Video files that tests are made of."""

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from tools.pressure.odd_videos import draw


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
