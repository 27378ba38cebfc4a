import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from cvrl_tf.data import sampling

SEED = tf.constant([3, 4], tf.int32)


def _draw_many(function, count):
    seeds = tf.stack([tf.range(count), tf.fill([count], 9)], axis=1)
    draw_all = tf.function(lambda: tf.map_fn(function, seeds, fn_output_signature=tf.int32))
    return draw_all().numpy()


def test_fold_separates_values_and_their_order():
    folded = {
        tuple(sampling.fold(SEED, *values).numpy().tolist())
        for values in [(), (0,), (1,), (0, 1), (1, 0), (0, 0)]
    }
    assert len(folded) == 6


def test_purposes_are_fixed():
    # Renumbering a purpose changes every run of every user.
    assert [purpose.name for purpose in sampling.Purpose] == [
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
        "DROPOUT",
        "SUBSET",
        "FRAME",
        "OTHER_STARTS",
    ]
    assert list(sampling.Purpose) == list(range(1, 15))


LINEAR = sampling.IntervalDistribution()
# P(T <= x M) of the paper's figure 3, (a) to (f), and of another power.
DISTRIBUTIONS = {
    "a": (LINEAR, lambda x: 2 * x - x**2),
    "b": (sampling.IntervalDistribution("decreasing", 0.5), lambda x: 3 * x - 2 * x**1.5),
    "c": (sampling.IntervalDistribution("decreasing", 2.0), lambda x: 1.5 * x - 0.5 * x**3),
    "d": (sampling.IntervalDistribution("uniform"), lambda x: x),
    "e": (sampling.IntervalDistribution("increasing", 1.0), lambda x: x**2),
    "f": (sampling.IntervalDistribution("increasing", 2.0), lambda x: x**3),
    "any": (sampling.IntervalDistribution("decreasing", 5.0), lambda x: 1.2 * x - 0.2 * x**6),
}


@pytest.mark.parametrize("figure", DISTRIBUTIONS)
def test_intervals_follow_the_closed_form(figure):
    distribution, cumulative = DISTRIBUTIONS[figure]
    limit, count = 20, 4000
    draws = _draw_many(lambda seed: distribution.draw(tf.constant(limit), seed), count)
    # The floor of the continuous draw: P(t) = F((t + 1) / M) - F(t / M).
    expected = count * np.diff(cumulative(np.arange(limit + 1) / limit))
    observed = np.bincount(draws, minlength=limit)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_intervals_are_those_of_the_authors(golden):
    values = golden("intervals")
    limit = int(values["num_frames"] - (values["clip_frames"] - 1) * values["stride"])
    assert limit == 220
    count = int(values["draws"])
    seeds = tf.stack([tf.range(count), tf.fill([count], 2)], axis=1)
    draws = tf.vectorized_map(lambda seed: LINEAR.draw(tf.constant(limit), seed), seeds).numpy()
    # Two samples of one distribution; the sparse tail in one bin.
    table = np.stack([values["histogram"], np.bincount(draws, minlength=400)])
    assert table[:, limit:].sum() == 0
    table = np.concatenate([table[:, :200], table[:, 200:].sum(axis=1, keepdims=True)], axis=1)
    assert stats.chi2_contingency(table).pvalue > 0.01
    # Theirs agrees with the closed form that ours is tested against, not with its rounding.
    edges = np.append(np.arange(201), limit) / limit
    expected = count * np.diff(2 * edges - edges**2)
    assert stats.chisquare(table[0], expected).pvalue > 0.01


@pytest.mark.parametrize("limit", [1, 2, 187, 2_000_000])
@pytest.mark.parametrize("figure", DISTRIBUTIONS)
def test_intervals_stay_below_their_limit(figure, limit):
    distribution, _ = DISTRIBUTIONS[figure]
    draws = _draw_many(lambda seed: distribution.draw(tf.constant(limit), seed), 200)
    assert draws.min() >= 0
    assert draws.max() <= limit - 1


def test_start_pairs_have_the_intervals_of_the_distribution():
    late = sampling.IntervalDistribution("increasing", 8.0)
    pairs = _draw_many(
        lambda seed: sampling.draw_start_pair(tf.constant(40), 8, 2, seed, late), 300
    )
    # Mean 26 * 9 / 10 - 0.5 = 22.9 of at most 25.
    assert np.abs(pairs[:, 0] - pairs[:, 1]).mean() == pytest.approx(22.9, abs=0.6)


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


def _pair_table(cumulative, limit):
    """P(first start, other start) of a pair, by its definition."""
    table = np.zeros((limit, limit))
    for interval, share in enumerate(np.diff(cumulative(np.arange(limit + 1) / limit))):
        for earlier in range(limit - interval):
            table[earlier, earlier + interval] += share / (limit - interval) / 2
            table[earlier + interval, earlier] += share / (limit - interval) / 2
    return table


def _pvalue(observed, expected):
    """Of a chi-square test, rare cells in one."""
    observed, expected = observed.ravel(), expected.ravel()
    often = expected >= 5
    if not often.all():
        observed, expected = (np.append(x[often], x[~often].sum()) for x in (observed, expected))
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("figure", DISTRIBUTIONS)
def test_the_first_and_any_other_of_four_starts_are_distributed_as_a_pair(figure):
    distribution, cumulative = DISTRIBUTIONS[figure]
    # 14 frames, clips of 4 at stride 2: 8 starts.
    limit, count = 8, 3000
    starts = _draw_many(
        lambda seed: sampling.draw_starts(tf.constant(14), 4, 2, seed, distribution, 4), count
    )
    assert starts.min() == 0 and starts.max() == limit - 1
    pair = _pair_table(cumulative, limit)
    for other in (1, 2, 3):
        table = np.zeros((limit, limit))
        np.add.at(table, (starts[:, 0], starts[:, other]), 1)
        assert _pvalue(table, count * pair) > 1e-3
        intervals = np.bincount(np.abs(starts[:, other] - starts[:, 0]), minlength=limit)
        expected = count * np.diff(cumulative(np.arange(limit + 1) / limit))
        assert _pvalue(intervals, expected) > 1e-3
    # Given the first, the others are independent.
    given = pair / pair.sum(axis=1, keepdims=True)
    joint = np.einsum("f,fi,fj->ij", pair.sum(axis=1), given, given)
    for one, two in ((1, 2), (2, 3)):
        table = np.zeros((limit, limit))
        np.add.at(table, (starts[:, one], starts[:, two]), 1)
        assert _pvalue(table, count * joint) > 1e-3


def test_the_first_two_of_four_starts_are_the_pair():
    for num_frames in (40, 5):
        for index in range(10):
            seed = tf.constant([index, 3])
            four = sampling.draw_starts(tf.constant(num_frames), 8, 2, seed, num_clips=4)
            pair = sampling.draw_start_pair(tf.constant(num_frames), 8, 2, seed)
            assert four.numpy().tolist()[:2] == pair.numpy().tolist()
            assert sampling.draw_starts(tf.constant(num_frames), 8, 2, seed).shape == (2,)


@pytest.mark.parametrize("num_frames", [15, 5])
def test_four_clips_of_a_video_with_one_start_or_none(num_frames):
    starts = _draw_many(
        lambda seed: sampling.draw_starts(tf.constant(num_frames), 8, 2, seed, num_clips=4), 400
    )
    if num_frames == 15:
        assert not starts.any()
        return
    for clip in range(4):
        counts = np.bincount(starts[:, clip], minlength=num_frames)
        assert len(counts) == num_frames and stats.chisquare(counts).pvalue > 1e-3
    assert np.abs(np.corrcoef(starts.T) - np.eye(4)).max() < 0.2


def test_the_same_seed_gives_the_same_pair():
    first = sampling.draw_start_pair(tf.constant(100), 8, 2, SEED).numpy()
    again = sampling.draw_start_pair(tf.constant(100), 8, 2, SEED).numpy()
    assert first.tolist() == again.tolist()


def test_clip_indices_have_the_stride_and_go_round():
    assert sampling.clip_indices(3, 30, 4, 2).numpy().tolist() == [3, 5, 7, 9]
    assert sampling.clip_indices(3, 5, 4, 2).numpy().tolist() == [3, 0, 2, 4]


@pytest.mark.parametrize("num_frames", [250, 70, 40])
def test_test_clips_are_those_of_the_authors(golden, num_frames):
    values = golden("test_views")
    for name, num_clips in (("linspace10", 10), ("middle", 1)):
        starts = sampling.even_starts(tf.constant(num_frames), num_clips, 32, 2)
        indices = [
            sampling.clip_indices(start, num_frames, 32, 2).numpy() for start in tf.unstack(starts)
        ]
        expected = values[f"{name}_len{num_frames}_t32_s2"].reshape(num_clips, 32)
        np.testing.assert_array_equal(indices, expected)


def test_the_start_of_a_single_clip_is_uniform_over_all_that_fit():
    # 10 - 3 * 2 = 4 starts of a long video; all 5 frames of a short one.
    for num_frames, expected in ((10, 4), (5, 5)):
        starts = [
            int(sampling.draw_start(num_frames, 4, 2, tf.constant([seed, 0])))
            for seed in range(400)
        ]
        counts = np.bincount(starts)
        assert len(counts) == expected
        deviation = np.sqrt(400 / expected * (1 - 1 / expected))
        assert np.all(np.abs(counts - 400 / expected) < 3.5 * deviation)


@pytest.mark.parametrize("num_frames", [40, 10])
def test_with_the_interval_zero_both_clips_are_the_same(num_frames):
    zero = sampling.IntervalDistribution("zero")
    starts = _draw_many(
        lambda seed: sampling.draw_start_pair(tf.constant(num_frames), 8, 2, seed, zero), 100
    )
    np.testing.assert_array_equal(starts[:, 0], starts[:, 1])
    four = sampling.draw_starts(tf.constant(num_frames), 8, 2, SEED, zero, 4).numpy()
    assert len(set(four.tolist())) == 1
    # 40 - 7 * 2 starts, or any frame of a video shorter than a clip.
    assert starts.max() < (26 if num_frames == 40 else 10) and len(np.unique(starts)) > 8


def test_spaced_indices():
    assert sampling.spaced(10, 4) == [0, 3, 6, 9]
    assert sampling.spaced(3, 0) == sampling.spaced(3, 8) == [0, 1, 2]
    assert sampling.spaced(7, 1) == [0]
