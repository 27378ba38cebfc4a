import pytest

from cvrl_tf.conversion.catalogs import Catalog, Entry, split_by_lists
from cvrl_tf.errors import InputError

ENTRIES = [Entry(f"dive/{name}", f"/v/{name}.mp4", 0, "dive") for name in "abcd"]
CATALOG = Catalog("folder", {"train": ENTRIES}, ["dive"], ["before"])


def write(directory, **lists):
    for name, ids in lists.items():
        (directory / f"{name}.txt").write_text("".join(f"dive/{one}\n" for one in ids))
    return str(directory)


def test_lists_distribute_the_videos_and_keep_their_order(tmp_path):
    (tmp_path / "twins.csv").write_text("first,second\n")
    found = split_by_lists(CATALOG, write(tmp_path, test="b", train="ca"))
    assert list(found.splits) == ["train", "test"]
    assert found.splits["train"] == [ENTRIES[0], ENTRIES[2]]
    assert found.splits["test"] == [ENTRIES[1]]
    assert found.classes == ["dive"]
    assert found.notes == ["before", "skipped: 1 video that no list names."]


@pytest.mark.parametrize(
    "lists, expected",
    [
        ({}, "holds no lists: expected train.txt, test.txt and so on"),
        ({"train": "ab", "test": "bc"}, "names 1 video in two lists, the first is 'dive/b'"),
        ({"train": "ax"}, "1 of 2 ids of the list are not in the videos, the first is 'dive/x'"),
    ],
)
def test_lists_that_do_not_fit_are_refused(lists, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        split_by_lists(CATALOG, write(tmp_path, **lists))


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(InputError, match="annotations=.*none does not exist"):
        split_by_lists(CATALOG, str(tmp_path / "none"))
