"""Summarises a conversion from the reports of its shards: info, labels and failures files."""

import csv
import dataclasses
import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import cvrl_tf
from cvrl_tf import files
from cvrl_tf.conversion.catalogs import Catalog
from cvrl_tf.conversion.frames import Settings
from cvrl_tf.conversion.state import Plan, ShardReport, State
from cvrl_tf.data import index_file
from cvrl_tf.data.index_file import DescribedRecord, ShardTable
from cvrl_tf.data.lookup import FAILURES_FILE, INFO_FILE, LABELS_FILE
from cvrl_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """What the shards of a split hold, as `dataset_info.json` lists it.

    Attributes:
      videos, frames: in the shards.
      bytes: size of the files.
      shards: files; fewer than their names say where a shard has no video left.
      videos_per_class: by class name; empty when unlabelled.
      failures: videos without a record, by reason.
      damaged: videos that were kept although their file is damaged.
    """

    videos: int
    frames: int
    bytes: int
    shards: int
    videos_per_class: dict[str, int]
    failures: dict[str, int]
    damaged: int


def write_summary(state: State, catalog: Catalog, settings: Settings) -> dict[str, Any]:
    """Writes the three files about all finished splits, and their index files, from the reports.

    Args:
      state: of the output directory; its splits may be of several catalogs.
      catalog: one of them: all have its name and classes.
      settings: of all of them.

    Returns:
      The content of `dataset_info.json`.
    """
    splits, rows = {}, []
    for split, plan in state.plans().items():
        found = [state.report(plan.shard(index)) for index in range(plan.num_shards or 0)]
        reports = [report for report in found if report is not None]
        if len(reports) < len(found):
            continue
        _write_index(state.output_dir, plan, reports)
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
            {"split": split} | failure.row()
            for failure in sorted(failures, key=lambda failure: failure.video_id)
        ]
    info = {
        "version": cvrl_tf.__version__,
        "dataset": catalog.dataset,
        "parameters": dataclasses.asdict(settings),
        "classes": list(catalog.classes),
        "splits": {split: dataclasses.asdict(held) for split, held in splits.items()},
    }
    table = io.StringIO()
    columns = ["split", "video_id", "path", "reason", "frames_recovered", "kept"]
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    contents = {FAILURES_FILE: table.getvalue()}
    if catalog.classes:
        contents[LABELS_FILE] = "".join(f"{name}\n" for name in catalog.classes)
    contents[INFO_FILE] = files.json_text(info)
    for name, content in contents.items():
        files.write_if_changed(os.path.join(state.output_dir, name), content)
    return info


def _write_index(output_dir: str, plan: Plan, reports: Sequence[ShardReport]) -> None:
    """Writes the index of the shards of a split, from their reports in the order of the shards."""
    tables = {
        plan.shard(number): ShardTable.of([DescribedRecord(*record) for record in report.index])
        for number, report in enumerate(reports)
        if report.index
    }
    if tables:
        index_file.write(index_file.path_of(output_dir, plan.split), tables)


def check_failures(
    held: SplitStatistics, split: str, max_failures: int | float, output_dir: str
) -> None:
    """Raises InputError when more videos of a split failed than allowed, or all of them.

    Args:
      held: what the shards of the split hold.
      split: its name.
      max_failures: a count (int), or a fraction of the videos (float).
      output_dir: of the conversion.
    """
    failed = sum(held.failures.values())
    total = held.videos + failed
    allowed = max_failures if isinstance(max_failures, int) else math.floor(max_failures * total)
    if held.videos and failed <= allowed:
        return
    reasons = ", ".join(f"{name}: {count}" for name, count in Counter(held.failures).most_common(5))
    listed = os.path.join(output_dir, FAILURES_FILE)
    if not held.videos:
        raise InputError(
            f"None of the {total} videos of split '{split}' could be converted ({reasons}):"
            f" {listed} lists them. Fix what it names and convert into another output_dir."
        )
    raise InputError(
        f"{failed} of the {total} videos of split '{split}' could not be converted ({reasons}),"
        f" more than max_failures={max_failures}: {listed} lists them, and the other"
        f" {held.videos} are converted. Fix them and convert into another output_dir, or run"
        " again with a higher max_failures to accept this."
    )
