import numpy as np
import pytest

from cvrl_tf.evaluation import probes
from cvrl_tf.evaluation.features import Features


def _features(angles, labels):
    """Unit vectors at angles in degrees."""
    angles = np.radians(angles)
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    return Features(values, np.array(labels), [str(angle) for angle in angles])


def _predict(train, test, num_neighbors, temperature=probes.VOTE_TEMPERATURE):
    neighbors = probes.nearest(train, test, num_neighbors)
    return probes.knn_votes(neighbors, train.labels, num_neighbors, 10, temperature).argmax(axis=1)


def test_votes_are_weighted_by_similarity():
    train = _features([0, 40, 42, 180], [5, 7, 7, 9])
    test = _features([10], [5])
    # cos 10 = 0.985 for class 5; cos 30 + cos 32: 0.866, 0.848 for class 7.
    votes_5 = np.exp(np.cos(np.radians(10)) / 0.07)
    votes_7 = np.exp(np.cos(np.radians(30)) / 0.07) + np.exp(np.cos(np.radians(32)) / 0.07)
    assert votes_5 > votes_7
    assert _predict(train, test, 3, temperature=0.07).tolist() == [5]
    # At a high temperature the two outvote the nearest.
    assert _predict(train, test, 3, temperature=10.0).tolist() == [7]
    assert _predict(train, test, 1, temperature=10.0).tolist() == [5]


@pytest.mark.parametrize("count", [1, 5, 50])
@pytest.mark.parametrize("train_rows", [3, 7, 50, 64])
def test_neighbors_in_blocks_are_those_of_the_whole(tmp_path, monkeypatch, count, train_rows):
    """Cosines are whole numbers of quarters: exact in any order of sums, and many are equal."""
    rng = np.random.default_rng(count)
    values = rng.integers(-2, 3, (73, 6)).astype(np.float16) / 2
    np.save(tmp_path / "train.npy", values[:50])
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
    train, test = (
        Features(rows, np.zeros(len(rows), int), [""] * len(rows)) for rows in (mapped, values[50:])
    )
    cosines = values[50:].astype(float) @ values[:50].astype(float).T
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    boundary = np.sort(-cosines, axis=1)
    assert count == 50 or (boundary[:, count - 1] == boundary[:, count]).any()
    monkeypatch.setattr(probes, "TRAIN_ROWS", train_rows)
    monkeypatch.setattr(probes, "TEST_ROWS", 10)
    found = probes.nearest(train, test, count)
    np.testing.assert_array_equal(found.indices, expected)
    assert found.indices.dtype == np.int64 and found.cosines.dtype == np.float32
    np.testing.assert_array_equal(found.cosines, np.take_along_axis(cosines, expected, axis=1))


def test_tiny_temperature_does_not_overflow():
    train, test = _features([0, 90], [0, 1]), _features([80], [1])
    assert _predict(train, test, 2, temperature=1e-4).tolist() == [1]


def test_the_nearest_come_first_and_equals_in_their_order():
    train = _features([50, 10, 80, 10, 30], [0, 1, 2, 3, 4])
    neighbors = probes.nearest(train, _features([8, 85], [0, 0]), 3)
    # 8 degrees: both at 10, then 30; 85 degrees: 80, 50, 30.
    assert neighbors.indices.tolist() == [[1, 3, 4], [2, 0, 4]]
    expected = np.cos(np.radians([[2, 2, 22], [5, 35, 55]]))
    np.testing.assert_allclose(neighbors.cosines, expected, atol=1e-6)
    many = _features(np.random.default_rng(0).integers(0, 4, 300), np.zeros(300, int))
    found = probes.nearest(many, _features([0], [0]), 200).indices[0]
    cosines = many.values[:, 0]
    assert found.tolist() == sorted(found, key=lambda index: (-cosines[index], index))


def test_votes_by_hand():
    train = _features([0, 60, 90], [2, 0, 2])
    neighbors = probes.nearest(train, _features([0], [0]), 3)
    # Cosines 1, 0.5 and 0; as multiples of the first vote.
    votes = probes.knn_votes(neighbors, train.labels, 3, 4, temperature=0.5)
    np.testing.assert_allclose(votes, [[np.exp(-1), 0, 1 + np.exp(-2), 0]], rtol=1e-5)
    two = probes.knn_votes(neighbors, train.labels, 2, 4, temperature=0.5)
    np.testing.assert_allclose(two, [[np.exp(-1), 0, 1, 0]], rtol=1e-5)
