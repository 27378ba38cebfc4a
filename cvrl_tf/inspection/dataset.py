"""Checks that shards agree with each other and with what a conversion has written beside them."""

import csv
import dataclasses
import io
import itertools
import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.conversion import twins
from cvrl_tf.conversion.summary import FAILURES_FILE, INFO_FILE, LABELS_FILE
from cvrl_tf.conversion.workers import InProcess, WorkerPool
from cvrl_tf.data import lookup
from cvrl_tf.data.index_file import ShardTable
from cvrl_tf.errors import reason
from cvrl_tf.inspection.shards import InspectedVideo, InspectionJob, Problem, ShardResult
from cvrl_tf.progress import Progress


@dataclasses.dataclass
class Split:
    """The shards `{directory}/{name}-00000-of-00010` and so on, and what they hold."""

    directory: str
    name: str
    paths: list[str] = dataclasses.field(default_factory=list)
    num_bytes: int = 0
    videos: list[InspectedVideo] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Inspection:
    """What an inspection found.

    Attributes:
      splits: by directory; "train" first, then in the order of their names.
      classes: class names by label, as far as they are known.
      problems: all that is wrong, in the order of the shards; then of the data set as a whole.
      failures: the rows of `failures.csv`, beside the shards, of videos without a record.
      damaged: its rows of videos that were kept although their files are damaged.
      notes: on nearly equal videos in two splits, which may be on purpose.
      tables: what an index holds of each shard, by path; None of one that is not whole.
    """

    splits: list[Split]
    classes: dict[int, str]
    problems: list[Problem]
    failures: list[dict[str, str]]
    damaged: list[dict[str, str]]
    notes: list[str] = dataclasses.field(default_factory=list)
    tables: dict[str, ShardTable | None] = dataclasses.field(default_factory=dict, compare=False)


def find_shards(pattern: str) -> list[str]:
    """The shards that a glob pattern matches, or that a directory holds.

    Raises:
      InputError: as `lookup.find_shards`.
    """
    files.load_file_systems(pattern)
    if tf.io.gfile.isdir(pattern):
        pattern = os.path.join(pattern, "*-of-*")
    return lookup.find_shards(pattern)


def inspect(
    paths: Sequence[str], *, frames_per_video: int = 0, workers: int | None = None
) -> Inspection:
    """Checks shards, each of their records, and what a conversion has written beside them.

    Checked are checksums, the layout, sizes, timestamps, that frames decode, that ids are unique,
    and that labels and counts agree with `labels.txt` and `dataset_info.json`. A bad record does
    not stop it. Index files are checked by `indexes.check`.

    Args:
      paths: shards.
      frames_per_video: how many frames of each video to decode, evenly spaced; 0 for all. The
        sizes of all frames are checked.
      workers: processes; None for one for each core; 0 for this process, without a guard against
        records that crash a decoder.
    """
    splits: dict[tuple[str, str], Split] = {}
    problems: list[Problem] = []
    tables: dict[str, ShardTable | None] = {}
    jobs = [InspectionJob(path, frames_per_video) for path in paths]
    for result in _run(jobs, workers):
        directory, file_name = os.path.split(result.path)
        name = re.sub(r"-\d+-of-\d+$", "", file_name)
        held = splits.setdefault((directory, name), Split(directory, name))
        held.paths.append(result.path)
        held.num_bytes += result.num_bytes
        held.videos += result.videos
        problems += result.problems
        tables[result.path] = result.table
    ordered = sorted(splits, key=lambda key: (key[0], key[1] != "train", key[1]))
    found = [splits[key] for key in ordered]
    inspection = Inspection(found, {}, problems, [], [], tables=tables)
    for directory in sorted({split.directory for split in inspection.splits}):
        _check_directory(directory, inspection)
    for split in inspection.splits:
        _check_ids(split, problems)
    _check_overlap(inspection.splits, problems)
    for one, other in itertools.combinations(inspection.splits, 2):
        inspection.notes += _twins_note(one, other)
    return inspection


def _run(jobs: Sequence[InspectionJob], workers: int | None) -> list[ShardResult]:
    executor = InProcess() if workers == 0 else WorkerPool(workers)
    start, size, damaged = time.monotonic(), 0, 0
    with executor, Progress("inspecting", len(jobs), "shard") as progress:

        def on_progress(shards: int, num_bytes: int, with_problems: int) -> None:
            nonlocal size, damaged
            size, damaged = size + num_bytes, damaged + with_problems
            speed = size / 1e6 / max(time.monotonic() - start, 1e-3)
            progress.update(shards, **{"MB/s": speed, "with_problems": damaged})

        return executor.run(jobs, on_progress)


def _check_directory(directory: str, inspection: Inspection) -> None:
    """Compares the splits of a directory with what a conversion has written beside them."""
    splits = [split for split in inspection.splits if split.directory == directory]
    problems = inspection.problems
    info_path = os.path.join(directory, INFO_FILE)
    info: Mapping[str, Any] = {}
    text = _read_text(info_path, problems)
    if text is not None:
        try:
            info = json.loads(text)
            info["splits"].items()
        except (ValueError, KeyError, TypeError, AttributeError):
            info = {}
            problems.append(
                Problem(info_path, None, None, "the file is not as a conversion writes it")
            )
    classes = info.get("classes")
    labels_path = os.path.join(directory, LABELS_FILE)
    text = _read_text(labels_path, problems)
    if text is not None:
        lines = text.splitlines()
        if classes is not None and lines != classes:
            text = f"its {len(lines)} classes are not the {len(classes)} of {INFO_FILE}"
            problems.append(Problem(labels_path, None, None, text))
        classes = lines
    known = None if classes is None else dict(enumerate(classes))
    for split in splits:
        _check_labels(split, known, inspection)
        listed = info["splits"].get(split.name) if info else None
        num_listed = listed.get("shards") if isinstance(listed, Mapping) else None
        complete = _check_shard_names(split, num_listed, problems)
        if info and complete:
            _check_counts(split, listed, info_path, problems)
    for row in _read_failures(os.path.join(directory, FAILURES_FILE), problems):
        (inspection.damaged if row.get("kept") == "yes" else inspection.failures).append(row)


def _read_text(path: str, problems: list[Problem]) -> str | None:
    """The text of a file; None where it does not exist, or, with a problem, cannot be read."""
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read().decode(errors="replace")
    except tf.errors.OpError as error:
        text = f"the file cannot be read ({reason(error).rpartition('; ')[2]})"
        problems.append(Problem(path, None, None, text))
        return None


def _check_labels(split: Split, classes: dict[int, str] | None, inspection: Inspection) -> None:
    """Checks labels against the class names, or where none are given, against each other."""
    if classes is not None:
        inspection.classes.update(classes)
    for video in split.videos:
        if video.label is None:
            continue
        if classes is None:
            name = video.label_name or ""
            expected: str | None = inspection.classes.setdefault(video.label, name)
        else:
            expected = classes.get(video.label)
        text = None
        if expected is None:
            text = f"the label is {video.label}, expected 0 to {len(classes or ()) - 1}"
        elif video.label_name is not None and video.label_name != expected:
            text = f"the label {video.label} is named {video.label_name!r}, expected {expected!r}"
        if text:
            inspection.problems.append(Problem(video.path, video.record, video.video_id, text))


def _check_shard_names(split: Split, num_listed: int | None, problems: list[Problem]) -> bool:
    """Checks that all shards of a split are there; returns whether all were inspected.

    Args:
      split: to check.
      num_listed: how many there are by `dataset_info.json`: a conversion writes no shard where all
        videos of one failed.
      problems: to add to.
    """
    names = {os.path.basename(path) for path in split.paths}
    totals = {
        int(match[1]) for match in (re.search(r"-of-(\d+)$", name) for name in names) if match
    }
    if not totals:
        return True
    place = os.path.join(split.directory, f"{split.name}-*")
    if len(totals) > 1:
        found = " and ".join(str(total) for total in sorted(totals))
        text = f"shards of several conversions, of {found} shards"
        problems.append(Problem(place, None, None, text))
        return False
    total = totals.pop()
    expected = {f"{split.name}-{index:05d}-of-{total:05d}" for index in range(total)}
    missing = sorted(
        name
        for name in expected - names
        if not tf.io.gfile.exists(os.path.join(split.directory, name))
    )
    if missing and total - len(missing) != num_listed:
        text = f"{len(missing)} of {total} shards are missing (first: {missing[0]})"
        problems.append(Problem(place, None, None, text))
    return len(names) + len(missing) == total


def _check_counts(
    split: Split, expected: Mapping[str, Any] | None, info_path: str, problems: list[Problem]
) -> None:
    if not isinstance(expected, Mapping):
        text = f"split '{split.name}' is not listed, but {len(split.paths)} shards are there"
        problems.append(Problem(info_path, None, None, text))
        return
    found = {
        "videos": len(split.videos),
        "frames": sum(video.num_frames for video in split.videos),
        "bytes": split.num_bytes,
        "shards": len(split.paths),
    }
    per_class = Counter(video.label_name for video in split.videos if video.label_name is not None)
    listed = expected.get("videos_per_class")
    texts = [
        f"split '{split.name}' has {found[name]} {name} in its shards, {expected[name]} are listed"
        for name in found
        if name in expected and expected[name] != found[name]
    ]
    if isinstance(listed, Mapping):
        different = sorted(
            name for name in {*listed, *per_class} if listed.get(name, 0) != per_class[name]
        )
        if different:
            name = different[0]
            texts.append(
                f"split '{split.name}' has {len(different)} classes with other counts than listed"
                f" (first: {name!r}, {per_class[name]} videos, listed {listed.get(name, 0)})"
            )
    problems += [Problem(info_path, None, None, text) for text in texts]


def _check_ids(split: Split, problems: list[Problem]) -> None:
    first: dict[str, InspectedVideo] = {}
    for video in split.videos:
        if video.video_id and first.setdefault(video.video_id, video) is not video:
            other = first[video.video_id]
            text = f"the id is also that of record {other.record} of {other.path}"
            problems.append(Problem(video.path, video.record, video.video_id, text))


def _check_overlap(splits: Sequence[Split], problems: list[Problem]) -> None:
    """Finds videos that are in two splits: training on what is tested."""
    first: dict[tuple[str, int], tuple[Split, InspectedVideo]] = {}
    for split in splits:
        for video in split.videos:
            if not video.num_frames:
                continue
            # Splits that were converted one by one may share ids without sharing videos.
            key = (video.video_id, video.fingerprint)
            other_split, other = first.setdefault(key, (split, video))
            if other_split is not split:
                text = (
                    f"the same video is record {other.record} of {other.path}: in split"
                    f" '{split.name}' and in '{other_split.name}'"
                )
                problems.append(Problem(video.path, video.record, video.video_id, text))


def _twins_note(one: Split, other: Split) -> list[str]:
    """The note on videos of the second split that are nearly equal to videos of the first.

    Equal records with one id are problems and not counted.
    """
    if len(one.videos) + len(other.videos) > twins.MAX_VIDEOS:
        return [
            f"Splits '{one.name}' and '{other.name}' were not searched for nearly equal videos:"
            f" they have more than {twins.MAX_VIDEOS} videos."
        ]
    firsts, seconds = ([video.signature for video in split.videos] for split in (one, other))
    found = {
        pair.second: pair
        for pair in twins.between(firsts, seconds)
        if (one.videos[pair.first].video_id, one.videos[pair.first].fingerprint)
        != (other.videos[pair.second].video_id, other.videos[pair.second].fingerprint)
    }
    if not found:
        return []
    pair = found[min(found)]
    first, second = one.videos[pair.first].video_id, other.videos[pair.second].video_id
    return [
        f"{len(found)} of {len(other.videos)} videos of split '{other.name}' are nearly equal to"
        f" videos of '{one.name}' (first: '{second}', like '{first}'"
        f"{', mirrored' if pair.mirrored else ''}); cvrl_tf.split_videos keeps such videos in one"
        " split."
    ]


def _read_failures(path: str, problems: list[Problem]) -> list[dict[str, str]]:
    text = _read_text(path, problems)
    try:
        rows = list(csv.DictReader(io.StringIO(text or "", newline=""), restkey="more", restval=""))
    except csv.Error as error:
        problems.append(Problem(path, None, None, f"the file is not a CSV table ({error})"))
        return []
    return [
        {name: " ".join(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in rows
    ]
