"""The catalog of Kinetics as CVDF distributes it: K400, K600, K700-2020."""

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from cvrl_tf.conversion.catalogs.catalog import (
    Catalog,
    Entry,
    check_any_found,
    check_directory,
    label_indices,
    list_directory,
    missing_note,
    read_lines,
    read_text,
    walk,
)
from cvrl_tf.errors import InputError
from cvrl_tf.text import counted

# Ids contain `_` and `-`: only their length says where they end.
_ID = r"[A-Za-z0-9_-]{11}"
_NAME = re.compile(rf"({_ID})(?:_(\d+)_(\d+))?", re.ASCII)
_SPLIT_NAMES = {
    "train": ("train",),
    "val": ("val", "validate", "validation"),
    "test": ("test",),
}
_EXPECTED = "expected annotations to name a .csv or .txt file for each split"
_REPLACEMENT = ("replacement", "replacement_for_corrupted_k400")

Times = tuple[int, int]


class _Row(NamedTuple):
    """A line of an annotation file: seconds in the YouTube video, None when it has no times."""

    youtube_id: str
    times: Times | None
    label: str | None


class _Clip(NamedTuple):
    """A video file: seconds in the YouTube video as its name has them, or None."""

    times: Times | None
    path: str


def find_annotations(annotations: str) -> dict[str, str]:
    """The annotation file of each split, from what the user gives.

    Args:
      annotations: a directory with `train.csv`, `val.csv` (or `validate.csv`), `test.csv`, or the
        same as `.txt`; or `split=file` pairs separated by commas.

    Returns:
      Paths by split.

    Raises:
      InputError: no such directory, none of these files in it, two for one split, or no pairs.
    """
    if "=" not in annotations:
        if tf.io.gfile.exists(annotations) and not tf.io.gfile.isdir(annotations):
            raise InputError(
                f"annotations={annotations} is a file: say of which split,"
                f" annotations=train={annotations}."
            )
        check_directory(annotations, "annotations")
        names = list_directory(annotations)[1]
        paths = {}
        for split, stems in _SPLIT_NAMES.items():
            found = [n for n in names if n in {f"{s}{e}" for s in stems for e in (".csv", ".txt")}]
            if len(found) > 1:
                raise InputError(
                    f"annotations={annotations} holds {' and '.join(found)}: name the file of"
                    f" each split, annotations={split}={os.path.join(annotations, found[0])},..."
                )
            if found:
                paths[split] = os.path.join(annotations, found[0])
        if not paths:
            raise InputError(
                f"annotations={annotations} holds none of train.csv, val.csv, test.csv or the"
                " same as .txt: name the file of each split, annotations=train=FILE,val=FILE."
            )
        return paths
    paths = {}
    for pair in annotations.split(","):
        split, _, path = (part.strip() for part in pair.partition("="))
        if not split or not path or split in paths:
            raise InputError(
                f"annotations={annotations}: found '{pair}', expected split=FILE, each split"
                " once, as in train=train.csv,val=val.csv."
            )
        paths[split] = path
    return paths


def kinetics(
    video_dir: str, annotations: Mapping[str, str], label_map: Sequence[str] | None = None
) -> Catalog:
    """The videos of Kinetics, from the files of CVDF's archives and the annotation files.

    A row's file is the one with its id and times in the name, `<id>_000010_000020.mp4` or
    `<id>_10_20.mp4`, or else one with its id that no other row has the times of, the nearest in
    time: the times of rows and files do not always agree. Files in a folder `replacement` take the
    place of those of the same name, or of the only one with the same id.

    Args:
      video_dir: searched with all folders in it.
      annotations: of each split, a `.csv` file with the columns `youtube_id` and, in any order and
        if there, `label`, `time_start`, `time_end`; or a `.txt` file of paths
        `[<class>/]<id>_000010_000020.mp4`.
      label_map: class names in the order of their labels; None for the sorted names of all splits.

    Returns:
      Entries in the order of the rows, each with its file's name without extension as id. Rows
      without a file are entries too, rows without a label unlabelled ones.

    Raises:
      InputError: a missing directory or file, none of the videos, an annotation file
        that cannot be right, a label that is not in `label_map`, or without one, two labels that
        differ in case, spaces or underscores only.
    """
    check_directory(video_dir, "video_dir")
    notes: list[str] = []
    rows = {split: _unique(split, _read(path), notes) for split, path in annotations.items()}
    for split, path in annotations.items():
        if not rows[split]:
            raise InputError(f"{path} lists no videos: expected a line for each video.")
    names = {row.label for split in rows.values() for row in split if row.label is not None}
    labels = label_indices(sorted(names), label_map)
    clips = _find_clips(video_dir, notes)
    taken = {  # by rows that have exactly their times: others must not have them
        (row.youtube_id, row.times)
        for split in rows.values()
        for row in split
        if any(clip.times == row.times for clip in clips.get(row.youtube_id, ()))
    }
    splits: dict[str, list[Entry]] = {}
    used: set[str] = set()
    matched = {
        split: _match(split_rows, clips, taken, used, labels, video_dir)
        for split, split_rows in rows.items()
    }
    for split, split_rows in rows.items():
        entries, found = matched[split]
        count = sum(found)
        if count < len(found):
            first = entries[found.index(False)].path
            if count == 0 and any(any(others) for _, others in matched.values()):
                # Downloaded in part: train and val without test, which nobody has labels for.
                notes.append(
                    f"{split}: none of its {len(found)} videos is there ({first}, ...): the split"
                    " is skipped."
                )
                continue
            check_any_found(split, len(found), count, first, video_dir)
            notes += missing_note(split, len(found), count, first)
        splits[split] = entries
        unlabelled = sum(row.label is None for row in split_rows)
        if unlabelled:
            notes.append(f"{split}: {unlabelled} of {len(split_rows)} videos have no label.")
    unnamed = sum(clip.path not in used for found in clips.values() for clip in found)
    if unnamed:
        notes.append(
            f"skipped: {counted(unnamed, 'file')} without a row of {', '.join(annotations)}."
        )
    return Catalog("kinetics", splits, list(labels), notes)


def _read(path: str) -> Iterator[_Row]:
    if path.lower().endswith(".txt"):
        yield from _read_paths(path)
    else:
        yield from _read_csv(path)


def _read_csv(path: str) -> Iterator[_Row]:
    reader = csv.reader(read_text(path, _EXPECTED), skipinitialspace=True)
    header = [name.strip().lower() for name in next(reader, [])]
    if "youtube_id" not in header:
        raise InputError(
            f"{path} has the columns '{','.join(header)[:80]}', expected one of them to be"
            " youtube_id, as in label,youtube_id,time_start,time_end,split: take the file as it is"
            " distributed."
        )
    column = {name: header.index(name) for name in reversed(header)}
    id_column, label_column = column["youtube_id"], column.get("label")
    time_columns = [column[name] for name in ("time_start", "time_end") if name in column]
    split_column = column.get("split")
    splits: Counter[str] = Counter()
    for row in _csv_rows(reader, path):
        origin = f"{path}, line {reader.line_num}"
        if len(row) < len(header) or not re.fullmatch(_ID, row[id_column].strip()):
            raise InputError(
                f"{origin}: found '{','.join(row)[:80]}', expected {','.join(header)} with an id of"
                " 11 letters, digits, _ or -."
            )
        times = None
        if len(time_columns) == 2 and all(row[index].strip() for index in time_columns):
            try:
                start, end = (int(float(row[index])) for index in time_columns)
                times = start, end
            except (ValueError, OverflowError):
                raise InputError(
                    f"{origin}: found '{','.join(row)[:80]}', expected {','.join(header)} with"
                    " times in seconds."
                ) from None
        if split_column is not None:
            splits[row[split_column].strip()] += 1
        label = row[label_column].strip() if label_column is not None else ""
        yield _Row(row[id_column].strip(), times, label or None)
    if len(splits) > 1:
        counts = ", ".join(f"{count} of {name}" for name, count in sorted(splits.items()))
        raise InputError(
            f"{path} holds rows of several splits ({counts}): expected one file for each split."
        )


def _csv_rows(reader: Any, path: str) -> Iterator[list[str]]:
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: cannot be read as CSV ({error}): take the file as it"
            " is distributed."
        ) from None


def _read_paths(path: str) -> Iterator[_Row]:
    not_classes = {name for names in _SPLIT_NAMES.values() for name in names} | {"", ".", ".."}
    rows = []
    for origin, line in read_lines(path, _EXPECTED):
        folder, name = os.path.split(line)
        clip = _parse_name(os.path.splitext(name)[0])
        if clip is None:
            raise InputError(
                f"{origin}: found '{line[:80]}', expected a path that ends in"
                " <id>_000010_000020.mp4 with an id of 11 letters, digits, _ or -."
            )
        class_name = os.path.basename(folder)
        rows.append(_Row(*clip, None if class_name in not_classes else class_name))
    # The one folder of all videos is no class.
    labelled = len({row.label for row in rows}) > 1
    yield from rows if labelled else (row._replace(label=None) for row in rows)


def _parse_name(stem: str) -> tuple[str, Times | None] | None:
    """The id and times of `<id>_000010_000020` or `<id>_10_20`, or the id of `<id>`; else None."""
    found = _NAME.fullmatch(stem)
    if found is None:
        return None
    youtube_id, start, end = found.groups()
    return youtube_id, None if start is None else (int(start), int(end))


def _unique(split: str, rows: Iterable[_Row], notes: list[str]) -> list[_Row]:
    """The rows of a split, each id and times once; the first counts."""
    kept: dict[tuple[str, Times | None], _Row] = {}
    repeated = other_label = 0
    for row in rows:
        first = kept.setdefault(row[:2], row)
        if first is not row:
            repeated += 1
            other_label += first.label != row.label
    if repeated:
        notes.append(
            f"{split}: {repeated} rows come again ({other_label} of them with another label): the"
            " first of each counts."
        )
    return list(kept.values())


def _find_clips(video_dir: str, notes: list[str]) -> dict[str, list[_Clip]]:
    """The video files below `video_dir` by id, replaced ones replaced."""
    clips: dict[str, list[_Clip]] = defaultdict(list)
    replacements: list[tuple[str, _Clip]] = []
    others = 0
    for folder, names, _ in walk(video_dir):
        is_replacement = not set(_REPLACEMENT).isdisjoint(folder.split(os.sep))
        for name in names:
            parsed = _parse_name(os.path.splitext(name)[0])
            if parsed is None:
                others += 1
                continue
            youtube_id, times = parsed
            clip = _Clip(times, os.path.join(video_dir, folder, name))
            if is_replacement:
                replacements.append((youtube_id, clip))
            # The same name in two folders, such as links sorted by class beside the files.
            elif all(times != other.times for other in clips[youtube_id]):
                clips[youtube_id].append(clip)
    replaced = 0
    for youtube_id, clip in replacements:
        before = clips[youtube_id]
        same = [other for other in before if other.times == clip.times] or before[:2]
        if len(same) == 1:
            before.remove(same[0])
            replaced += 1
        before.append(clip)
    if replaced:
        notes.append(f"{replaced} files are taken from the replacement folder instead.")
    if others:
        notes.append(
            f"skipped: {counted(others, 'video')} with other names than <id>_000010_000020.mp4."
        )
    return clips


def _match(
    rows: Sequence[_Row],
    clips: Mapping[str, Sequence[_Clip]],
    taken: set[tuple[str, Times | None]],
    used: set[str],
    labels: Mapping[str, int],
    video_dir: str,
) -> tuple[list[Entry], list[bool]]:
    """The entry of each row, and whether its file is there; adds the files to `used`."""
    entries, found = [], []
    for row in rows:
        candidates = clips.get(row.youtube_id, ())
        clip = next((clip for clip in candidates if clip.times == row.times), None)
        if clip is None:
            free = [
                clip
                for clip in candidates
                if (row.youtube_id, clip.times) not in taken and clip.path not in used
            ]
            start = row.times[0] if row.times else 0
            distances = [abs(clip.times[0] - start) if clip.times else 0 for clip in free]
            clip = free[distances.index(min(distances))] if free else None
        if clip is None:
            name = row.youtube_id + ("_{:06d}_{:06d}".format(*row.times) if row.times else "")
            path, times = os.path.join(video_dir, f"{name}.mp4"), row.times
        else:
            path, times = clip.path, clip.times or row.times
            used.add(path)
            name = os.path.splitext(os.path.basename(path))[0]
        label = None if row.label is None else labels[row.label]
        start = 1_000_000 * times[0] if times else 0
        entries.append(Entry(name, path, label, row.label, start))
        found.append(clip is not None)
    return entries, found
