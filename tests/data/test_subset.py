import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.data import subset
from cvrl_tf.data.labels import read_labels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError


def _data(*sizes):
    """Ids such as 2/13 and labels of classes of these sizes."""
    pairs = [
        (f"{label}/{index}", label) for label, size in enumerate(sizes) for index in range(size)
    ]
    ids, labels = zip(*pairs, strict=True)
    return list(ids), np.array(labels)


def _counts(chosen, num_classes):
    labels = [int(record_id.split("/")[0]) for record_id in chosen]
    return np.bincount(labels, minlength=num_classes).tolist()


@pytest.mark.parametrize(
    ("sizes", "fraction", "counts"),
    [
        ((40, 40, 40), 0.1, [4, 4, 4]),
        # 0.3 x 30 = 9: 4, 4 and the one that there is.
        ((20, 9, 1), 0.3, [4, 4, 1]),
        # 0.5 x 30 = 15: once the small class has given its 2, the others share 13 as 6 and 7.
        ((2, 21, 7), 0.5, [2, 6, 7]),
        # One of each class, though 0.01 x 24 rounds to none.
        ((8, 8, 8), 0.01, [1, 1, 1]),
        ((3, 0, 5), 1.0, [3, 0, 5]),
    ],
)
def test_classes_are_as_equal_as_their_sizes_allow(sizes, fraction, counts):
    ids, labels = _data(*sizes)
    chosen = [subset.choose(ids, labels, fraction, seed) for seed in range(8)]
    for one in chosen:
        assert len(set(one)) == len(one)
        found = _counts(one, len(sizes))
        if sizes == (2, 21, 7):
            # Which class has one more is drawn.
            assert found in ([2, 6, 7], [2, 7, 6])
        else:
            assert found == counts
    if sizes == (2, 21, 7):
        assert len({tuple(_counts(one, 3)) for one in chosen}) == 2


def test_a_small_subset_lies_in_a_large_one():
    ids, labels = _data(50, 30, 5, 15)
    small, large = (subset.choose(ids, labels, fraction, seed=3) for fraction in (0.05, 0.6))
    assert large[: len(small)] == small and (len(small), len(large)) == (5, 60)


def test_a_subset_depends_on_the_seed_and_not_on_the_order_of_the_records():
    ids, labels = _data(30, 30)
    chosen = subset.choose(ids, labels, 0.2, seed=1)
    shuffled = np.random.default_rng(0).permutation(60)
    again = subset.choose([ids[number] for number in shuffled], labels[shuffled], 0.2, seed=1)
    assert again == chosen
    # 6 of the 30 of a class: another seed shares some of them only by chance.
    assert len(set(chosen) & set(subset.choose(ids, labels, 0.2, seed=2))) < 9
    assert subset.choose(["a", "b", "c", "d"], np.array([0, 0, 1, 1]), 0.5, seed=0) == EXPECTED


EXPECTED = ["b", "c"]  # never changes: published lists must be reproducible


def test_ids_are_written_and_read(tmp_path):
    path = str(tmp_path / "ids.txt")
    subset.write_ids(path, ["b/ü 1", "a"])
    assert (tmp_path / "ids.txt").read_text() == "b/ü 1\na\n"
    ids = subset.read_ids(path)
    assert ids == ["b/ü 1", "a"]
    assert subset.positions("data", ["a", "c", "b/ü 1"], ids).tolist() == [0, 2]


def test_records_are_restricted_to_a_list(shards):
    videos = find_source(shards, "train_data").indexed()
    labels = read_labels(videos)
    some, some_labels = subset.restrict(videos, labels, ["video_9", "video_4"])
    assert some_labels.ids == ["video_4", "video_9"] and some_labels.labels.tolist() == [0, 1]
    for number, record_id in enumerate([b"video_4", b"video_9"]):
        assert some.read(tf.constant(number))["id"] == record_id


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"ids\.txt cannot be read \(.*No such file.*\): expected a text file with an id"),
        ("", r"ids\.txt has 0 lines with 0 different ids: expected one or more"),
        ("a\nb\na\n", r"ids\.txt has 3 lines with 2 different ids"),
    ],
)
def test_a_list_that_cannot_be_used_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "ids.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        subset.read_ids(str(tmp_path / "ids.txt"))


def test_ids_that_do_not_fit_the_records_are_named():
    with pytest.raises(InputError, match=r"2 of 3 ids of the list are not in train-\*.* is 'x'"):
        subset.positions("train-*", ["a", "b"], ["y", "a", "x"])
    with pytest.raises(InputError, match="1 ids of the list are those of 2 records of train"):
        subset.positions("train-*", ["a", "b", "a"], ["a"])


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        (["a", "b", "c"], [0, -1, -2], "2 of 3 records of data have no label, the first is 'b'"),
        (["a", "b", "a"], [0, 1, 1], "3 records of data have 2 different ids, such as 2 times 'a'"),
        (["a", ""], [0, 1], "have 2 different ids, such as 1 times ''"),
        (
            ["a", "b\nc", "d\u2028"],
            [0, 1, 1],
            r"2 ids of data have line breaks.* is 'b\\nc': expec",
        ),
    ],
)
def test_records_of_which_no_subset_can_be_made_are_named(ids, labels, message):
    with pytest.raises(InputError, match=message):
        subset.check("data", ids, np.array(labels))


def test_whole_groups_of_each_class_are_held_out():
    # As in UCF-101: five groups of four clips in each of two classes, and a third, smaller class.
    videos = [(f"g{g}", c) for c in ("dive", "jump") for g in range(5) for _ in range(4)]
    videos += [("g1", "run"), ("g7", "run"), ("g8", "run")]
    groups, classes = zip(*videos, strict=True)
    held = subset.hold_out(groups, classes, 0.2, seed=0)
    held_groups = {groups[number] for number in held}
    assert not held_groups & {groups[n] for n in range(len(groups)) if n not in set(held)}
    for name in ("dive", "jump", "run"):
        numbers = [number for number in range(len(classes)) if classes[number] == name]
        count = len(set(numbers) & set(held))
        assert 0 < count < len(numbers)
    assert len(held) <= 4 * 2 + 4 * 2 + 2
    order = np.random.default_rng(0).permutation(len(groups))
    again = subset.hold_out([groups[n] for n in order], [classes[n] for n in order], 0.2, seed=0)
    assert sorted(order[again]) == list(held)
    choices = {tuple(subset.hold_out(groups, classes, 0.2, seed=seed)) for seed in range(8)}
    assert len(choices) > 1


def test_without_groups_the_share_of_each_class_is_exact():
    classes = ["a"] * 40 + ["b"] * 10 + ["c"] * 2
    held = subset.hold_out([f"video {n}" for n in range(52)], classes, 0.2, seed=3)
    assert [sum(classes[n] == name for n in held) for name in "abc"] == [8, 2, 1]


@pytest.mark.parametrize(
    ("groups", "classes", "message"),
    [
        (["1", "2", "3"], ["a", "a", "b"], "^The class 'b' has one video, expected two or more, "),
        (["1", "1", "1", "2"], ["b", "b", "a", "a"], "^The class 'b' has one group .2 videos., "),
        (
            ["1", "2", "1", "3", "2", "3"],
            ["a", "a", "b", "b", "c", "c"],
            "^No group of the class '.' can be held out without leaving another class without a",
        ),
    ],
)
def test_a_class_that_would_be_left_empty_is_named(groups, classes, message):
    with pytest.raises(InputError, match=message):
        subset.hold_out(groups, classes, 0.5, seed=0)
