"""Video files to the frames that an evaluation needs, in processes that may hang or die."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from cvrl_tf.conversion import frames
from cvrl_tf.conversion.attempt import attempt
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.state import Failure, Incident
from cvrl_tf.conversion.workers import InProcess, Report, WorkerPool
from cvrl_tf.evaluation.views import EvaluationViews

_AHEAD = 4  # videos of each process, decoded or begun before they are used


@dataclasses.dataclass(frozen=True)
class DecodedVideo:
    """What a file gave.

    Attributes:
      entry: the file and its id.
      num_frames: frames of the video.
      jpegs: the frames that the views need, by their number.
      failure: what is wrong with the file; None if nothing is.
    """

    entry: Entry
    num_frames: int
    jpegs: dict[int, bytes]
    failure: Failure | None

    @property
    def usable(self) -> bool:
        """Whether there are frames to evaluate."""
        return self.num_frames > 0

    def element(self) -> dict[str, Any]:
        """The video as `records.parse` returns it; frames that no view takes are empty."""
        return {
            "frames": [self.jpegs.get(number, b"") for number in range(self.num_frames)],
            "label": -1 if self.entry.label is None else self.entry.label,
            "id": self.entry.video_id,
        }


@dataclasses.dataclass(frozen=True)
class DecodeJob:
    """Decodes one video file, as the conversion does; see `workers.Job`."""

    entry: Entry
    settings: frames.Settings
    views: EvaluationViews
    incident: Incident | None = None

    def run(self, report: Report) -> DecodedVideo:
        """Decodes the frames that the views need."""

        def decode() -> tuple[DecodedVideo, int, str]:
            video, damage = frames.read_needed_frames(
                self.entry, self.views.frame_numbers, self.settings, report.progress
            )
            jpegs = {number: jpeg for number, jpeg in enumerate(video.frames) if jpeg}
            count = len(video.frames)
            return DecodedVideo(self.entry, count, jpegs, None), count, damage

        report.start(0)
        video, failure = attempt(self.entry, self.incident, decode)
        report.decoded()
        video = dataclasses.replace(video or DecodedVideo(self.entry, 0, {}, None), failure=failure)
        report.done(sum(map(len, video.jpegs.values())), not video.usable)
        return video

    def after(self, video: int, reason: str, final: bool) -> "DecodeJob":
        """The second death at the video is the last."""
        incident = Incident(reason, final or self.incident is not None)
        return dataclasses.replace(self, incident=incident)


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
        jobs = (DecodeJob(entry, settings, self._views) for entry in self._entries)
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
