"""Class names of labelled records, from the `labels.txt` that a conversion leaves beside them."""

import contextlib
import os
from collections.abc import Sequence

import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data.lookup import LABELS_FILE
from cvrl_tf.errors import InputError


def find_file(pattern: str) -> str | None:
    """The file of class names beside data; None where there is none to be found.

    Args:
      pattern: of the shards, as the user gives it.
    """
    with contextlib.suppress(tf.errors.OpError):  # of data that is out of reach by now
        for part in files.split_names(pattern):
            path = os.path.join(os.path.dirname(part), LABELS_FILE)
            if part and not part.startswith("tfds:") and tf.io.gfile.exists(path):
                return path
    return None


def read(pattern: str) -> list[str] | None:
    """The class names in the order of their labels; None where they are not to be found."""
    path = find_file(pattern)
    return None if path is None else files.read_text(path).splitlines()


def check_same(train: str, test: str, flags: tuple[str, str]) -> None:
    """Checks that a label means the same class in both.

    Args:
      train: pattern of the shards to train on.
      test: pattern of the shards to test on.
      flags: names of the flags that hold these, for the message.

    Raises:
      InputError: both have class names, and a label has different ones.
    """
    names = [read(pattern) for pattern in (train, test)]
    for label, (one, other) in enumerate(zip(*(found or [] for found in names), strict=False)):
        if one != other:
            paths = " and ".join(filter(None, map(find_file, (train, test))))
            raise InputError(
                f"The class lists of --{flags[0]} and --{flags[1]} differ ({paths}): label {label}"
                f" is '{one}' in one, '{other}' in the other; convert both with the same list."
            )


def name_all(names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Names of the classes 0 to num_classes - 1, "label 3" where there is none."""
    known = list(names or [])[:num_classes]
    return known + [f"label {label}" for label in range(len(known), num_classes)]
