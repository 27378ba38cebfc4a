"""Class-balanced subsets of labelled records, for evaluations with few labels."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data.labels import RecordLabels
from cvrl_tf.data.sampling import Purpose
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.errors import InputError


def choose(ids: Sequence[str], labels: np.ndarray, fraction: float, seed: int) -> list[str]:
    """Chooses a share of the records, as balanced over the classes as these allow.

    All records have one order, in which each class has its first record, then each its second, and
    so on; at random within that. A subset is the beginning of this order, so that a smaller one of
    the same seed lies in a larger one. What is chosen depends neither on the order of the records
    nor on their files.

    Args:
      ids: N ids, all different.
      labels: (N,) class indices.
      fraction: in (0, 1]; the subset has the number of records nearest to that share, but at least
        one of each class.
      seed: of the order.

    Returns:
      The ids that were chosen, in that order.

    Source: paper section 4.3 (1 % and 10 % of Kinetics-400).
    """
    hashes = tf.strings.to_hash_bucket_strong(list(ids), 2**62, [seed, int(Purpose.SUBSET)]).numpy()
    by_hash = np.lexsort((hashes, labels))  # class by class
    _, first, counts = np.unique(labels[by_hash], return_index=True, return_counts=True)
    rounds = np.empty(len(ids), np.int64)
    rounds[by_hash] = np.arange(len(ids)) - np.repeat(first, counts)
    # Within a round by the low bits, of which the order within a class says nothing: the n-th hash
    # of a large class tends to be smaller than that of a small one.
    order = np.lexsort((hashes, hashes % 2**31, rounds))
    size = max(len(counts), int(fraction * len(ids) + 0.5))
    return [ids[number] for number in order[:size]]


def hold_out(
    groups: Sequence[str], classes: Sequence[str], fraction: float, seed: int
) -> np.ndarray:
    """Chooses videos to hold out: whole groups, a share of each class.

    Groups are taken in an order of the seed, each if one of its classes has less than its share so
    far and none of its classes loses its last group. What is chosen does not depend on the order of
    the videos.

    Args:
      groups: N names; videos of one group are held out together, whatever their classes.
      classes: N names.
      fraction: in (0, 1), of the videos of a class; at least one group of each class is held out.
      seed: of the order.

    Returns:
      (n,) int64, the numbers of the videos that are held out, ascending.

    Raises:
      InputError: a class has one group only, or cannot be divided without taking one from another.
    """
    members: dict[str, dict[str, int]] = {}  # videos of each class, by group
    for group, name in zip(groups, classes, strict=True):
        counts = members.setdefault(group, {})
        counts[name] = counts.get(name, 0) + 1
    left = Counter(name for counts in members.values() for name in counts)  # groups of a class
    total, held = Counter(classes), Counter[str]()
    single = [name for name in sorted(left) if left[name] < 2]
    if single:
        one = f"group ({total[single[0]]} videos)" if total[single[0]] > 1 else "video"
        raise InputError(
            f"The class '{single[0]}'{_and_others(single)} has one {one}, expected two or more, to"
            " train on some and validate on the others: add videos of it, remove the class, or"
            " validate on other videos."
        )
    names = sorted(members)
    hashes = tf.strings.to_hash_bucket_strong(names, 2**62, [seed, int(Purpose.SUBSET)]).numpy()
    chosen = set()
    for group in (names[number] for number in np.argsort(hashes, kind="stable")):
        counts = members[group]
        wanted = any(held[name] < max(1, int(fraction * total[name] + 0.5)) for name in counts)
        if wanted and all(left[name] > 1 for name in counts):
            chosen.add(group)
            held.update(counts)
            left.subtract(counts.keys())
    empty = [name for name in sorted(total) if not held[name]]
    if empty:
        raise InputError(
            f"No group of the class '{empty[0]}'{_and_others(empty)} can be held out without"
            " leaving another class without a training video: its groups have videos of other"
            " classes; give other videos for validation instead."
        )
    return np.flatnonzero([group in chosen for group in groups])


def _and_others(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def check(name: str, ids: Sequence[str], labels: np.ndarray) -> None:
    """Checks that a subset can be chosen from records.

    Args:
      name: what the user calls them.
      ids: N ids.
      labels: (N,) class indices, negative where there is none.

    Raises:
      InputError: records without a label or an id, several with the same, or an id of more than
        one line.
    """
    unlabelled = np.flatnonzero(np.asarray(labels) < 0)
    if unlabelled.size:
        raise InputError(
            f"{unlabelled.size} of {len(ids)} records of {name} have no label, the first is"
            f" '{ids[unlabelled[0]]}': expected labelled records; convert with class folders or"
            " lists."
        )
    different, counts = np.unique(list(ids), return_counts=True)
    if counts.max() > 1 or "" in different:
        raise InputError(
            f"{len(ids)} records of {name} have {len(different)} different ids, such as"
            f" {counts.max()} times '{different[np.argmax(counts)]}': expected a different id for"
            " each, because a subset is a list of ids; cvrl_tf.make_tfrecords writes such ids."
        )
    broken = [record_id for record_id in ids if record_id.splitlines() != [record_id]]
    if broken:
        raise InputError(
            f"{len(broken)} ids of {name} have line breaks, the first is {broken[0]!a}: expected"
            " ids of one line, because a list has one per line; rename the videos and convert"
            " again."
        )


def write_ids(path: str, ids: Sequence[str]) -> None:
    """Writes ids to a text file, one per line, atomically."""
    files.write_atomically(path, "".join(f"{record_id}\n" for record_id in ids))


def read_ids(path: str) -> list[str]:
    """Reads the ids of a text file, one per line.

    Raises:
      InputError: the file cannot be read, is empty, or names an id twice.
    """
    try:
        ids = files.read_text(path).splitlines()
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise InputError(
            f"The list of ids {path} cannot be read ({getattr(error, 'message', error)}): expected"
            " a text file with an id on each line, as cvrl_tf.make_subset writes it."
        ) from None
    if not ids or len(set(ids)) < len(ids):
        raise InputError(
            f"{path} has {len(ids)} lines with {len(set(ids))} different ids: expected one or more"
            " ids, each once."
        )
    return ids


def positions(name: str, ids: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """Finds records by their ids.

    Args:
      name: what the user calls the records.
      ids: N ids of all records.
      chosen: n ids.

    Returns:
      (n,) int64, the positions in `ids` of those that are in `chosen`, ascending.

    Raises:
      InputError: an id in `chosen` is that of no record, or of several.
    """
    wanted = set(chosen)
    found = np.array([number for number, one in enumerate(ids) if one in wanted], np.int64)
    missing = sorted(wanted - {ids[number] for number in found})
    if missing:
        raise InputError(
            f"{len(missing)} of {len(wanted)} ids of the list are not in {name}, the first is"
            f" '{missing[0]}': give the list that was made of these videos."
        )
    if len(found) > len(wanted):
        raise InputError(
            f"{len(wanted)} ids of the list are those of {len(found)} records of {name}: expected"
            " one record of each; is a pattern given twice?"
        )
    return found


def restrict(
    videos: IndexedSource, labels: RecordLabels, chosen: Sequence[str]
) -> tuple[IndexedSource, RecordLabels]:
    """Selects the videos, and their labels, whose ids are chosen; raises as `positions`."""
    numbers = positions(videos.name, labels.ids, chosen)
    return videos.select(numbers), labels.select(numbers)
