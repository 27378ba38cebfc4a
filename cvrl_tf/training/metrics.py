"""The metrics of a run: metrics.jsonl, TensorBoard events, pictures of clip pairs."""

import contextlib
import json
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError, reason
from cvrl_tf.training.run_directory import RunDirectory

GAP = 2  # pixels between the frames of a sheet


class MetricsWriter:
    """Appends figures to `metrics.jsonl` and to TensorBoard events in a directory.

    Args:
      directory: of the run.
      first_step: number of finished steps; lines of later steps, from a killed run, are removed.

    Raises:
      InputError: writing failed, here or in a method.
    """

    def __init__(self, directory: str, first_step: int = 0):
        self._paths = RunDirectory(directory)
        lines = [json.dumps(row) for row in read_metrics(directory) if row["step"] <= first_step]
        with self._naming_full_disk():
            files.write_atomically(self._paths.metrics, "".join(line + "\n" for line in lines))
            self._events = tf.summary.create_file_writer(directory)

    @contextlib.contextmanager
    def _naming_full_disk(self) -> Iterator[None]:
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            raise InputError(
                f"Metrics cannot be written to {self._paths.path} ({reason(error)}):"
                " free some space or repair the disk. The same command then resumes from the last"
                " checkpoint."
            ) from None

    def write(self, step: int, **figures: float) -> None:
        """Writes one line of `metrics.jsonl`, and one TensorBoard scalar for each figure."""
        with self._naming_full_disk():
            with tf.io.gfile.GFile(self._paths.metrics, "a") as file:
                file.write(json.dumps({"step": step, **figures}) + "\n")
            with self._events.as_default(step=step):
                for name, value in figures.items():
                    tf.summary.scalar(name, value)
            self._events.flush()

    def write_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Writes the distribution of `values`, of any shape, for TensorBoard."""
        with self._naming_full_disk():
            with self._events.as_default(step=step):
                tf.summary.histogram(name, values)
            self._events.flush()

    def write_pairs(self, step: int, views: np.ndarray) -> None:
        """Draws the clips of videos (`clip_sheet`) to `clip_pairs.png` and for TensorBoard."""
        sheet = clip_sheet(views)
        with self._naming_full_disk():
            write_png(self._paths.pairs, sheet)
            with self._events.as_default(step=step):
                tf.summary.image("clip_pairs", sheet[np.newaxis])
            self._events.flush()


def read_metrics(directory: str) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl`, none if it does not exist; skips an incomplete last line."""
    path = RunDirectory(directory).metrics
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path, "r") as file:
        lines = file.read().split("\n")
    return [json.loads(line) for line in lines[:-1]]


def clip_sheet(views: np.ndarray) -> np.ndarray:
    """Arranges the clips of videos as a contact sheet: a row for each clip, frames left to right.

    Args:
      views: (N, K, T, H, W, 3) float32 in [0, 1]; the K clips of a video become adjacent rows.

    Returns:
      (height, width, 3) uint8, with white gaps between frames and wider ones between videos.
    """
    num_videos, num_clips, num_frames, height, width, _ = views.shape
    video_height = num_clips * (height + GAP) + 2 * GAP
    sheet = np.full(
        (num_videos * video_height - 3 * GAP, num_frames * (width + GAP) - GAP, 3), 255, np.uint8
    )
    for video, view, frame in np.ndindex(num_videos, num_clips, num_frames):
        top, left = video * video_height + view * (height + GAP), frame * (width + GAP)
        pixels = np.round(views[video, view, frame] * 255.0)
        sheet[top : top + height, left : left + width] = pixels
    return sheet


def write_png(path: str, image: np.ndarray) -> None:
    """Writes an (H, W, 3) uint8 image as PNG, atomically."""
    files.write_atomically(path, tf.io.encode_png(image).numpy())
