"""What all catalogs share: their type, a look through directories, label maps."""

import codecs
import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError

VIDEO_EXTENSIONS = frozenset(
    [".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"]
    + [".ogv", ".ts", ".webm", ".wmv"]
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One video of a data set.

    Attributes:
      video_id: name that is unique in its split.
      path: the file; for a video that is listed but not there, where it was expected.
      label: class index from 0, or None when unlabelled.
      label_name: class name, or None when unlabelled.
      start: microseconds in the source video where the file begins, for clips cut from longer ones.
    """

    video_id: str
    path: str
    label: int | None
    label_name: str | None
    start: int = 0


@dataclass(frozen=True)
class Catalog:
    """The videos of a data set.

    Attributes:
      dataset: its name, for `dataset_info.json`.
      splits: the entries of each split; ids are unique within a split.
      classes: class names in the order of their labels; empty when nothing is labelled.
      notes: sentences for the user: what was skipped, taken twice or not found, with counts.
    """

    dataset: str
    splits: Mapping[str, Sequence[Entry]]
    classes: Sequence[str]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        paths = (entry.path for entries in self.splits.values() for entry in entries)
        for name in itertools.chain(self.classes, paths):
            try:
                name.encode()
            except UnicodeEncodeError:
                raise InputError(
                    f"The name {name!a} is not UTF-8: rename it, in lists as well."
                ) from None
        for name in self.classes:
            if name.splitlines() != [name]:
                raise InputError(
                    f"The class name {name!a} holds a line break: rename it, in lists as well;"
                    " labels.txt has one class on each line."
                )


def is_video(name: str) -> bool:
    """Whether a file name has the extension of a video."""
    return os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS


def check_directory(path: str, flag: str) -> None:
    """Raises InputError, with the flag's name, unless `path` is a directory."""
    if not tf.io.gfile.isdir(path):
        found = "is not a directory" if tf.io.gfile.exists(path) else "does not exist"
        raise InputError(f"{flag}={path} {found}: give the directory that holds the files.")


def list_directory(directory: str) -> tuple[list[str], list[str]]:
    """The sorted names of the directories and of the files in `directory`, without hidden ones.

    Links are followed; a link to nowhere or to itself is a file: it names a video that should be
    there.

    Raises:
      InputError: the directory cannot be read.
    """
    directories: list[str] = []
    names: list[str] = []
    if "://" in directory:
        for name in tf.io.gfile.listdir(directory):
            # A request for each name would take hours: what is named like a video is a file.
            is_directory = name.endswith("/") or (
                not is_video(name) and tf.io.gfile.isdir(os.path.join(directory, name))
            )
            (directories if is_directory else names).append(name.rstrip("/"))
    else:
        with files.reading(directory), os.scandir(directory) as entries:
            for entry in entries:  # which knows directories without a look at each file
                (directories if files.is_directory(entry) else names).append(entry.name)
    # The leading dot is also that of the `._name.mp4` that macOS puts into archives.
    return _shown(directories), _shown(names)


def _shown(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def walk(directory: str) -> Iterator[tuple[str, list[str], int]]:
    """Looks through a directory and all below it, once.

    Yields:
      For each directory in sorted order: its path from `directory`, "" for itself; the sorted names
      of the videos in it; and the number of its other files. Hidden ones are skipped.
    """

    def visit(relative: str, above: tuple[str, ...]) -> Iterator[tuple[str, list[str], int]]:
        path = os.path.join(directory, relative) if relative else directory
        real = path if "://" in path else os.path.realpath(path)
        if real in above:  # a link that leads back
            return
        directories, names = list_directory(path)
        videos = [name for name in names if is_video(name)]
        yield relative, videos, len(names) - len(videos)
        for name in directories:
            yield from visit(os.path.join(relative, name), (*above, real))

    return visit("", ())


def stems(names: Sequence[str]) -> list[str]:
    """The file names of one directory without extensions, or with them if they would collide."""
    without = [os.path.splitext(name)[0] for name in names]
    return without if len(set(without)) == len(without) else list(names)


def read_text(path: str, expected: str) -> io.StringIO:
    """A text file to iterate over by lines, without a byte order mark; arguments of `read_lines`.

    Names that are not UTF-8 come as the file system has them, for `Catalog` to refuse.

    Raises:
      InputError: no such file, a directory, no permission to read it, or UTF-16 text.
    """
    if tf.io.gfile.isdir(path):
        raise InputError(f"{path} is a directory: {expected}.")
    if not tf.io.gfile.exists(path):
        raise InputError(f"There is no file {path}: {expected}.")
    with files.reading(path), tf.io.gfile.GFile(path, "rb") as file:
        content = file.read()
    if b"\0" in content or content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} is not UTF-8 text (UTF-16, by its bytes): save it as UTF-8.")
    return io.StringIO(content.decode("utf-8-sig", errors="surrogateescape"), newline=None)


def read_lines(path: str, expected: str) -> Iterator[tuple[str, str]]:
    """Yields 'file, line n' and the text of each line of a text file that is not blank.

    Args:
      path: the file; a byte order mark and any line ends are allowed.
      expected: what to do when it is not there, for the message.
    """
    for number, line in enumerate(read_text(path, expected), 1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def read_label_map(path: str) -> list[str]:
    """The class names of a file that has one a line, in the order of their labels.

    Raises:
      InputError: no such file, no names in it, or a name twice.
    """
    names = [name for _, name in read_lines(path, "expected label_map to have one class a line")]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated or not names:
        found = f"the class '{repeated[0]}' more than once" if repeated else "no class"
        raise InputError(f"label_map={path} holds {found}: expected each class name on one line.")
    return names


def spelling_key(name: str) -> str:
    """A class name without case, and with single spaces for separators: equal for one class."""
    return re.sub(r"[\s_]+", " ", name.strip()).casefold()


def label_indices(names: Sequence[str], label_map: Sequence[str] | None) -> dict[str, int]:
    """The label of each class name: its place in `label_map`, or in the sorted names without one.

    Raises:
      InputError: a name is not in `label_map`; or without one, two names differ in case, spaces or
        underscores only.
    """
    classes = sorted(set(names)) if label_map is None else list(label_map)
    spellings: dict[str, str] = {}
    for name in classes:
        other = spellings.setdefault(spelling_key(name), name)
        if other != name and label_map is None:
            raise InputError(
                f"Found the classes '{other}' and '{name}', which differ only in case, spaces or"
                " underscores: give a class the same name in all folders and lists, or, if these"
                " are two classes, label_map with both."
            )
    labels = {name: label for label, name in enumerate(classes)}
    unknown = sorted({name for name in names if name not in labels})
    if unknown:
        known = spellings.get(spelling_key(unknown[0]))
        similar = f", which it has as '{known}'" if known else ""
        raise InputError(
            f"{len(unknown)} classes of the data are not among the {len(classes)} of label_map"
            f" (first: '{unknown[0]}'{similar}): add them, spelled the same, or give no"
            " label_map."
        )
    return labels


def check_any_found(split: str, listed: int, found: int, first: str, video_dir: str) -> None:
    """Raises InputError when no listed video of a split is there: the directory is then wrong.

    Args:
      split: its name.
      listed: videos in the split's list.
      found: those of them that are there.
      first: where the first was looked for.
      video_dir: as the user gave it.
    """
    if not found:
        raise InputError(
            f"None of the {listed} videos of split '{split}' is in video_dir={video_dir} (the"
            f" first was looked for at {first}, then in all folders): give the directory that holds"
            " the videos."
        )


def missing_note(split: str, listed: int, found: int, first: str) -> list[str]:
    """The note on listed videos that are not there, if any."""
    if found == listed:
        return []
    return [
        f"{split}: {listed - found} of the {listed} videos listed are not there ({first}, ...)."
    ]
