import numpy as np
import pytest

from cvrl_tf.conversion import splits
from cvrl_tf.conversion.catalogs import Catalog, Entry
from cvrl_tf.errors import InputError

FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}


def labelled(*counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return [f"{label}/{number}" for number, label in enumerate(labels)], labels


def counts_of(chosen, labels):
    return [np.bincount(chosen[labels == label], minlength=3).tolist() for label in set(labels)]


def test_each_class_gets_its_fractions():
    ids, labels = labelled(20, 40, 100)
    chosen = splits.assign(ids, labels, np.arange(160), [0.7, 0.15, 0.15], seed=0)
    assert counts_of(chosen, labels) == [[14, 3, 3], [28, 6, 6], [70, 15, 15]]


def test_small_classes_are_in_all_splits():
    ids, labels = labelled(3, 4, 7)
    chosen = splits.assign(ids, labels, np.arange(14), [0.8, 0.1, 0.1], seed=0)
    assert counts_of(chosen, labels) == [[1, 1, 1], [2, 1, 1], [5, 1, 1]]


def test_units_stay_together_and_the_largest_is_for_training():
    ids, labels = labelled(16)
    units = np.array([0] * 10 + [1] * 4 + [2, 3])
    chosen = splits.assign(ids, labels, units, [0.7, 0.15, 0.15], seed=0)
    assert len(set(zip(units, chosen, strict=True))) == 4
    assert sorted(counts_of(chosen, labels)[0]) == [2, 4, 10]
    assert chosen[0] == 0


def test_units_of_several_classes_are_balanced_together():
    ids, labels = labelled(20, 20)
    units = np.tile(np.arange(10), 4)  # each unit: two videos of each class
    chosen = splits.assign(ids, labels, units, [0.6, 0.2, 0.2], seed=0)
    assert counts_of(chosen, labels) == [[12, 4, 4], [12, 4, 4]]


def test_the_order_of_the_videos_does_not_matter_but_the_seed_does():
    ids, labels = labelled(30, 30)
    fractions = [0.7, 0.15, 0.15]
    chosen = splits.assign(ids, labels, np.arange(60), fractions, seed=0)
    order = np.random.default_rng(0).permutation(60)
    shuffled = splits.assign(
        [ids[number] for number in order], labels[order], np.arange(60), fractions, seed=0
    )
    assert np.array_equal(shuffled, chosen[order])
    other = splits.assign(ids, labels, np.arange(60), fractions, seed=1)
    assert not np.array_equal(other, chosen)


def test_a_split_with_fraction_0_stays_empty():
    ids, labels = labelled(10)
    chosen = splits.assign(ids, labels, np.arange(10), [0.8, 0.0, 0.2], seed=0)
    assert np.bincount(chosen, minlength=3).tolist() == [8, 0, 2]


def test_groups_and_pairs_are_joined():
    units = splits.join(["a", "b", "a", "c", "d", "e"], [(2, 3), (4, 5)])
    assert [units[number] == units[0] for number in range(6)] == [True, False] + [True] * 2 + [
        False
    ] * 2
    assert units[4] == units[5] != units[1]


def catalog(**counts):
    entries = [
        Entry(f"{name}/{number}", "", label, name)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]
    return Catalog("folder", {"train": entries}, list(counts))


@pytest.mark.parametrize(
    "videos, fractions, expected",
    [
        (catalog(dive=9), FRACTIONS, "Found one class, 'dive', expected two or more"),
        (
            catalog(dive=9, swim=1, run=2),
            FRACTIONS,
            r"2 of 3 classes have fewer videos than there are splits \('swim' has 1, 'run' has 2\):"
            " expected 3 or more, one for each of train, validation, test",
        ),
        (
            catalog(dive=9, swim=9),
            {"train": -0.1, "validation": 0.5, "test": 0.6},
            "Found validation_fraction=0.5 and test_fraction=0.6: expected a sum above 0 and below",
        ),
        (
            catalog(dive=9, swim=9),
            {"train": 1.0, "validation": 0.0, "test": 0.0},
            "Found validation_fraction=0 and test_fraction=0: expected a sum above 0",
        ),
    ],
)
def test_what_cannot_be_split_is_refused(videos, fractions, expected):
    with pytest.raises(InputError, match=expected):
        splits.check(videos, fractions)


def test_a_split_that_would_lack_a_class_is_refused():
    _, labels = labelled(4, 4)
    units = np.array([0, 0, 1, 1, 2, 3, 4, 5])
    chosen = np.array([0, 0, 1, 1, 0, 0, 1, 2])
    with pytest.raises(
        InputError,
        match="The split test would have no video of the class 'dive': its 4 videos can be"
        " separated into 2 only",
    ):
        splits.check_none_empty(chosen, labels, units, ["dive", "swim"], FRACTIONS)
    splits.check_none_empty(chosen, labels, units, ["dive", "swim"], FRACTIONS | {"test": 0.0})
