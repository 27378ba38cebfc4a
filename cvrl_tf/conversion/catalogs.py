"""Which video files a data set has, and their labels."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from cvrl_tf.errors import InputError

VIDEO_EXTENSIONS = frozenset(
    [".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"]
    + [".ogv", ".ts", ".webm", ".wmv"]
)


@dataclass(frozen=True)
class Entry:
    """One video file of a data set.

    Attributes:
      video_id: name that is unique in the data set.
      path: the file.
      label: class index from 0, or None when unlabelled.
      label_name: class name, or None when unlabelled.
      start: microseconds in the source video where the clip that the file holds starts.
    """

    video_id: str
    path: str
    label: int | None
    label_name: str | None
    start: int = 0


def _check_directory(path: str, flag: str) -> None:
    if not os.path.isdir(path):
        found = "is not a directory" if os.path.exists(path) else "does not exist"
        raise InputError(f"--{flag}={path} {found}: give the directory that holds the files.")


def _visible(directory: str) -> list[str]:
    """The sorted names in `directory`, without hidden files and macOS's `._name`."""
    return sorted(name for name in os.listdir(directory) if not name.startswith("."))


def _videos_in(directory: str) -> list[str]:
    # A link to nowhere is kept: it names a video that the user believes to be there.
    return [
        name
        for name in _visible(directory)
        if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS
        and not os.path.isdir(os.path.join(directory, name))
    ]


def folder(video_dir: str) -> tuple[list[Entry], list[str]]:
    """The videos of a directory that has one folder for each class.

    Files without a video's extension, hidden ones and deeper folders are left out. A folder without
    videos is a class all the same, so that a test set can lack a class of its training set.

    Args:
      video_dir: holds `<class>/<video>`.

    Returns:
      The entries, sorted by class and name, each with the id `<class>/<name>`; the class names in
      the order of their labels. Ids have no extension, except in a folder where two names differ
      in nothing else.

    Raises:
      InputError: no such directory, no class folders, no videos, or a name that is not UTF-8.
    """
    _check_directory(video_dir, "video_dir")
    expected = f"expected {os.path.join(video_dir, '<class>', '<video>.mp4')}"
    classes = [name for name in _visible(video_dir) if os.path.isdir(f"{video_dir}/{name}")]
    if not classes:
        raise InputError(
            f"--video_dir={video_dir} holds no class folders ({len(_videos_in(video_dir))} videos"
            f" directly in it): {expected}; put the videos of each class in a folder of its name."
        )
    entries = []
    for label, class_name in enumerate(classes):
        names = _videos_in(os.path.join(video_dir, class_name))
        stems = [os.path.splitext(name)[0] for name in names]
        ids = stems if len(set(stems)) == len(stems) else names
        for name, video_id in zip(names, ids, strict=True):
            path = os.path.join(video_dir, class_name, name)
            entries.append(Entry(f"{class_name}/{video_id}", path, label, class_name))
    if not entries:
        raise InputError(
            f"--video_dir={video_dir} holds {len(classes)} folders ({', '.join(classes[:3])}, ...)"
            f" but no videos in them: {expected}, one of {' '.join(sorted(VIDEO_EXTENSIONS))}."
        )
    for entry in entries:
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            raise InputError(f"The name {entry.path!a} is not UTF-8: rename the file.") from None
    return entries, classes


def _lines(path: str) -> Iterator[tuple[str, list[str]]]:
    """Yields 'file, line n' and the words of each line of a text file that is not blank."""
    if not os.path.isfile(path):
        raise InputError(
            f"There is no file {path}: expected --annotation_dir to be UCF-101's folder"
            " ucfTrainTestlist, with classInd.txt, and trainlist01.txt and testlist01.txt for"
            " --split_number=1."
        )
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}, line {number}", line.split()


def ucf101(
    video_dir: str, annotation_dir: str, split_number: int
) -> tuple[dict[str, list[Entry]], list[str]]:
    """The training and test videos of UCF-101, or of a data set with lists in its format.

    Args:
      video_dir: holds the videos, in class folders or all in one.
      annotation_dir: holds `classInd.txt` and, for each split, `trainlistNN.txt`, `testlistNN.txt`.
      split_number: which of the lists, from 1.

    Returns:
      `train` and `test`, the entries in the order of the lists, each with the file's name without
      its extension as id; the class names in the order of their labels.

    Raises:
      InputError: a missing directory, list or video; a line that cannot be right.
    """
    _check_directory(video_dir, "video_dir")
    _check_directory(annotation_dir, "annotation_dir")
    classes: list[str] = []
    for origin, words in _lines(os.path.join(annotation_dir, "classInd.txt")):
        if len(words) != 2 or words[0] != str(len(classes) + 1):
            raise InputError(
                f"{origin}: found '{' '.join(words)}', expected '{len(classes) + 1} ClassName'."
            )
        classes.append(words[1])
    labels = {name: label for label, name in enumerate(classes)}

    splits: dict[str, list[Entry]] = {}
    missing = []
    for split in ("train", "test"):
        splits[split] = []
        path = os.path.join(annotation_dir, f"{split}list{split_number:02d}.txt")
        for origin, words in _lines(path):
            class_name, _, name = words[0].partition("/")
            if class_name not in labels or not name or len(words) > 2:
                raise InputError(
                    f"{origin}: found '{' '.join(words)}', expected 'Class/video.avi' or"
                    " 'Class/video.avi 1' with a class of classInd.txt."
                )
            label = labels[class_name]
            if len(words) == 2 and words[1] != str(label + 1):
                raise InputError(
                    f"{origin}: found label {words[1]} for class {class_name}, which is"
                    f" {label + 1} in classInd.txt: the files are not of one data set."
                )
            places = [os.path.join(video_dir, words[0]), os.path.join(video_dir, name)]
            video = next((place for place in places if os.path.isfile(place)), None)
            if video is None:
                missing.append(words[0])
            else:
                video_id = os.path.splitext(name)[0]
                splits[split].append(Entry(video_id, video, label, class_name))
        if not splits[split] and not missing:
            raise InputError(f"{path} lists no videos: expected lines 'Class/video.avi'.")
    if missing:
        total = len(missing) + sum(map(len, splits.values()))
        raise InputError(
            f"{len(missing)} of the {total} videos in the lists are not in {video_dir} (first:"
            f" {', '.join(missing[:3])}): expected them there in class folders or directly."
        )
    return splits, classes
