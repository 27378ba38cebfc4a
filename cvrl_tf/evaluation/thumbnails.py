"""Short clips of stored videos as strips of small frames, for pages that play them."""

import base64
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import simplejpeg
import tensorflow as tf

from cvrl_tf.data import sampling
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.evaluation.views import EvaluationViews

FRAMES = 8
HEIGHT = 72  # pixels
MAX_WIDTH = 128  # pixels: 16:9; wider frames lose their sides
QUALITY = 60
_FRAMES_PER_SECOND = 25  # of most videos; playback is close enough to the real speed


@dataclasses.dataclass(frozen=True)
class Strip:
    """Frames side by side in one JPEG.

    Attributes:
      data: the JPEG in base64.
      frames: how many.
      width: pixels of one frame.
    """

    data: str
    frames: int
    width: int


def template_values(strips: Mapping[str, Strip], views: EvaluationViews) -> dict[str, Any]:
    """What `tiles.html` needs to play strips, by the class of the elements that show them."""
    return {
        "strips": strips,
        "height": HEIGHT,
        "max_width": MAX_WIDTH,
        "seconds": f"{max(0.6, views.clip.span / _FRAMES_PER_SECOND):.2f}",
    }


def read_strips(videos: IndexedSource, numbers: Iterable[int], clip: ClipSpec) -> dict[int, Strip]:
    """The middle clip of some videos, thinned to a few frames.

    Args:
      videos: of which some are taken.
      numbers: which.
      clip: as the network sees it.

    Returns:
      Strips by number.
    """
    return {
        number: strip_of(videos.read(tf.constant(number))["frames"], clip) for number in numbers
    }


def strip_of(frames: tf.Tensor, clip: ClipSpec) -> Strip:
    """The middle clip of a video, thinned to a few frames.

    Args:
      frames: (L,) string, JPEGs; those that the middle clip does not take may be empty.
      clip: as the network sees it.
    """
    count = len(frames)
    start = sampling.even_starts(count, 1, clip.frames, clip.stride)[0]
    positions = sampling.clip_indices(start, count, clip.frames, clip.stride).numpy()
    kept = [int(positions[place]) for place in sampling.spaced(clip.frames, FRAMES)]
    return _strip([frames[position].numpy() for position in kept])


def _strip(jpegs: list[bytes]) -> Strip:
    # The decoder reduces them by eighths; the page scales them further.
    frames = [simplejpeg.decode_jpeg(jpeg, "RGB", min_height=HEIGHT) for jpeg in jpegs]
    height, width = frames[0].shape[:2]
    step = max(1, height // HEIGHT)
    frames = [frame[::step, ::step] for frame in frames]
    height, width = frames[0].shape[:2]
    kept = min(width, round(height * MAX_WIDTH / HEIGHT))
    left = (width - kept) // 2
    strip = np.ascontiguousarray(np.hstack([frame[:, left : left + kept] for frame in frames]))
    data = simplejpeg.encode_jpeg(strip, QUALITY, "RGB", "420")
    return Strip(base64.b64encode(data).decode(), len(frames), round(kept * HEIGHT / height))
