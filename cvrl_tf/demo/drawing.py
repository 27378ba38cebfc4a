"""The rendered classes of the demonstration: a shape with its motion, in random colours.

Colours, sizes, places, speeds and directions are random within a class, so that a network that sees
only colours cannot distinguish the classes.
"""

import math
import os
from collections.abc import Callable, Iterator

import av
import numpy as np

from cvrl_tf.progress import Progress

PIXELS = 80
FRAMES = 32
FRAME_RATE = 16
Mask = Callable[[float, np.ndarray, np.ndarray], np.ndarray]


def _coverage(distance: np.ndarray) -> np.ndarray:
    """How much of a pixel a shape covers, from the signed distance to its border (inside < 0)."""
    return np.clip(0.5 - distance * PIXELS / 2, 0.0, 1.0)


def _rotate(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return cosine * x + sine * y, cosine * y - sine * x


def _disc(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return _coverage(np.hypot(x, y) - radius)


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    return _coverage(np.maximum(np.abs(x) - width, np.abs(y) - height))


def _wave(phase: np.ndarray) -> np.ndarray:
    """Stripes with soft borders along the gradient of `phase`, radians."""
    return np.clip(0.5 + 2 * np.sin(phase), 0, 1)


def _bouncing_discs(rng: np.random.Generator) -> Mask:
    radius, start = rng.uniform(0.18, 0.26), rng.uniform(0, 4, (5, 2))
    velocity = rng.uniform(0.8, 1.8, (5, 2)) * rng.choice([-1, 1], (5, 2))

    def mask(t: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # A triangle wave: there and back again between the borders.
        places = (1 - radius) * (np.abs((start + velocity * t) % 4 - 2) - 1)
        return np.max([_disc(x - u, y - v, radius) for u, v in places], axis=0)

    return mask


def _drifting_stripes(rng: np.random.Generator) -> Mask:
    angle, frequency = rng.uniform(0, math.pi), rng.uniform(8, 13)
    phase, speed = rng.uniform(0, 6), rng.uniform(4, 9) * rng.choice([-1, 1])
    return lambda t, x, y: _wave(frequency * _rotate(x, y, angle)[0] + phase + speed * t)


def _expanding_rings(rng: np.random.Generator) -> Mask:
    place, frequency = rng.uniform(-0.4, 0.4, 2), rng.uniform(10, 15)
    phase, speed = rng.uniform(0, 6), rng.uniform(4, 9)

    def mask(t: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _wave(frequency * np.hypot(x - place[0], y - place[1]) + phase - speed * t)

    return mask


def _falling_crosses(rng: np.random.Generator) -> Mask:
    places, size = rng.uniform(-1.2, 1.2, (9, 2)), rng.uniform(0.24, 0.34)
    speed = rng.uniform(0.8, 2.0)

    def mask(t: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        crosses = []
        for u, v in places:
            across, down = x - u, y - ((v + speed * t + 1.2) % 2.4 - 1.2)
            crosses += [_box(across, down, size, size / 4), _box(across, down, size / 4, size)]
        return np.max(crosses, axis=0)

    return mask


def _flickering_checkers(rng: np.random.Generator) -> Mask:
    cells, angle = rng.uniform(2.5, 4.0), rng.uniform(0, math.pi / 2)
    phase, speed = rng.uniform(0, 6), rng.uniform(6, 12)

    def mask(t: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = _rotate(x * cells, y * cells, angle)
        board = (np.floor(u) + np.floor(v)) % 2
        return 0.5 + (board - 0.5) * math.sin(phase + speed * t)

    return mask


def _spinning_spokes(rng: np.random.Generator) -> Mask:
    place, spokes = rng.uniform(-0.4, 0.4, 2), rng.integers(4, 8)
    speed = rng.uniform(4, 9) * rng.choice([-1, 1])
    return lambda t, x, y: _wave(spokes * np.arctan2(y - place[1], x - place[0]) + speed * t)


def _spinning_squares(rng: np.random.Generator) -> Mask:
    size, phase = rng.uniform(0.24, 0.32), rng.uniform(0, math.pi)
    places, speed = rng.uniform(-0.2, 0.2, (4, 2)), rng.uniform(2, 5) * rng.choice([-1, 1])
    places += 0.5 * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])

    def mask(t: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        angle = phase + speed * t
        return np.max([_box(*_rotate(x - u, y - v, angle), size, size) for u, v in places], axis=0)

    return mask


def _swinging_bars(rng: np.random.Generator) -> Mask:
    width, phase, speed = rng.uniform(0.05, 0.08), rng.uniform(0, 6), rng.uniform(3, 6)
    swing = rng.uniform(0.4, 0.7)

    def mask(t: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        angle = swing * math.sin(phase + speed * t) + math.pi / 2
        bars = []
        for place in (-0.75, -0.25, 0.25, 0.75):
            along, across = _rotate(x - place, y + 1, angle)
            bars.append(_box(along - 0.8, across, 0.8, width))
        return np.max(bars, axis=0)

    return mask


CLASSES: dict[str, Callable[[np.random.Generator], Mask]] = {
    "bouncing_discs": _bouncing_discs,
    "drifting_stripes": _drifting_stripes,
    "expanding_rings": _expanding_rings,
    "falling_crosses": _falling_crosses,
    "flickering_checkers": _flickering_checkers,
    "spinning_spokes": _spinning_spokes,
    "spinning_squares": _spinning_squares,
    "swinging_bars": _swinging_bars,
}


def render_video(
    class_name: str,
    seed: int,
    height: int = PIXELS,
    width: int = PIXELS,
    num_frames: int = FRAMES,
) -> Iterator[np.ndarray]:
    """Draws one video of a class.

    Args:
      class_name: a key of `CLASSES`.
      seed: of everything that is random within the class.
      height: pixels.
      width: pixels.
      num_frames: how many to draw.

    Yields:
      The frames, (height, width, 3) uint8.
    """
    rng = np.random.default_rng([sorted(CLASSES).index(class_name), seed])
    mask = CLASSES[class_name](rng)
    # Two background colours, from one side to the other, and a foreground lighter or darker.
    shades = rng.uniform(0.15, 0.45, 3) if rng.random() < 0.5 else rng.uniform(0.55, 0.85, 3)
    shades[2] = (shades[2] + 0.5) % 1.0
    colors = np.clip(shades[:, None] + rng.uniform(-0.15, 0.15, (3, 3)), 0, 1)
    foreground = colors[2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    slope = (_rotate(x, y, rng.uniform(0, 2 * math.pi))[0] / math.sqrt(2) + 1)[..., None] / 2
    background = colors[0] * slope + colors[1] * (1 - slope)
    for index in range(num_frames):
        covered = mask(index / FRAME_RATE, x, y)[..., None]
        frame = background * (1 - covered) + foreground * covered
        frame = frame + rng.normal(0, 0.02, frame.shape)
        yield np.round(np.clip(frame, 0, 1) * 255).astype(np.uint8)


def encode_video(path: str, frames: Iterator[np.ndarray], *, crf: int, preset: str) -> None:
    """Writes frames, (height, width, 3) uint8, as an H.264 file with FRAME_RATE frames a second."""
    with av.open(path, "w") as container:
        options = {"crf": str(crf), "preset": preset}
        stream = container.add_stream("libx264", FRAME_RATE, options=options)
        stream.codec_context.thread_count = 1
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            if not stream.codec_context.is_open:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def render_videos(directory: str, videos_per_class: int, first_seed: int) -> None:
    """Renders a labelled data set as H.264 files, in one folder for each class.

    Args:
      directory: to make; it appears when all videos are there.
      videos_per_class: videos of each class.
      first_seed: seed of the first video of each class; the next have the seeds after it.
    """
    temporary = f"{directory}.tmp-{os.getpid()}"
    with Progress(
        f"rendering {os.path.basename(directory)}", len(CLASSES) * videos_per_class, "video"
    ) as progress:
        for class_name in CLASSES:
            os.makedirs(os.path.join(temporary, class_name))
            for seed in range(first_seed, first_seed + videos_per_class):
                path = os.path.join(temporary, class_name, f"{class_name}_{seed:03d}.mp4")
                # Slower presets of x264 do not always give the same bytes again.
                encode_video(path, render_video(class_name, seed), crf=14, preset="ultrafast")
                progress.update()
    os.rename(temporary, directory)
