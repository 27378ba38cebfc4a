import json

import numpy as np
import pytest

from cvrl_tf.conversion.state import Failure
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation.feature_store import open_store

IDENTITY = {"dtype": "float16", "weights": "00ff"}
VALUES = np.random.default_rng(0).normal(size=(7, 2, 3))


def _append(directory, numbers, finish=False):
    with open_store(directory, IDENTITY, (2, 3)) as store:
        for number in numbers:
            store.append(VALUES[number], number % 2 if number else -1, f"video_{number}")
        if finish:
            store.finish()
            return store.read()
        return store.ids


def test_what_is_written_comes_back_mapped(tmp_path):
    directory = str(tmp_path / "a" / "store")
    stored = _append(directory, range(7), finish=True)
    assert isinstance(stored.values, np.memmap) and stored.values.dtype == np.float16
    np.testing.assert_array_equal(stored.values, VALUES.astype(np.float16))
    assert stored.labels.tolist() == [-1, 1, 0, 1, 0, 1, 0]
    assert stored.ids == [f"video_{number}" for number in range(7)]
    # A plain .npy file.
    np.testing.assert_array_equal(np.load(f"{directory}/features.npy"), stored.values)
    with open_store(directory, IDENTITY, (2, 3)) as store:
        assert store.complete
        np.testing.assert_array_equal(store.read().values, stored.values)


@pytest.mark.parametrize(
    "damage",
    ["half a row", "half a line", "a row without a line", "a line without a row", "nothing"],
)
def test_it_goes_on_after_any_stop(tmp_path, damage):
    directory = tmp_path / "store"
    assert _append(str(directory), range(4)) == [f"video_{number}" for number in range(4)]
    videos, features = directory / "videos.jsonl", directory / "features.npy"
    there = 4
    if damage == "half a row":
        features.write_bytes(features.read_bytes() + b"\1" * 5)
    elif damage == "half a line":
        videos.write_bytes(videos.read_bytes()[:-3])
        there = 3
    elif damage == "a row without a line":
        features.write_bytes(features.read_bytes() + b"\1" * 12)
    elif damage == "a line without a row":
        features.write_bytes(features.read_bytes()[:-13])
        there = 2
    with open_store(str(directory), IDENTITY, (2, 3)) as store:
        assert not store.complete and len(store.ids) == there
    stored = _append(str(directory), range(there, 7), finish=True)
    with open_store(str(directory), IDENTITY, (2, 3)) as store:
        again = store.read()
    for found in (stored, again):
        np.testing.assert_array_equal(found.values, VALUES.astype(np.float16))
        assert found.ids == [f"video_{number}" for number in range(7)]


def test_failures_are_remembered(tmp_path):
    failures = [
        Failure(f"bad_{number}", f"/v/{number}.mp4", "cut\noff", "at 3 s", number, number == 1)
        for number in range(3)
    ]
    for number, failure in enumerate(failures):
        with open_store(str(tmp_path), IDENTITY, (2, 3)) as store:
            assert len(store.failures) == number
            store.note_failure(failure)
    with open_store(str(tmp_path), IDENTITY, (2, 3)) as store:
        assert store.num_skipped == 2
        store.finish()
        stored = store.read()
    assert stored.failures == failures
    assert stored.values.shape == (0, 2, 3) and stored.ids == []


def test_failures_of_earlier_versions_are_read(tmp_path):
    """They had no path of their own."""
    (tmp_path / "failures.jsonl").write_text(
        '{"id": "a", "reason": "/v/a.mp4: no", "kept": false}\n'
    )
    with open_store(str(tmp_path), IDENTITY, (2, 3)) as store:
        assert store.failures == {"a": Failure("a", "", "/v/a.mp4: no", "", 0, False)}


def test_a_store_of_something_else_is_refused(tmp_path):
    _append(str(tmp_path), [1])
    with (
        pytest.raises(
            InputError, match=r"holds unfinished values with weights=00ff \(now 11\): remove it"
        ),
        open_store(str(tmp_path), IDENTITY | {"weights": "11"}, (2, 3)),
    ):
        pass


def test_two_processes_do_not_write_one_store(tmp_path):
    with (
        open_store(str(tmp_path), IDENTITY, (2, 3)),
        pytest.raises(InputError, match=r"Another process \(\d+ on .*is writing to .*wait for it"),
        open_store(str(tmp_path), IDENTITY, (2, 3)),
    ):
        pass


def test_values_that_are_not_numbers_are_refused(tmp_path):
    with open_store(str(tmp_path), IDENTITY, (1, 2)) as store:
        with pytest.raises(InputError, match="features of 'a' are not finite as float16"):
            store.append(np.array([[1e6, 0.0]]), 0, "a")
        store.append(np.array([[1e3, 0.0]]), 0, "b")
    (line,) = (tmp_path / "videos.jsonl").read_text().splitlines()
    assert json.loads(line) == {"id": "b", "label": 0}


def test_a_damaged_file_is_named(tmp_path):
    _append(str(tmp_path), range(3), finish=True)
    features = tmp_path / "features.npy"
    features.write_bytes(features.read_bytes()[:-4])
    with (
        open_store(str(tmp_path), IDENTITY, (2, 3)) as store,
        pytest.raises(InputError, match=r"features\.npy is damaged .*remove the directory"),
    ):
        store.read()


def test_a_remote_directory_is_refused():
    with pytest.raises(InputError, match="gs://a/b is remote"), open_store("gs://a/b", {}, (1, 1)):
        pass
