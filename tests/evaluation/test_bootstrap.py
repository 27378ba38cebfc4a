import numpy as np
import pytest

from cvrl_tf.evaluation import bootstrap


def test_the_mean_has_the_interval_of_a_binomial():
    hits = np.arange(400) % 4 == 0
    estimate = bootstrap.mean(hits)
    assert estimate.value == 0.25
    # 1.96 standard errors of sqrt(0.25 * 0.75 / 400) = 0.0217.
    assert estimate.low == pytest.approx(0.25 - 0.0424, abs=0.004)
    assert estimate.high == pytest.approx(0.25 + 0.0424, abs=0.004)


def test_the_quantiles_are_those_of_the_resamples(monkeypatch):
    values = np.array([0.0, 1.0, 5.0, 3.1, 7.7, 2.2])
    drawn = np.random.default_rng(7).integers(6, size=(bootstrap.RESAMPLES, 6))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    estimate = bootstrap.mean(values, seed=7)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((19 / 6, low, high))
    # The same in chunks of two resamples.
    monkeypatch.setattr(bootstrap, "_CHUNK_ELEMENTS", 13)
    chunked = bootstrap.mean(values, seed=7)
    assert (chunked.low, chunked.high) == pytest.approx((low, high))
    assert bootstrap.mean(values, seed=8) != estimate


def test_all_right_is_sure():
    assert bootstrap.mean(np.ones(10, bool)) == bootstrap.Estimate(1.0, 1.0, 1.0)


def test_classes_count_alike():
    hits = np.array([True, True, True, False, True, False])
    labels = np.array([3, 3, 3, 3, 8, 8])
    estimate = bootstrap.class_mean(hits, labels)
    assert estimate.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    # With one video of class 8, one resample in three has none: the other class is then the mean.
    lonely = bootstrap.class_mean(np.array([True, True, False]), np.array([0, 0, 1]))
    assert (lonely.value, lonely.low, lonely.high) == (0.5, 0.0, 1.0)
