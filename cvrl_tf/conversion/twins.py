"""Videos of equal or nearly equal content: copies, re-encoded, resized or mirrored ones.

The signature of a video is made of a few frames at fixed relative times, in gray and very small.
Two videos are twins where the edges in these frames agree, unchanged or with one video mirrored.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import simplejpeg

from cvrl_tf import progress
from cvrl_tf.conversion import frames
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.needed_frames import DecodeJob
from cvrl_tf.conversion.state import Failure
from cvrl_tf.conversion.workers import InProcess, WorkerPool

FRAMES = 5  # of a signature
SIZE = 16  # pixels of its sides
# 1 minus the cosine of the edges. Of 65 videos (UCF-101, hand gestures), re-encoded, resized and
# mirrored ones were within 0.04; without their first 3 frames, all of UCF-101 within 0.14 and 70 %
# of the gestures within 0.2. Of 9,215 pairs of other videos (of different groups where these are
# known) the nearest had 0.28. Clips of one scene, seconds apart, can be as near as copies.
MAX_DISTANCE = 0.2
MAX_VIDEOS = 20_000  # that checks compare: more take minutes and gigabytes
_SHORT_SIDE = 64  # of the frames that it is made of, where video files are decoded
_CHUNK = 512  # videos that are compared with all others at a time
_AHEAD = 4  # videos of each process, decoded or begun before they are used


class Twins(NamedTuple):
    """Two videos of nearly equal content.

    Attributes:
      first: number of a video.
      second: number of the other.
      distance: 0 for equal signatures, below `MAX_DISTANCE`.
      mirrored: whether one of them looks like the mirror image of the other.
    """

    first: int
    second: int
    distance: float
    mirrored: bool


def frame_numbers(num_frames: int) -> set[int]:
    """The frames of a video that its signature is made of; none of an empty one."""
    return {(2 * part + 1) * num_frames // (2 * FRAMES) for part in range(FRAMES) if num_frames}


def signature(jpegs: Sequence[bytes]) -> np.ndarray:
    """The signature of a video.

    Args:
      jpegs: its frames of the numbers of `frame_numbers`, in their order; one or more.

    Returns:
      (FRAMES, SIZE, SIZE) uint8, gray. Videos with fewer frames repeat some.

    Raises:
      ValueError: a frame cannot be decoded.
    """
    # The decoder reduces large frames by eighths, but less than a part has 4 x 4 pixels: in smaller
    # parts the size of the frames would matter.
    least = 4 * SIZE
    small = [
        _shrink(simplejpeg.decode_jpeg(jpeg, "GRAY", min_height=least, min_width=least)[..., 0])
        for jpeg in jpegs
    ]
    return np.stack([small[(2 * part + 1) * len(small) // (2 * FRAMES)] for part in range(FRAMES)])


def _shrink(image: np.ndarray) -> np.ndarray:
    """The means of SIZE x SIZE parts of a gray image (H, W)."""
    sums, counts = image.astype(np.float32), np.ones((1, 1), np.float32)
    for axis, length in enumerate(image.shape):
        edges = np.arange(SIZE) * length // SIZE
        sums = np.add.reduceat(sums, edges, axis)
        sizes = np.maximum(np.diff(np.append(edges, length)), 1)
        counts = counts * np.expand_dims(sizes, 1 - axis)
    return np.rint(sums / counts).astype(np.uint8)


def signatures_of_files(
    entries: Sequence[Entry],
    executor: WorkerPool | InProcess,
    on_failure: Callable[[Failure], None],
) -> list[np.ndarray | None]:
    """The signature of each video file; None for one that cannot be decoded.

    Args:
      entries: the files.
      executor: runs the jobs, entered by the caller.
      on_failure: called with what is wrong with a file, also where it could be decoded.
    """
    settings = frames.Settings(short_side=_SHORT_SIDE)
    jobs = (DecodeJob(entry, settings, frame_numbers) for entry in entries)
    found: list[np.ndarray | None] = []
    with progress.Progress("comparing", len(entries), "video") as bar:
        ahead = _AHEAD * executor.count
        for video in executor.results(jobs, lambda *counts: None, ahead):
            if video.failure:
                on_failure(video.failure)
            jpegs = [jpeg for _, jpeg in sorted(video.jpegs.items())]
            found.append(signature(jpegs) if video.usable else None)
            bar.update()
    return found


def find(signatures: Sequence[np.ndarray | None]) -> list[Twins]:
    """The twins among N videos, of which those without a signature have none; see `between`."""
    return [twins for twins in between(signatures, signatures) if twins.first < twins.second]


def between(
    ones: Sequence[np.ndarray | None], others: Sequence[np.ndarray | None]
) -> Iterator[Twins]:
    """The pairs of nearly equal videos, one of N videos and one of M others.

    Args:
      ones: the signatures of N videos; None where there is none.
      others: those of M videos.

    Yields:
      The twins; `first` is a number of the N videos, `second` one of the M, both ascending.
    """
    rows = _vectors(ones)
    columns = _vectors(others)
    mirrored = _vectors([None if one is None else one[:, :, ::-1] for one in others])
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        upright, flipped = part @ columns.T, part @ mirrored.T
        near = np.argwhere(np.maximum(upright, flipped) > 1.0 - MAX_DISTANCE)
        for row, column in near:
            pair = upright[row, column], flipped[row, column]
            distance = max(0.0, 1.0 - float(max(pair)))
            yield Twins(start + int(row), int(column), distance, bool(pair[1] > pair[0]))


def _vectors(signatures: Sequence[np.ndarray | None]) -> np.ndarray:
    """The edges in signatures, (N, D) float32 of norm 1; of norm 0 where there are none."""
    rows = np.zeros((len(signatures), 2 * FRAMES * (SIZE - 1) ** 2), np.float32)
    for row, one in zip(rows, signatures, strict=True):
        if one is None:
            continue
        pixels = one.astype(np.float32)
        across, down = np.diff(pixels, axis=2)[:, :-1], np.diff(pixels, axis=1)[:, :, :-1]
        edges = np.concatenate([across.ravel(), down.ravel()])
        # Roots, so that a few strong edges do not decide: a caption, a frame.
        row[:] = np.sign(edges) * np.sqrt(np.abs(edges))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, 1e-6)
