"""From what the user names to the files of videos: paths, glob patterns, data sets of TFDS."""

import os
import re
import shlex

import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError

# What a conversion writes beside its shards.
LABELS_FILE, INFO_FILE, FAILURES_FILE = "labels.txt", "dataset_info.json", "failures.csv"
_SHARD_NAME = re.compile(r"(.+)-\d+-of-\d+")


def find_source(name: str, flag: str) -> Source:
    """The shards that paths or glob patterns name, or a split of a TensorFlow Datasets data set.

    Args:
      name: as for `find_shards`, or `tfds:NAME:SPLIT` (`tfds_source`).
      flag: name of the flag that holds it, for the message.

    Raises:
      InputError: as `find_shards` or `tfds_source.find_source`.
    """
    if name.startswith("tfds:"):
        from cvrl_tf.data import tfds_source  # imports tensorflow_datasets

        return tfds_source.find_source(name, flag)
    return Source(name, find_shards(name, flag))


def find_shards(names: str, flag: str | None = None) -> list[str]:
    """The shards that paths or glob patterns name.

    Patterns match no directories, no hidden names, and none of the files that a conversion writes
    beside its shards.

    Args:
      names: a path or a glob pattern, or several with commas between them. A path that exists is
        taken literally.
      flag: name of the flag that holds it, for the message; None where no flag does.

    Returns:
      Sorted paths, each once.

    Raises:
      InputError: one of them matches nothing or is a directory, or a remote file system cannot be
        loaded.
    """
    files.load_file_systems(names)
    given = f"--{flag}=" if flag else ""
    with files.reading(f"{given}{names}"):
        paths: set[str] = set()
        for part in files.split_names(names):
            if tf.io.gfile.isdir(part):
                raise InputError(_about_directory(part, given))
            matching = files.matching(part)
            shards = [path for path in matching if _may_be_shard(path)]
            if not shards:
                raise InputError(_about_nothing(part, given, matching))
            paths.update(shards)
    return sorted(paths)


def _may_be_shard(path: str) -> bool:
    if os.path.basename(path) in (LABELS_FILE, INFO_FILE, FAILURES_FILE):
        return False
    return files.is_remote(path) or not os.path.isdir(path)


def _about_directory(directory: str, given: str) -> str:
    names = map(_SHARD_NAME.fullmatch, files.names_in(directory))
    splits = sorted({match[1] for match in names if match})
    if not splits:
        return (
            f"{given}{directory} is a directory without shards in it (names such as"
            " train-00000-of-00128): expected TFRecord files or a pattern of them, such as"
            " 'records/train-*'."
        )
    patterns = [shlex.quote(os.path.join(directory, f"{split}-*")) for split in splits]
    return (
        f"{given}{directory} is a directory: expected the shards of one split, that is"
        f" {' or '.join(f'{given}{pattern}' for pattern in patterns)}."
    )


def _about_nothing(pattern: str, given: str, matching: list[str]) -> str:
    found = f"{len(matching)} names, but no shard" if matching else "no file"
    hint = ""
    if "[" in pattern:
        hint = " The brackets [ and ] hold alternatives for one character: write [[] for [."
    return (
        f"{given}{pattern} matches {found}: expected TFRecord files or a glob pattern of them,"
        f" such as 'records/train-*' (quoted); python -m cvrl_tf.make_tfrecords makes them.{hint}"
    )
