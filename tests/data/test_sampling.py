import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from cvrl_tf.data import sampling

SEED = tf.constant([3, 4], tf.int32)


def _draw_many(function, count):
    seeds = tf.stack([tf.range(count), tf.fill([count], 9)], axis=1)
    return tf.map_fn(function, seeds, fn_output_signature=tf.int32).numpy()


def test_fold_separates_values_and_their_order():
    folded = {
        tuple(sampling.fold(SEED, *values).numpy().tolist())
        for values in [(), (0,), (1,), (0, 1), (1, 0), (0, 0)]
    }
    assert len(folded) == 6


def test_purposes_are_fixed():
    # Renumbering a purpose changes every run of every user.
    assert [purpose.name for purpose in sampling.Purpose] == [
        "FILE_ORDER",
        "SHUFFLE",
        "INTERVAL",
        "FIRST_START",
        "VIEW_ORDER",
        "CROP",
        "FLIP",
        "COLOR_JITTER",
        "GRAYSCALE",
        "BLUR",
        "SOLARIZE",
    ]
    assert list(sampling.Purpose) == list(range(11))


def test_interval_follows_the_linear_distribution():
    # P(t <= k) = 1 - (1 - (k + 1) / M)^2 for the floor of the inverse.
    limit, count = 20, 4000
    draws = _draw_many(lambda seed: sampling.draw_interval(tf.constant(limit), seed), count)
    edges = 1 - (1 - np.arange(limit + 1) / limit) ** 2
    observed = np.bincount(draws, minlength=limit)
    assert stats.chisquare(observed, count * np.diff(edges)).pvalue > 0.01


@pytest.mark.parametrize("limit", [1, 2, 187])
def test_interval_stays_below_its_limit(limit):
    draws = _draw_many(lambda seed: sampling.draw_interval(tf.constant(limit), seed), 500)
    assert draws.min() >= 0
    assert draws.max() <= limit - 1


def test_start_pairs_fit_and_come_in_both_orders():
    # 40 frames, clips of 8 at stride 2: starts 0 to 25.
    pairs = _draw_many(lambda seed: sampling.draw_start_pair(tf.constant(40), 8, 2, seed), 2000)
    assert pairs.min() == 0
    assert pairs.max() == 25
    earlier_first = np.sum(pairs[:, 0] < pairs[:, 1])
    different = np.sum(pairs[:, 0] != pairs[:, 1])
    assert stats.binomtest(int(earlier_first), int(different)).pvalue > 0.01
    # Given t, the earlier start is uniform on [0, 25 - t].
    intervals = np.abs(pairs[:, 0] - pairs[:, 1])
    earlier = pairs.min(axis=1)
    position = (earlier + 0.5) / (26 - intervals)
    assert stats.kstest(position + 0 * earlier, "uniform").pvalue > 1e-4


def test_short_videos_have_independent_uniform_starts():
    pairs = _draw_many(lambda seed: sampling.draw_start_pair(tf.constant(5), 8, 2, seed), 2000)
    table = np.zeros((5, 5))
    np.add.at(table, (pairs[:, 0], pairs[:, 1]), 1)
    assert stats.chisquare(table.ravel(), np.full(25, 80)).pvalue > 0.01


def test_the_same_seed_gives_the_same_pair():
    first = sampling.draw_start_pair(tf.constant(100), 8, 2, SEED).numpy()
    again = sampling.draw_start_pair(tf.constant(100), 8, 2, SEED).numpy()
    assert first.tolist() == again.tolist()


def test_clip_indices_have_the_stride_and_go_round():
    assert sampling.clip_indices(3, 30, 4, 2).numpy().tolist() == [3, 5, 7, 9]
    assert sampling.clip_indices(3, 5, 4, 2).numpy().tolist() == [3, 0, 2, 4]


@pytest.mark.parametrize(
    ("num_frames", "num_clips", "expected"),
    [
        # Golden values of the authors' test-time sampling for 32 frames at stride 2.
        (250, 10, [0, 20, 41, 62, 82, 103, 124, 144, 165, 186]),
        (70, 10, [0, 0, 1, 2, 2, 3, 4, 4, 5, 6]),
        (40, 10, [0] * 10),
        (250, 1, [93]),
        (70, 1, [3]),
        (40, 1, [0]),
    ],
)
def test_even_starts(num_frames, num_clips, expected):
    starts = sampling.even_starts(tf.constant(num_frames), num_clips, 32, 2)
    assert starts.numpy().tolist() == expected
