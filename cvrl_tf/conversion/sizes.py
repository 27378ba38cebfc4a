"""The default number of shards of a split, estimated from a sample of its videos."""

import contextlib
import dataclasses
from collections.abc import Sequence

from cvrl_tf.conversion import frames
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.frames import Settings
from cvrl_tf.conversion.workers import Executor, Report
from cvrl_tf.progress import Progress

SHARD_BYTES = 150e6
# Videos that the default number of shards is estimated from.
_SAMPLE = 48


@dataclasses.dataclass(frozen=True)
class _SizeJob:
    """Estimates the size of one video's record; None where it has none."""

    entry: Entry
    settings: Settings
    hopeless: bool = False

    def run(self, report: Report) -> float | None:
        size = None
        if not self.hopeless:
            report.start(0)
            with contextlib.suppress(Exception):  # the conversion itself names what is wrong
                size = frames.estimate_bytes(self.entry, self.settings, report.progress)
        report.done(0, False)
        return size

    def after(self, video: int, reason: str, final: bool) -> "_SizeJob":
        return dataclasses.replace(self, hopeless=True)


def estimate_shards(
    shuffled: Sequence[Entry], settings: Settings, split: str, executor: Executor
) -> int:
    """How many shards of some 150 MB a split will have."""
    jobs = [_SizeJob(entry, settings) for entry in shuffled[:_SAMPLE]]
    with Progress(f"converting {split}, first a sample for its size", len(jobs), "video") as bar:
        sizes = executor.run(jobs, lambda videos, *unused: bar.update(videos))
    total = sum(size or 0 for size in sizes) / len(sizes) * len(shuffled)
    return min(max(1, round(total / SHARD_BYTES)), len(shuffled))
