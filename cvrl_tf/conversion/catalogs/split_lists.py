"""Catalogs of UCF-101 and HMDB-51 from the lists of their splits."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from cvrl_tf.conversion.catalogs.catalog import (
    Catalog,
    Entry,
    check_any_found,
    check_directory,
    list_directory,
    missing_note,
    read_lines,
    spelling_key,
    walk,
)
from cvrl_tf.errors import InputError
from cvrl_tf.text import counted

_UCF101_LISTS = (
    "expected annotations to be UCF-101's folder ucfTrainTestlist, with classInd.txt, and"
    " trainlist01.txt and testlist01.txt for split_number=1"
)
_HMDB51_LISTS = (
    "expected annotations to be HMDB-51's folder testTrainMulti_7030_splits, with"
    " <class>_test_split1.txt of each class for split_number=1"
)


def ucf101(video_dir: str, annotation_dir: str, split_number: int) -> Catalog:
    """The training and test videos of UCF-101, or of a data set with lists in its format.

    Args:
      video_dir: holds the videos: in class folders, all in one, or with folders around these.
      annotation_dir: holds `classInd.txt` and, for each split, `trainlistNN.txt`, `testlistNN.txt`.
      split_number: which of the lists, from 1.

    Returns:
      `train` and `test`, the entries in the order of the lists, each with the file's name without
      its extension as id. Listed videos that are not there are entries too.

    Raises:
      InputError: a missing directory or list, a split without any of its videos, or a line that
        cannot be right.
    """
    check_directory(video_dir, "video_dir")
    check_directory(annotation_dir, "annotations")
    classes: list[str] = []
    for origin, line in read_lines(os.path.join(annotation_dir, "classInd.txt"), _UCF101_LISTS):
        number, _, name = line.partition(" ")
        if not name or number != str(len(classes) + 1):
            raise InputError(f"{origin}: found '{line}', expected '{len(classes) + 1} ClassName'.")
        classes.append(name.strip())
    labels = {name: label for label, name in enumerate(classes)}

    listed: dict[str, list[tuple[str, str]]] = {}
    for split in ("train", "test"):
        listed[split] = []
        path = os.path.join(annotation_dir, f"{split}list{split_number:02d}.txt")
        for origin, line in read_lines(path, _UCF101_LISTS):
            video, label = _numbered(line)
            class_name, _, name = video.partition("/")
            if class_name not in labels or not _is_file_name(name):
                raise InputError(
                    f"{origin}: found '{line}', expected 'Class/video.avi' or 'Class/video.avi 1'"
                    " with a class of classInd.txt."
                )
            if label is not None and label != str(labels[class_name] + 1):
                raise InputError(
                    f"{origin}: found label {number} for class {class_name}, which is"
                    f" {labels[class_name] + 1} in classInd.txt: the files are not of one data set."
                )
            listed[split].append((class_name, name))
        if not listed[split]:
            raise InputError(f"{path} lists no videos: expected lines 'Class/video.avi'.")
    return _catalog(f"ucf101, split {split_number}", video_dir, listed, classes)


def hmdb51(video_dir: str, annotation_dir: str, split_number: int) -> Catalog:
    """The training and test videos of HMDB-51, or of a data set with lists in its format.

    Args:
      video_dir: holds the videos: in class folders, all in one, or with folders around these.
      annotation_dir: holds `<class>_test_splitN.txt` of each class, with lines `<file>.avi 1` for
        training, 2 for test, and 0 for a video that this split does not use.
      split_number: which of the lists, from 1.

    Returns:
      `train` and `test`, the entries in the order of the classes and lists, each with the file's
      name without its extension as id; labels by sorted class names. Listed videos that are not
      there are entries too.

    Raises:
      InputError: a missing directory or list, a split without any of its videos, or a line that
        cannot be right.
    """
    check_directory(video_dir, "video_dir")
    check_directory(annotation_dir, "annotations")
    names = list_directory(annotation_dir)[1]
    found = [match for name in names if (match := re.fullmatch(r"(.+)_test_split(\d+)\.txt", name))]
    classes = sorted(match[1] for match in found if int(match[2]) == split_number)
    if not classes:
        numbers = ", ".join(sorted({match[2] for match in found})) or "none"
        raise InputError(
            f"{annotation_dir} has no lists <class>_test_split{split_number}.txt (found those of"
            f" splits: {numbers}): {_HMDB51_LISTS}."
        )
    listed: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    unused = 0
    for class_name in classes:
        path = os.path.join(annotation_dir, f"{class_name}_test_split{split_number}.txt")
        for origin, line in read_lines(path, _HMDB51_LISTS):
            name, number = _numbered(line)
            if not _is_file_name(name) or number not in ("0", "1", "2"):
                raise InputError(
                    f"{origin}: found '{line}', expected '<file>.avi' and 0 (unused), 1 (train) or"
                    " 2 (test)."
                )
            if number == "0":
                unused += 1
            else:
                listed["train" if number == "1" else "test"].append((class_name, name))
    for split, videos in listed.items():
        if not videos:
            raise InputError(
                f"The lists of split {split_number} in {annotation_dir} name no {split} videos:"
                " expected lines '<file>.avi 1' (train) and '<file>.avi 2' (test)."
            )
    catalog = _catalog(f"hmdb51, split {split_number}", video_dir, listed, classes)
    if unused:
        catalog.notes.append(
            f"skipped: {counted(unused, 'video')} marked 0 in the lists: not of this split."
        )
    return catalog


def _numbered(line: str) -> tuple[str, str | None]:
    """Splits 'name 1' into the name, which may contain spaces, and the number, if there is one."""
    match = re.search(r"\s+(\d+)$", line)
    return (line[: match.start()], match[1]) if match else (line, None)


def _is_file_name(name: str) -> bool:
    """Whether a name is one of a file, not of one in another directory."""
    return bool(name) and "/" not in name and name not in (".", "..")


class _Videos:
    """The video files below a directory, to be found by class and file name.

    Args:
      video_dir: as the user gave it.
      classes: the names of all classes.

    Attributes:
      renamed: paths that were found by the stem of a name without case, not by the name.
    """

    def __init__(self, video_dir: str, classes: Sequence[str]):
        self._video_dir = video_dir
        self._classes = {spelling_key(name) for name in classes}
        self._by_name: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._by_stem: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for folder, names, _ in walk(video_dir):
            for name in names:
                self._by_name[name].append((folder, name))
                self._by_stem[_stem(name)].append((folder, name))
        self.renamed: list[str] = []

    def find(self, class_name: str, name: str) -> str | None:
        """The path of a listed video: with its name, or else with another extension or case."""
        place = self._choose(class_name, self._by_name.get(name, ()))
        if place is None:
            place = self._choose(class_name, self._by_stem.get(_stem(name), ()))
        if place is None:
            return None
        folder, found = place
        path = os.path.join(self._video_dir, folder, found)
        parent = os.path.basename(folder)
        if found != name or (self._is_class(parent) and parent != class_name):
            self.renamed.append(path)
        return path

    def _is_class(self, folder: str) -> bool:
        return spelling_key(folder) in self._classes

    def _choose(self, class_name: str, places: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
        # A folder of the class, else one that is of no class: archives are unpacked in many ways.
        parents = [os.path.basename(folder) for folder, _ in places]
        for fits in (
            lambda parent: parent == class_name,
            lambda parent: spelling_key(parent) == spelling_key(class_name),
            lambda parent: not self._is_class(parent),
        ):
            for place, parent in zip(places, parents, strict=True):
                if fits(parent):
                    return place
        return None


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].casefold()


def _catalog(
    dataset: str,
    video_dir: str,
    listed: Mapping[str, Sequence[tuple[str, str]]],
    classes: list[str],
) -> Catalog:
    """The catalog of (class, file name) pairs, after one look through `video_dir`."""
    found = _Videos(video_dir, classes)
    labels = {name: label for label, name in enumerate(classes)}
    splits: dict[str, list[Entry]] = {}
    notes: list[str] = []
    for split, videos in listed.items():
        splits[split] = []
        missing = []
        for class_name, name in videos:
            path = found.find(class_name, name)
            if path is None:
                path = os.path.join(video_dir, class_name, name)
                missing.append(path)
            video_id = os.path.splitext(name)[0]
            splits[split].append(Entry(video_id, path, labels[class_name], class_name))
        if missing:
            count = len(videos) - len(missing)
            check_any_found(split, len(videos), count, missing[0], video_dir)
            notes += missing_note(split, len(videos), count, missing[0])
    if found.renamed:
        notes.append(
            f"{len(found.renamed)} videos have another extension or other letter case than in the"
            f" lists ({found.renamed[0]}, ...)."
        )
    return Catalog(dataset, splits, classes, notes)
