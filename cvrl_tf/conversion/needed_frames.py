"""Some frames of video files, decoded in processes that may hang or die."""

import dataclasses
from collections.abc import Callable
from typing import Any

from cvrl_tf.conversion import frames
from cvrl_tf.conversion.attempt import attempt
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.state import Failure, Incident
from cvrl_tf.conversion.workers import Report


@dataclasses.dataclass(frozen=True)
class DecodedVideo:
    """The needed frames of a file.

    Attributes:
      entry: the file and its id.
      num_frames: frames of the video.
      jpegs: the needed frames, by their number.
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
        """The video as `records.parse` returns it; frames that are not needed are empty."""
        return {
            "frames": [self.jpegs.get(number, b"") for number in range(self.num_frames)],
            "label": -1 if self.entry.label is None else self.entry.label,
            "id": self.entry.video_id,
        }


@dataclasses.dataclass(frozen=True)
class DecodeJob:
    """Decodes some frames of one video file, as the conversion does; see `workers.Job`.

    Attributes:
      entry: the file and its id.
      settings: how frames are stored.
      needed: from the number of frames of the video to the numbers of the needed ones.
      incident: what an earlier process met at the file, if anything.
    """

    entry: Entry
    settings: frames.Settings
    needed: Callable[[int], set[int]]
    incident: Incident | None = None

    def run(self, report: Report) -> DecodedVideo:
        """Decodes the needed frames."""

        def decode() -> tuple[DecodedVideo, int, str]:
            video, damage = frames.read_needed_frames(
                self.entry, self.needed, self.settings, report.progress
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
