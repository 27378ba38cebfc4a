"""Video files to the frames that an evaluation needs, in processes that may hang or die."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from cvrl_tf.conversion import frames
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.needed_frames import DecodeJob
from cvrl_tf.conversion.state import Failure
from cvrl_tf.conversion.workers import InProcess, WorkerPool
from cvrl_tf.evaluation.views import EvaluationViews

_AHEAD = 4  # videos of each process, decoded or begun before they are used


class Decoding:
    """Decodes video files ahead of their use; the memory of those ahead is bounded.

    Args:
      entries: the files.
      views: the views that are taken of each; the shorter side is stored with at least their size.
      executor: runs the jobs, entered by the caller.
      on_failure: called, in another thread, with what is wrong with a file.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        views: EvaluationViews,
        executor: WorkerPool | InProcess,
        on_failure: Callable[[Failure], None],
    ):
        self._entries, self._views, self._executor = entries, views, executor
        self._on_failure = on_failure
        self._error: Exception | None = None

    def dataset(self) -> tf.data.Dataset:
        """The usable videos in the order of the entries, as `records.parse` returns them.

        It ends early at an error that is not the fault of a video; `check` raises it.
        """
        strings, number = tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.int64)
        return tf.data.Dataset.from_generator(
            self._elements,
            output_signature={
                "frames": strings,
                "label": number,
                "id": tf.TensorSpec([], tf.string),
            },
        )

    def check(self) -> None:
        """Raises the error that ended the dataset, if one did."""
        if self._error:
            raise self._error

    def _elements(self) -> Iterator[dict[str, Any]]:
        settings = settings_of(self._views)
        jobs = (DecodeJob(entry, settings, self._views.frame_numbers) for entry in self._entries)
        ahead = _AHEAD * self._executor.count
        try:
            for video in self._executor.results(jobs, lambda *counts: None, ahead):
                if video.failure:
                    self._on_failure(video.failure)
                if video.usable:
                    yield video.element()
        except Exception as error:  # TensorFlow would wrap it
            self._error = error


def settings_of(views: EvaluationViews) -> frames.Settings:
    """How the frames of files are stored for views: as in a conversion, but not too small."""
    return frames.Settings(short_side=max(frames.SHORT_SIDE, views.clip.size))
