"""Writes catalog entries as TFRecord shards: resumable, with bad videos listed and skipped."""

import dataclasses
import hashlib
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cvrl_tf import files
from cvrl_tf.conversion import frames
from cvrl_tf.conversion.catalogs import Catalog, Entry
from cvrl_tf.conversion.frames import Settings
from cvrl_tf.conversion.job import ShardJob, writing_to
from cvrl_tf.conversion.sizes import estimate_shards
from cvrl_tf.conversion.state import Plan, State, differences
from cvrl_tf.conversion.summary import INFO_FILE, SplitStatistics, check_failures, write_summary
from cvrl_tf.conversion.workers import Executor
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress

MAX_FAILURES = 0.5


def convert(
    catalog: Catalog,
    output_dir: str,
    executor: Executor,
    *,
    settings: Settings = frames.DEFAULTS,
    num_shards: int | None = None,
    max_failures: int | float = MAX_FAILURES,
) -> dict[str, Any]:
    """Converts a data set: shards of each split, `labels.txt`, `dataset_info.json`, `failures.csv`.

    A split can take one call or several: what an earlier call with the same arguments finished is
    used again, whatever ended it, and the result is the same to the byte. Splits that other calls
    wrote into the directory stay, and stay listed. To have a shard made again, remove it.

    A video that cannot be converted is skipped and listed; so is one at which the process that
    decodes it hangs or, twice, dies. `failures.csv` also lists the videos that were kept although
    their file is damaged.

    Args:
      catalog: the videos of each split; ids are unique within a split.
      output_dir: where to write, local or remote; made if it does not exist.
      executor: decodes and writes: a `WorkerPool`, a `beam.BeamPipeline`, or `InProcess`.
      settings: which frames are kept, and how.
      num_shards: shards of each split; None for shards of some 150 MB, estimated from a sample.
      max_failures: how many videos of a split may fail: a count (int) or a fraction (float).

    Returns:
      The content of `dataset_info.json`.

    Raises:
      InputError: the directory holds another conversion, it cannot be written to, or too many
        videos failed. Shards that are complete by then stay.
    """
    files.load_file_systems(output_dir)
    state = State(output_dir)
    plans = {}
    for split, entries in catalog.splits.items():
        _check_entries(split, entries, num_shards)
        plans[split] = Plan.of(catalog, split, settings, num_shards)
    with writing_to(output_dir), state.locked():
        plans = {split: _agreed(state, plan) for split, plan in plans.items()}  # before any work
        state.remove_temporaries()
        try:
            with executor:
                for split, plan in plans.items():
                    _convert_split(state, plan, catalog.splits[split], settings, executor)
                    info = write_summary(state, catalog, settings)
        finally:
            state.remove_temporaries()
    for split in catalog.splits:
        check_failures(SplitStatistics(**info["splits"][split]), split, max_failures, output_dir)
    return info


def _check_entries(split: str, entries: Sequence[Entry], num_shards: int | None) -> None:
    if not re.fullmatch(r"\w+", split):
        raise InputError(f"Found split '{split}': expected letters, digits and underscores.")
    if not entries or (num_shards or 1) > len(entries):
        raise InputError(
            f"Found {len(entries)} videos for {num_shards or 1} shards of split '{split}':"
            " expected at least one for each; lower num_shards."
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
                f"output_dir={state.output_dir} holds split '{split}' of another conversion:"
                f" {'; '.join(different)}. Give what was given there to resume it, or choose"
                " another output_dir."
            )
    if plan.split in found:
        return found[plan.split]
    names = files.names_in(state.output_dir)
    shards = [name for name in names if re.fullmatch(rf"{plan.split}-\d+-of-\d+", name)]
    if shards or (INFO_FILE in names and not found):
        raise InputError(
            f"output_dir={state.output_dir} already holds {shards[0] if shards else INFO_FILE},"
            " which this tool did not write there: choose another."
        )
    return plan


def _convert_split(
    state: State,
    plan: Plan,
    entries: Sequence[Entry],
    settings: Settings,
    executor: Executor,
) -> None:
    # In the order of a hash: shuffled, and the same wherever and in whatever order they were found.
    shuffled = sorted(entries, key=lambda entry: hashlib.sha256(entry.video_id.encode()).digest())
    if plan.num_shards is None:
        num_shards = estimate_shards(shuffled, settings, plan.split, executor.local)
        plan = dataclasses.replace(plan, num_shards=num_shards)
    state.write_plan(plan)
    jobs, finished = [], []
    for index in range(plan.num_shards or 0):
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
    videos = sum(report.videos + report.skipped for report in finished)
    with Progress(f"converting {plan.split}", len(entries), "video", initial=videos) as progress:
        size, failures = 0, sum(report.skipped for report in finished)
        start = time.monotonic()

        def on_progress(videos: int, more_bytes: int, more_failures: int) -> None:
            nonlocal size, failures
            size, failures = size + more_bytes, failures + more_failures
            seconds = max(time.monotonic() - start, 1e-3)
            state.check_held()
            progress.update(videos, **{"MB/s": size / 1e6 / seconds, "failures": failures})

        executor.run(jobs, on_progress)
        state.check_held()
