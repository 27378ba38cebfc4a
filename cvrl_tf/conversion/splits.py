"""Splits the user's own videos: stratified by class, with groups and twins in one split."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cvrl_tf.conversion.catalogs import Catalog
from cvrl_tf.errors import InputError

NAMES = ("train", "validation", "test")
_PASSES = 20  # over all units, to improve a split; few are needed


def check(catalog: Catalog, fractions: Mapping[str, float]) -> None:
    """Checks that videos can be split, before any long work.

    Args:
      catalog: the videos, of one split.
      fractions: of the splits, by the names of `NAMES`.

    Raises:
      InputError: one class, a class with fewer videos than there are splits, or no fraction left
        for training.
    """
    used = [name for name in NAMES if fractions[name] > 0]
    if fractions["train"] <= 0 or len(used) < 2:
        asked = " and ".join(f"{name}_fraction={fractions[name]:g}" for name in NAMES[1:])
        raise InputError(
            f"Found {asked}: expected a sum above 0 and below 1; what remains is for training."
        )
    if len(catalog.classes) == 1:
        raise InputError(
            f"Found one class, '{catalog.classes[0]}', expected two or more: give the directory"
            " that holds the class folders."
        )
    (entries,) = catalog.splits.values()
    counts = Counter(entry.label_name or "all videos" for entry in entries)
    classes = {name: counts[name] for name in catalog.classes or counts}
    few = [name for name, count in classes.items() if count < len(used)]
    if few:
        shown = ", ".join(f"'{name}' has {classes[name]}" for name in few[:3])
        raise InputError(
            f"{len(few)} of {len(classes)} classes have fewer videos than there are splits"
            f" ({shown}): expected {len(used)} or more, one for each of {', '.join(used)}; add"
            " videos, move these folders elsewhere, or ask for fewer splits."
        )


def join(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Joins videos that must stay together.

    Args:
      groups: the group of each of N videos.
      pairs: of numbers of videos.

    Returns:
      (N,) int64, the same number for all videos that groups and pairs connect, directly or by
      others.
    """
    firsts: dict[str, int] = {}
    parents = np.array([firsts.setdefault(group, n) for n, group in enumerate(groups)], np.int64)

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = int(parents[number])
        return number

    for first, second in pairs:
        parents[root(first)] = root(second)
    return np.array([root(number) for number in range(len(groups))], np.int64)


def assign(
    ids: Sequence[str],
    labels: np.ndarray,
    units: np.ndarray,
    fractions: Sequence[float],
    seed: int,
) -> np.ndarray:
    """Assigns each unit to a split, so that all classes come near to the fractions.

    The result depends on ids, labels and units, but not on the order of the videos.

    Args:
      ids: N ids, all different.
      labels: (N,) integers from 0, class indices.
      units: (N,) integers; videos with the same number get the same split.
      fractions: of the S splits; they sum to 1.
      seed: of the choice among units that fit equally well.

    Returns:
      (N,) int64, the split of each video, in [0, S - 1].
    """
    _, units = np.unique(units, return_inverse=True)
    num_units, num_classes = int(units.max()) + 1, int(labels.max()) + 1
    counts = np.zeros((num_units, num_classes + 1))
    np.add.at(counts, (units, labels), 1)
    counts[:, -1] = counts.sum(axis=1)  # all videos, as if a class
    keys = [_hash(seed, ids[number]) for number in range(len(ids))]
    smallest = [min(group) for group in _grouped(keys, units, num_units)]
    order = sorted(range(num_units), key=lambda unit: (-counts[unit, -1], smallest[unit]))
    plan = _Plan(counts, np.asarray(fractions))
    for unit in order:
        plan.move(unit, int(np.argmin(plan.costs(unit))))
    for _ in range(_PASSES):
        if not any([plan.improve(unit) for unit in reversed(order)]):
            break
    return plan.splits[units]


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _grouped(keys: Sequence[bytes], units: np.ndarray, num_units: int) -> list[list[bytes]]:
    groups: list[list[bytes]] = [[] for _ in range(num_units)]
    for key, unit in zip(keys, units, strict=True):
        groups[unit].append(key)
    return groups


class _Plan:
    """Which split each unit is in.

    Args:
      counts: (U, C + 1), videos of each unit and class, the last of all classes.
      fractions: (S,), of the splits.

    Attributes:
      splits: (U,) int64, -1 before the unit is assigned.
    """

    def __init__(self, counts: np.ndarray, fractions: np.ndarray):
        self._counts = counts
        self._totals = np.maximum(counts.sum(axis=0), 1)
        self._targets = fractions[:, np.newaxis] * self._totals
        self._held = np.zeros((len(fractions), counts.shape[1]))
        self._wanted = fractions > 0
        self.splits = np.full(len(counts), -1, np.int64)

    def costs(self, unit: int) -> np.ndarray:
        """(S,), the increase of the squared errors if a unit is added to each split."""
        classes = np.flatnonzero(self._counts[unit])
        added, held = self._counts[unit, classes], self._held[:, classes]
        change = added * (2 * (held - self._targets[:, classes]) + added) / self._totals[classes]
        return np.where(self._wanted, change.sum(axis=1), np.inf)

    def move(self, unit: int, split: int) -> None:
        """Moves a unit to a split; -1 for none."""
        if self.splits[unit] >= 0:
            self._held[self.splits[unit]] -= self._counts[unit]
        if split >= 0:
            self._held[split] += self._counts[unit]
        self.splits[unit] = split

    def improve(self, unit: int) -> bool:
        """Moves a unit to the best split: one that lacks its classes, or the one nearest to the
        fractions. Returns whether that is another split."""
        before = int(self.splits[unit])
        self.move(unit, -1)
        classes = np.flatnonzero(self._counts[unit, :-1])
        filled = (self._held[:, classes] == 0).sum(axis=1) * self._wanted
        costs = np.where(filled == filled.max(), self.costs(unit), np.inf)
        best = int(np.argmin(costs))
        if filled[best] == filled[before] and costs[best] > costs[before] - 1e-9:
            best = before
        self.move(unit, best)
        return best != before


def check_none_empty(
    chosen: np.ndarray,
    labels: np.ndarray,
    units: np.ndarray,
    classes: Sequence[str],
    fractions: Mapping[str, float],
) -> None:
    """Raises InputError if a wanted split has no video of a class.

    Args:
      chosen: (N,) the split of each video, a number in `NAMES`.
      labels: (N,) class indices.
      units: (N,) videos that stay together.
      classes: their names; one for videos without labels.
      fractions: of the splits, by the names of `NAMES`.
    """
    for label, name in enumerate(classes):
        mine = labels == label
        for split, split_name in enumerate(NAMES):
            if fractions[split_name] > 0 and not (mine & (chosen == split)).any():
                raise InputError(
                    f"The split {split_name} would have no video of the class '{name}': its"
                    f" {mine.sum()} videos can be separated into {len(np.unique(units[mine]))}"
                    " only, because groups and nearly equal videos stay together; add videos,"
                    " change group_pattern, or ask for fewer splits."
                )
