import numpy as np
import pytest
from scipy import stats

from cvrl_tf.reproduction.intervals import over_videos_and_seeds


def test_one_seed_is_the_paired_t_interval():
    values = np.array([[1, 0, -1, 0, 1, 1, 0, 0]], float)
    found = over_videos_and_seeds(values)
    expected = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert found.value == 0.25
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high])
    assert not found.resolved


def test_two_seeds_and_three_videos_by_hand():
    # Means of the videos 1, 0.5, 0; of the seeds 1/3 and 2/3; of all 0.5.
    values = np.array([[1, 0, 0], [1, 1, 0]], float)
    # Mean squares: videos 2 * 0.25, seeds 3 * (1/6)^2 * 2 = 1/6, rest 1/6 (sum of squares 1/3, two
    # degrees of freedom): the seeds do not differ by more than the rest.
    found = over_videos_and_seeds(values)
    freedom = 0.5**2 / (0.5**2 / 2 + (1 / 6) ** 2 / 1 + (1 / 6) ** 2 / 2)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(0.5 / 6)
    np.testing.assert_allclose(
        [found.value, found.low, found.high], [0.5, 0.5 - half, 0.5 + half], rtol=1e-12
    )


def test_seeds_that_differ_widen_the_interval_by_hand():
    values = np.array([[1, 1, 1, 0], [0, 0, 1, 0]], float)
    # Means of the videos 0.5, 0.5, 1, 0; of the seeds 3/4 and 1/4; of all 0.5. Mean squares: videos
    # 2 * (0.5 / 3) = 1/3, seeds 4 * 2 * (1/4)^2 = 1/2, rest (2 * 0.25 + 2 * 0.25) / 2 / 3 = 1/6.
    found = over_videos_and_seeds(values)
    variance = 1 / 3 + 1 / 2 - 1 / 6
    freedom = variance**2 / ((1 / 3) ** 2 / 3 + (1 / 2) ** 2 / 1 + (1 / 6) ** 2 / 3)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance / 8)
    np.testing.assert_allclose([found.low, found.high], [0.5 - half, 0.5 + half], rtol=1e-12)


def test_equal_values_have_no_interval():
    for value in (0.0, 1.0):
        found = over_videos_and_seeds(np.full((3, 5), value))
        assert (found.value, found.low, found.high) == (value, value, value)
    assert over_videos_and_seeds(np.full((3, 5), 1.0)).resolved
    assert not over_videos_and_seeds(np.full((3, 5), 0.0)).resolved


@pytest.mark.parametrize(("of_videos", "of_seeds"), [(1.0, 0.0), (0.5, 0.05), (0.2, 0.2)])
def test_nineteen_of_twenty_intervals_contain_the_true_mean(of_videos, of_seeds):
    """With the three seeds and some hundred videos of a table, and effects of known variances."""
    rng = np.random.default_rng(0)
    seeds, videos, trials, inside = 3, 150, 400, 0
    for _ in range(trials):
        values = (
            of_videos * rng.standard_normal(videos)
            + of_seeds * rng.standard_normal((seeds, 1))
            + 0.5 * rng.standard_normal((seeds, videos))
        )
        found = over_videos_and_seeds(values)
        inside += found.low <= 0.0 <= found.high
    assert 0.91 <= inside / trials <= 0.985
