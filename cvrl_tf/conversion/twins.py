"""Videos of equal or nearly equal content: copies, re-encoded, resized or mirrored ones.

The signature of a video is made of a few frames at fixed relative times, in gray and very small.
Two videos are twins where both the edges in these frames and the changes between them agree,
unchanged or with one video mirrored.
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
# Largest values of 1 - cosine for twins. Of copies of 65 videos (35 of UCF-101, 30 hand gestures),
# all re-encoded, resized and mirrored ones are found; without their first 3 frames 34 and 23,
# without 10 frames 26 and 7, cropped by a tenth 10 and 13. Of 9,215 pairs of other videos (of
# different groups where these are known) none is found; of 146 pairs of clips of one recording 12
# are, some of which overlap in time. Edges alone would find 61 of these, and all videos of a fixed
# camera.
MAX_DISTANCE, MAX_MOTION_DISTANCE = 0.25, 0.3
_STILL = 1.0  # gray levels, root mean square of the motion; below it is coding noise
MAX_VIDEOS = 20_000  # that checks compare: more take minutes and gigabytes
_SHORT_SIDE = 64  # of the frames that it is made of, where video files are decoded
_CHUNK = 512  # videos that are compared with all others at a time
_AHEAD = 4  # videos of each process, decoded or begun before they are used


class Twins(NamedTuple):
    """Two videos of nearly equal content.

    Attributes:
      first: number of a video.
      second: number of the other.
      distance: of their edges, 0 for equal ones, below `MAX_DISTANCE`.
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
    rows = _features(ones)
    both = _features(others), _features([None if x is None else x[:, :, ::-1] for x in others])
    for start in range(0, len(ones), _CHUNK):
        part = [values[start : start + _CHUNK] for values in rows]
        distances = np.stack([_distances(part, columns) for columns in both])
        for row, column in np.argwhere(distances.min(axis=0) < MAX_DISTANCE):
            upright, flipped = distances[:, row, column]
            distance = max(0.0, float(min(upright, flipped)))
            yield Twins(start + int(row), int(column), distance, bool(flipped < upright))


def _distances(rows: Sequence[np.ndarray], columns: Sequence[np.ndarray]) -> np.ndarray:
    """(N, M), of the edges of N and M videos (`_features`); 1 where their motion differs."""
    (edges, motion, still), (other_edges, other_motion, other_still) = rows, columns
    moves_alike = motion @ other_motion.T > 1.0 - MAX_MOTION_DISTANCE
    alike = moves_alike | (still[:, np.newaxis] & other_still)
    return np.where(alike, 1.0 - edges @ other_edges.T, 1.0)


def _features(signatures: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What of N signatures is compared.

    Returns:
      The edges and the motion, (N, D) float32 of norm 1, or 0 where there are none; and whether
      there is no motion, (N,) bool.
    """
    count = len(signatures)
    edges = np.zeros((count, 2 * FRAMES * (SIZE - 1) ** 2), np.float32)
    motion = np.zeros((count, FRAMES * SIZE**2), np.float32)
    for number, one in enumerate(signatures):
        if one is None:
            continue
        pixels = one.astype(np.float32)
        across, down = np.diff(pixels, axis=2)[:, :-1], np.diff(pixels, axis=1)[:, :, :-1]
        steps = np.concatenate([across.ravel(), down.ravel()])
        # Roots, so that a few strong edges do not decide: a caption, a frame.
        edges[number] = np.sign(steps) * np.sqrt(np.abs(steps))
        centred = pixels - pixels.mean(axis=(1, 2), keepdims=True)
        motion[number] = (centred - centred.mean(axis=0)).ravel()
    still = np.linalg.norm(motion, axis=1) < _STILL * np.sqrt(motion.shape[1])
    return _normalized(edges), _normalized(motion), still


def _normalized(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
