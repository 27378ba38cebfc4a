"""Catalogs of data sets without lists: class folders, and plain files without labels."""

import dataclasses
import os
import posixpath
from collections import defaultdict
from collections.abc import Sequence

import tensorflow as tf

from cvrl_tf import files as file_systems
from cvrl_tf.conversion.catalogs.catalog import (
    VIDEO_EXTENSIONS,
    Catalog,
    Entry,
    check_directory,
    is_video,
    label_indices,
    list_directory,
    read_lines,
    stems,
    walk,
)
from cvrl_tf.errors import InputError
from cvrl_tf.text import counted


def folder(
    video_dir: str,
    split: str = "train",
    label_map: Sequence[str] | None = None,
    output_dir: str | None = None,
) -> Catalog:
    """The videos of a directory that has one folder for each class.

    Files without a video's extension and hidden ones are skipped, and so are videos in deeper
    folders: the class of `train/dive/a.mp4` could be either. Notes count them. A folder without
    videos is a class all the same, so that a test set can lack a class of its training set.

    Args:
      video_dir: holds `<class>/<video>`.
      split: name of the one split that they make.
      label_map: class names in the order of their labels; None for the sorted folder names.
      output_dir: where the records go: it is no class, nor is a folder that holds nothing else.

    Returns:
      Entries sorted by class and name, each with the id `<class>/<name>`. Ids have no extension,
      except in a folder where two names differ in nothing else.

    Raises:
      InputError: no such directory, no class folders, no videos, a folder that is not in
        `label_map`, two that differ in case, spaces or underscores only, or a name that is not
        UTF-8 or holds a line break.
    """
    check_directory(video_dir, "video_dir")
    names, _ = list_directory(video_dir)
    names = [name for name in names if not _is_for(output_dir, os.path.join(video_dir, name))]
    entries: list[Entry] = []
    deeper: list[str] = []
    direct = others = 0
    labels = label_indices(names, label_map)
    for relative, videos, other_files in walk(video_dir):
        if relative and relative.split(os.sep)[0] not in labels:  # the output
            continue
        others += other_files
        if not relative:
            direct = len(videos)
        elif os.sep in relative:
            deeper += [os.path.join(relative, name) for name in videos]
        else:
            for name, stem in zip(videos, stems(videos), strict=True):
                path = os.path.join(video_dir, relative, name)
                entries.append(Entry(f"{relative}/{stem}", path, labels[relative], relative))
    if not names:
        raise InputError(
            f"video_dir={video_dir} holds no class folders ({counted(direct, 'video')} directly in"
            f" it): {_expected(video_dir)}; put the videos of each class in a folder of its name;"
            " for videos without labels, give files instead (the conversion takes dataset=files"
            " too)."
        )
    if not entries:
        raise _no_videos(video_dir, names, deeper)
    notes = []
    if deeper:
        notes.append(
            f"skipped: {counted(len(deeper), 'video')} in folders below the class folders"
            f" ({deeper[0]}, ...)."
        )
    if direct:
        notes.append(f"skipped: {counted(direct, 'video')} outside of the class folders.")
    notes += _others_note(others)
    return Catalog("folder", {split: entries}, list(labels), notes)


def _expected(video_dir: str) -> str:
    return f"expected {os.path.join(video_dir, '<class>', '<video>.mp4')}"


def _no_videos(video_dir: str, names: Sequence[str], deeper: Sequence[str]) -> InputError:
    """The error of class folders without videos, some of which lie deeper."""
    found = (
        f"; {len(deeper)} videos are deeper, such as {deeper[0]}: give the directory that holds"
        " the class folders"
        if deeper
        else f", one of {' '.join(sorted(VIDEO_EXTENSIONS))}"
    )
    return InputError(
        f"video_dir={video_dir} holds {len(names)} folders ({', '.join(names[:3])}, ...)"
        f" but no videos in them: {_expected(video_dir)}{found}."
    )


def _is_for(output_dir: str | None, directory: str) -> bool:
    """Whether a directory is the output directory, or holds it and nothing else."""
    if output_dir is None:
        return False
    directory, output = _real(directory), _real(output_dir)
    while directory != output:
        if not output.startswith(directory + "/"):
            return False
        directories, names = list_directory(directory)
        if names or len(directories) != 1:
            return False
        directory = posixpath.join(directory, directories[0])
    return True


def _real(path: str) -> str:
    return path.rstrip("/") if "://" in path else os.path.realpath(path)


def _others_note(count: int) -> list[str]:
    return [f"skipped: {counted(count, 'name')} without a video's extension."] if count else []


def files(pattern: str, split: str = "train") -> Catalog:
    """Videos without labels: those that match a pattern, or that a list names.

    Args:
      pattern: a file, or a glob pattern, in which `**` stands for any number of folders; or the
        name of a `.txt` file with one path per line, absolute or from the directory of the list.
      split: name of the one split that they make.

    Returns:
      Entries sorted by id. The id is the path without the extension: from the last directory
      before the pattern's first wildcard, or as in the list; it keeps its extension where two
      names of a directory differ in nothing else. A listed file that is not there is an entry.

    Raises:
      InputError: nothing matches, the list is empty or names a file twice, none of the listed files
        is there, or a name is not UTF-8.
    """
    is_list = pattern.lower().endswith(".txt")
    if is_list and (tf.io.gfile.exists(pattern) or not set("*?[") & set(pattern)):
        found, notes = _listed(pattern)
    else:
        found, notes = _matching(pattern)
    by_directory = defaultdict(list)
    for relative in found:
        by_directory[posixpath.dirname(relative)].append(posixpath.basename(relative))
    entries = []
    for directory, names in by_directory.items():
        for name, stem in zip(names, stems(names), strict=True):
            path = found[posixpath.join(directory, name)]
            entries.append(Entry(posixpath.join(directory, stem), path, None, None))
    entries.sort(key=lambda entry: entry.video_id)
    return Catalog("files", {split: entries}, [], notes)


def label_by_folder(catalog: Catalog) -> Catalog:
    """The videos of a catalog without labels, each with the name of its folder as its class.

    Raises:
      InputError: all videos are in folders of one name, or two names differ in case, spaces or
        underscores only.
    """
    ((split, entries),) = catalog.splits.items()
    # The folder as it is named: what links lead to does not matter.
    paths = (
        entry.path if "://" in entry.path else os.path.abspath(entry.path) for entry in entries
    )
    names = [path.split("/")[-2] for path in paths]
    labels = label_indices(names, None)
    if len(labels) < 2:
        raise InputError(
            f"All {len(entries)} videos are in folders named '{names[0]}', such as"
            f" {entries[0].path}: expected a folder for each class, or no labels=folder."
        )
    labelled = [
        dataclasses.replace(entry, label=labels[name], label_name=name)
        for entry, name in zip(entries, names, strict=True)
    ]
    return dataclasses.replace(catalog, splits={split: labelled}, classes=list(labels))


def _matching(pattern: str) -> tuple[dict[str, str], list[str]]:
    """The videos that match a glob pattern, by their path from its fixed part, and notes."""
    if "://" in pattern and "**" in pattern:
        raise InputError(
            f"files={pattern}: ** is for local paths; give one * for each folder, or a .txt file"
            " with one path a line."
        )
    names = file_systems.matching(pattern)
    videos = [name for name in names if is_video(name)]
    if not videos:
        hint = ""
        if "[" in pattern:
            hint = " The brackets [ and ] hold alternatives for one character: write [[] for [."
        if names:
            found = f"matches no video ({len(names)} other names, such as {names[0]})"
        else:
            is_pattern = file_systems.looks_like_pattern(pattern)
            found = "matches no file" if is_pattern else "does not exist"
        raise InputError(
            f"files={pattern} {found}: expected a video, a"
            " pattern such as 'videos/**/*.mp4' (quoted; ** is any number of folders), or a .txt"
            f" file with one path per line.{hint}"
        )
    fixed = file_systems.literal_part(pattern)
    if fixed != pattern:
        rest = pattern[len(fixed) :]
        fixed += rest[: min((rest.find(c) for c in "*?[" if c in rest), default=len(rest))]
    start = fixed.rfind("/") + 1
    others = [name for name in names if not is_video(name) and not os.path.isdir(name)]
    return {name[start:]: name for name in videos}, _others_note(len(others))


def _listed(path: str) -> tuple[dict[str, str], list[str]]:
    """The files that a list names, by their name in it, and notes."""
    found: dict[str, str] = {}
    for origin, line in read_lines(path, "expected files=... to be a glob pattern or a list"):
        name = line if "://" in line else posixpath.normpath(line)
        relative = name.lstrip("/")
        if relative in found:
            raise InputError(f"{origin} names {line} a second time: expected each file once.")
        found[relative] = name if "://" in name else posixpath.join(posixpath.dirname(path), name)
    if not found:
        raise InputError(f"files={path} names no file: expected one path per line.")
    if not any(map(tf.io.gfile.exists, found.values())):
        first = next(iter(found.values()))
        raise InputError(
            f"None of the {len(found)} files that files={path} names is there (the first was"
            f" looked for at {first}): paths are absolute or from the directory of the list."
        )
    return found, []
