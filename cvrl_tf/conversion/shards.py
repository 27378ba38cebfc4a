"""Writes catalog entries as TFRecord shards: resumable, with bad videos listed and left out."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

import cvrl_tf
from cvrl_tf import files
from cvrl_tf.conversion import frames
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.frames import Settings, VideoError
from cvrl_tf.conversion.state import Failure, Incident, Plan, ShardReport, State, differences
from cvrl_tf.conversion.workers import TIMEOUT, InProcess, Report, WorkerPool
from cvrl_tf.data import records
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress

INFO_FILE = "dataset_info.json"
LABELS_FILE = "labels.txt"
FAILURES_FILE = "failures.csv"
SHARD_BYTES = 150e6
MAX_FAILURES = 0.5
# Videos that the default number of shards is estimated from.
_SAMPLE = 48


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """What the shards of a split hold, as `dataset_info.json` lists it.

    Attributes:
      videos, frames: in the shards.
      bytes: size of the files.
      shards: files; fewer than their names say where a shard has no video left.
      videos_per_class: by class name; empty when unlabelled.
      failures: videos left out, by reason.
      damaged: videos that were kept although their file is damaged.
    """

    videos: int
    frames: int
    bytes: int
    shards: int
    videos_per_class: dict[str, int]
    failures: dict[str, int]
    damaged: int


def convert(
    splits: Mapping[str, Sequence[Entry]],
    classes: Sequence[str],
    output_dir: str,
    *,
    dataset: str,
    settings: Settings = frames.DEFAULTS,
    num_shards: int | None = None,
    max_failures: int | float = MAX_FAILURES,
    workers: int | None = None,
    timeout: float = TIMEOUT,
    runner: str = "",
    runner_arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Converts a data set: shards of each split, `labels.txt`, `dataset_info.json`, `failures.csv`.

    A split is a call's or many calls' work: what an earlier call with the same arguments finished
    is used again, whatever ended it, and the result is the same to the byte. Splits that other
    calls wrote into the directory stay, and stay listed. To have a shard made again, remove it.

    A video that cannot be converted is left out and listed; so is one at which the process that
    decodes it hangs (`timeout`) or, twice, dies. `failures.csv` also lists the videos that were
    kept although their file is damaged.

    Args:
      splits: the entries of each split; ids are unique within a split.
      classes: class names in the order of their labels; none when unlabelled.
      output_dir: where to write, local or remote; made if need be.
      dataset: name of the data set, for `dataset_info.json`.
      settings: which frames are kept, and how.
      num_shards: shards of each split; None for shards of some 150 MB, estimated from a sample.
      max_failures: how many videos of a split may fail: a count (int) or a fraction (float).
      workers: processes; None for one for each core; 0 for this process, without a guard against
        decoders that hang or crash. With processes, the caller's module must be importable without
        side effects.
      timeout: seconds that decoding may go without a frame.
      runner: name of an Apache Beam runner to convert on a cluster; empty for `workers`.
      runner_arguments: of the runner, such as "--project=...".

    Returns:
      The content of `dataset_info.json`.

    Raises:
      InputError: what is in the directory does not go with this call, it cannot be written to, or
        too many videos failed. Shards that are complete by then stay.
    """
    files.load_file_systems(output_dir)
    state = State(output_dir)
    plans = {}
    for split, entries in splits.items():
        _check_entries(split, entries, num_shards)
        plans[split] = Plan.of(split, entries, classes, dataset, settings, num_shards)
    local = InProcess() if workers == 0 else WorkerPool(workers, timeout)
    executor = _beam_pipeline(runner, runner_arguments, timeout) if runner else local
    with _writing_to(output_dir), state.locked():
        plans = {split: _agreed(state, plan) for split, plan in plans.items()}  # before any work
        state.remove_temporaries()
        try:
            with local:
                for split, plan in plans.items():
                    _convert_split(state, plan, splits[split], settings, local, executor)
                    info = _write_summary(state, dataset, classes, settings)
        finally:
            state.remove_temporaries()
    for split in splits:
        _check_failures(SplitStatistics(**info["splits"][split]), split, max_failures, output_dir)
    return info


@contextlib.contextmanager
def _writing_to(output_dir: str) -> Iterator[None]:
    """Turns the errors of a full or forbidden directory into one sentence."""
    try:
        yield
    except BrokenPipeError:  # of the progress
        raise
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
        reason = reason.rpartition("; ")[2]  # TensorFlow puts the path of a temporary before it
        raise InputError(
            f"Cannot write to --output_dir={output_dir} ({reason}): check that it may be written"
            " to and that the disk has space, then run the same command again; finished shards"
            " are kept."
        ) from None


def _check_entries(split: str, entries: Sequence[Entry], num_shards: int | None) -> None:
    if not re.fullmatch(r"\w+", split):
        raise InputError(f"Found split '{split}': expected letters, digits and underscores.")
    if not entries or (num_shards or 1) > len(entries):
        raise InputError(
            f"Found {len(entries)} videos for {num_shards or 1} shards of split '{split}':"
            " expected at least one for each; lower --num_shards."
        )
    repeated = [name for name, n in Counter(entry.video_id for entry in entries).items() if n > 1]
    if repeated:
        raise InputError(
            f"Split '{split}' has {len(repeated)} videos more than once (first: {repeated[0]}):"
            " expected each once."
        )


def _agreed(state: State, plan: Plan) -> Plan:
    """The plan of an earlier call if there is one, after a check that all goes with `plan`."""
    found = state.plans()
    for split, other in found.items():
        names = ["dataset", "classes", "parameters"]
        if split == plan.split:
            names += ["version", "num_shards", "num_videos", "video_ids", "paths", "labels"]
        different = differences(other, plan, names)
        if different:
            raise InputError(
                f"--output_dir={state.output_dir} holds split '{split}' of another conversion:"
                f" {'; '.join(different)}. Give what was given there to go on with it, or choose"
                " another --output_dir."
            )
    if plan.split in found:
        return found[plan.split]
    names = files.names_in(state.output_dir)
    shards = [name for name in names if re.fullmatch(rf"{plan.split}-\d+-of-\d+", name)]
    if shards or (INFO_FILE in names and not found):
        raise InputError(
            f"--output_dir={state.output_dir} already holds {shards[0] if shards else INFO_FILE},"
            " which this tool did not write there: choose another."
        )
    return plan


def _convert_split(
    state: State,
    plan: Plan,
    entries: Sequence[Entry],
    settings: Settings,
    local: WorkerPool | InProcess,
    executor: Any,
) -> None:
    # In the order of a hash: shuffled, and the same wherever and in whatever order they were found.
    shuffled = sorted(entries, key=lambda entry: hashlib.sha256(entry.video_id.encode()).digest())
    if plan.num_shards is None:
        num_shards = _estimate_shards(shuffled, settings, plan.split, local)
        plan = dataclasses.replace(plan, num_shards=num_shards)
    state.write_plan(plan)
    jobs, finished = [], []
    for index in range(plan.num_shards):
        shard, part = plan.shard(index), shuffled[index :: plan.num_shards]
        report = state.report(shard)
        if report is None:
            jobs.append(ShardJob(state.output_dir, shard, part, settings, state.incidents(shard)))
        else:
            finished.append(report)
    if not jobs:
        print(
            f"{state.output_dir} holds all {len(finished)} shards of split '{plan.split}':"
            " nothing to do",
            file=sys.stderr,
        )
        return
    videos = sum(report.videos + report.left_out for report in finished)
    with Progress(f"converting {plan.split}", len(entries), "video", initial=videos) as progress:
        size, failures = 0, sum(report.left_out for report in finished)
        start = time.monotonic()

        def on_progress(videos: int, more_bytes: int, more_failures: int) -> None:
            nonlocal size, failures
            size, failures = size + more_bytes, failures + more_failures
            seconds = max(time.monotonic() - start, 1e-3)
            progress.update(videos, **{"MB/s": size / 1e6 / seconds, "failures": failures})

        executor.run(jobs, on_progress)


def _beam_pipeline(runner: str, arguments: Sequence[str], timeout: float) -> Any:
    try:
        from cvrl_tf.conversion.beam import BeamPipeline
    except ImportError as error:
        raise InputError(
            f"--runner={runner} needs Apache Beam ({error}): run pip install -r requirements.txt"
            " 'cvrl-tf[beam]', one command for all, which finds versions that go together."
        ) from None
    return BeamPipeline(runner, arguments, timeout)


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
        num_frames, names, failures = 0, Counter(), []
        with _writing_to(self.output_dir):
            try:
                with tf.io.TFRecordWriter(temporary) as writer:
                    for index, entry in enumerate(self.entries):
                        report.start(index)
                        record, count, failure = self._read(entry, report)
                        report.decoded()
                        if failure is not None:
                            failures.append(failure)
                        if record is not None:
                            writer.write(record)
                            num_frames += count
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
            del names[None]
            per_class = dict(sorted(names.items()))
            state.write_report(
                self.shard, ShardReport(videos, num_frames, size, per_class, failures)
            )

    def _read(self, entry: Entry, report: Report) -> tuple[bytes | None, int, Failure | None]:
        """The record of a video and its number of frames, and what was wrong with its file."""

        def failure(reason: str, detail: str = "", count: int = 0, kept: bool = False) -> Failure:
            return Failure(entry.video_id, entry.path, reason, detail, count, kept)

        incident = self.incidents.get(entry.video_id)
        if incident is not None and incident.final:
            return None, 0, failure(incident.reason)
        try:
            video, damage = frames.read_video(entry, self.settings, report.progress)
            count = len(video.frames)
            damaged = failure("damaged", damage, count, kept=True) if damage else None
            return records.serialize(video), count, damaged
        except VideoError as error:
            return None, 0, failure(error.reason, error.detail, error.frames)
        except InputError:  # of what the video needs, not of the video
            raise
        except Exception as error:  # one bad file must not end the run, whatever it brings about
            return None, 0, failure("unexpected error", f"{type(error).__name__}: {error}")

    def finished(self) -> tuple[int, int, int] | None:
        """Videos dealt with, bytes and failures of the shard, if it is there."""
        report = State(self.output_dir).report(self.shard)
        if report is None:
            return None
        return report.videos + report.left_out, report.bytes, report.left_out

    def after(self, video: int, reason: str, final: bool) -> "ShardJob":
        """See `workers.Job`. The second death at a video is the last."""
        video_id = self.entries[video].video_id
        incident = Incident(reason, final or video_id in self.incidents)
        incidents = {**self.incidents, video_id: incident}
        State(self.output_dir).write_incidents(self.shard, incidents)
        return dataclasses.replace(self, incidents=incidents)


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
            with contextlib.suppress(Exception):  # the conversion itself tells what is wrong
                size = frames.estimate_bytes(self.entry, self.settings, report.progress)
        report.done(0, False)
        return size

    def after(self, video: int, reason: str, final: bool) -> "_SizeJob":
        return dataclasses.replace(self, hopeless=True)


def _estimate_shards(
    shuffled: Sequence[Entry], settings: Settings, split: str, executor: WorkerPool | InProcess
) -> int:
    """How many shards of some 150 MB a split will have."""
    jobs = [_SizeJob(entry, settings) for entry in shuffled[:_SAMPLE]]
    with Progress(f"converting {split}, first a sample for its size", len(jobs), "video") as bar:
        sizes = executor.run(jobs, lambda videos, *unused: bar.update(videos))
    total = sum(size or 0 for size in sizes) / len(sizes) * len(shuffled)
    return min(max(1, round(total / SHARD_BYTES)), len(shuffled))


def _write_summary(
    state: State, dataset: str, classes: Sequence[str], settings: Settings
) -> dict[str, Any]:
    """Writes what is told of all finished splits, from the reports of their shards."""
    splits, rows = {}, []
    for split, plan in state.plans().items():
        reports = [state.report(plan.shard(index)) for index in range(plan.num_shards)]
        if None in reports:
            continue
        failures = [failure for report in reports for failure in report.failures]
        names = sum((Counter(report.videos_per_class) for report in reports), Counter())
        reasons = Counter(failure.reason for failure in failures if not failure.kept)
        splits[split] = SplitStatistics(
            videos=sum(report.videos for report in reports),
            frames=sum(report.frames for report in reports),
            bytes=sum(report.bytes for report in reports),
            shards=sum(report.videos > 0 for report in reports),
            videos_per_class=dict(sorted(names.items())),
            failures=dict(sorted(reasons.items())),
            damaged=sum(failure.kept for failure in failures),
        )
        rows += [
            {
                "split": split,
                "video_id": failure.video_id,
                "path": failure.path,
                "reason": failure.reason + (f": {failure.detail}" if failure.detail else ""),
                "frames_recovered": failure.frames_recovered,
                "kept": "yes" if failure.kept else "no",
            }
            for failure in sorted(failures, key=lambda failure: failure.video_id)
        ]
    info = {
        "version": cvrl_tf.__version__,
        "dataset": dataset,
        "parameters": dataclasses.asdict(settings),
        "classes": list(classes),
        "splits": {split: dataclasses.asdict(held) for split, held in splits.items()},
    }
    table = io.StringIO()
    columns = ["split", "video_id", "path", "reason", "frames_recovered", "kept"]
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    contents = {FAILURES_FILE: table.getvalue()}
    if classes:
        contents[LABELS_FILE] = "".join(f"{name}\n" for name in classes)
    contents[INFO_FILE] = files.json_text(info)
    for name, content in contents.items():
        files.write_if_changed(os.path.join(state.output_dir, name), content)
    return info


def _check_failures(
    held: SplitStatistics, split: str, max_failures: int | float, output_dir: str
) -> None:
    failed = sum(held.failures.values())
    total = held.videos + failed
    allowed = max_failures if isinstance(max_failures, int) else math.floor(max_failures * total)
    if held.videos and failed <= allowed:
        return
    reasons = ", ".join(f"{name}: {count}" for name, count in Counter(held.failures).most_common(5))
    raise InputError(
        f"{failed} of the {total} videos of split '{split}' could not be converted ({reasons}),"
        f" more than --max_failures={max_failures}: {os.path.join(output_dir, FAILURES_FILE)} lists"
        f" them, and the other {held.videos} are converted. Mend them and convert into another"
        " --output_dir, or run again with a higher --max_failures to accept this."
    )
