"""The job of writing one shard: the same bytes whenever and wherever it runs."""

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.conversion import frames
from cvrl_tf.conversion.attempt import attempt
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.frames import Settings, VideoError, VideoTooLongError
from cvrl_tf.conversion.state import Failure, Incident, ShardReport, State
from cvrl_tf.conversion.workers import Report
from cvrl_tf.data import index_file, records
from cvrl_tf.data.index_file import DescribedRecord
from cvrl_tf.errors import InputError


@contextlib.contextmanager
def writing_to(output_dir: str) -> Iterator[None]:
    """Turns the errors of a full or forbidden directory into one sentence."""
    try:
        yield
    except BrokenPipeError:  # of the progress
        raise
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
        reason = reason.rpartition("; ")[2]  # TensorFlow puts the path of a temporary before it
        raise InputError(
            f"Cannot write to output_dir={output_dir} ({reason}): check that it may be written"
            " to and that the disk has space, then run the same command again; finished shards"
            " are kept."
        ) from None


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """Writes one shard and its report; the same bytes whenever and wherever it runs.

    Attributes:
      output_dir: where to.
      shard: its name.
      entries: its videos, in their order.
      settings: which frames are kept, and how.
      incidents: videos at which a process that did this job hung or died, by id.
    """

    output_dir: str
    shard: str
    entries: Sequence[Entry]
    settings: Settings
    incidents: Mapping[str, Incident]

    def run(self, report: Report) -> None:
        """See `workers.Job`.

        Raises:
          InputError: the shard cannot be written.
        """
        files.load_file_systems(self.output_dir)
        state = State(self.output_dir)
        path = os.path.join(self.output_dir, self.shard)
        temporary = state.temporary(self.shard)
        num_frames = 0
        names: Counter[str | None] = Counter()
        failures, described = [], []
        with writing_to(self.output_dir):
            try:
                with tf.io.TFRecordWriter(temporary) as writer:
                    for index, entry in enumerate(self.entries):
                        report.start(index)
                        record, about, failure = self._read(entry, report)
                        report.decoded()
                        if failure is not None:
                            failures.append(failure)
                        if record is not None and about is not None:
                            writer.write(record)
                            described.append((about.id, about.values))
                            num_frames += about.num_frames
                            names[entry.label_name] += 1
                        report.done(len(record or b""), record is None)
                if names:
                    size = tf.io.gfile.stat(temporary).length
                    tf.io.gfile.rename(temporary, path, overwrite=True)
                else:  # readers take an empty file for a damaged one
                    size = 0
            finally:
                if tf.io.gfile.exists(temporary):
                    tf.io.gfile.remove(temporary)
            videos = names.total()
            per_class = {name: names[name] for name in sorted(filter(None, names))}
            state.write_report(
                self.shard, ShardReport(videos, num_frames, size, per_class, failures, described)
            )

    def _read(
        self, entry: Entry, report: Report
    ) -> tuple[bytes | None, DescribedRecord | None, Failure | None]:
        """The record of a video, what an index holds of it, and what was wrong with its file."""

        def decode() -> tuple[tuple[bytes, DescribedRecord], int, str]:
            try:
                video, damage = frames.read_video(entry, self.settings, report.progress)
            except VideoTooLongError as error:
                detail = f"{error.detail}: lower max_seconds, fps or short_side to keep it"
                raise VideoError(entry.path, error.reason, detail, error.frames) from None
            record = records.serialize(video)
            about = index_file.describe(record, video.frames)
            return (record, about), len(video.frames), damage

        value, failure = attempt(entry, self.incidents.get(entry.video_id), decode)
        return *(value or (None, None)), failure

    def finished(self) -> tuple[int, int, int] | None:
        """Videos dealt with, bytes and failures of the shard, if it is there."""
        report = State(self.output_dir).report(self.shard)
        if report is None:
            return None
        return report.videos + report.skipped, report.bytes, report.skipped

    def after(self, video: int, reason: str, final: bool) -> "ShardJob":
        """See `workers.Job`. The second death at a video is the last."""
        video_id = self.entries[video].video_id
        incident = Incident(reason, final or video_id in self.incidents)
        incidents = {**self.incidents, video_id: incident}
        State(self.output_dir).write_incidents(self.shard, incidents)
        return dataclasses.replace(self, incidents=incidents)
