"""The splits of a catalog by lists of ids, one a split, as `cvrl_tf.split_videos` writes them."""

import dataclasses
import os
from collections import Counter

import tensorflow as tf

from cvrl_tf.conversion.catalogs.catalog import Catalog, check_directory
from cvrl_tf.data import subset
from cvrl_tf.errors import InputError
from cvrl_tf.text import counted

_ORDER = {"train": 0, "validation": 1, "test": 2}  # then others, by name


def split_by_lists(catalog: Catalog, directory: str) -> Catalog:
    """Distributes the videos of a catalog among splits.

    Args:
      catalog: of one split.
      directory: holds a list `NAME.txt` for each split, with one id of the catalog per line.

    Returns:
      The splits that have lists, entries in the order of the catalog. Videos of no list are
      skipped; a note counts them.

    Raises:
      InputError: no lists, one that is not a list of ids, an id that is not in the catalog, or one
        in two lists.
    """
    check_directory(directory, "annotations")
    names = sorted(name for name in tf.io.gfile.listdir(directory) if name.endswith(".txt"))
    if not names:
        raise InputError(
            f"annotations={directory} holds no lists: expected train.txt, test.txt and so on, with"
            " one id per line, as cvrl_tf.split_videos writes them."
        )
    ((_, entries),) = catalog.splits.items()
    ids = [entry.video_id for entry in entries]
    places = {
        name.removesuffix(".txt"): subset.positions(
            "the videos", ids, subset.read_ids(os.path.join(directory, name))
        )
        for name in names
    }
    counts = Counter(int(number) for numbers in places.values() for number in numbers)
    twice = [number for number, count in counts.items() if count > 1]
    if twice:
        raise InputError(
            f"annotations={directory} names {counted(len(twice), 'video')} in two lists, the first"
            f" is '{ids[min(twice)]}': expected each video in one split."
        )
    ordered = sorted(places, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
    splits = {name: [entries[number] for number in places[name]] for name in ordered}
    skipped = len(entries) - len(counts)
    notes = [f"skipped: {counted(skipped, 'video')} that no list names."] if skipped else []
    return dataclasses.replace(catalog, splits=splits, notes=[*catalog.notes, *notes])
