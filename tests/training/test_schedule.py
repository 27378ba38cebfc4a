import math

import pytest

from cvrl_tf.training.schedule import WarmupCosine


def test_warm_up_is_linear_from_zero_to_the_cosine():
    schedule = WarmupCosine(0.32, warmup_steps=10, total_steps=100)
    peak = 0.16 * (1 + math.cos(math.pi * 0.1))
    assert float(schedule(0)) == 0.0
    assert float(schedule(5)) == pytest.approx(peak / 2, rel=1e-6)
    assert float(schedule(10)) == pytest.approx(peak, rel=1e-6)


def test_cosine_ends_at_zero():
    schedule = WarmupCosine(0.32, warmup_steps=10, total_steps=100)
    assert float(schedule(50)) == pytest.approx(0.16, rel=1e-6)
    assert float(schedule(75)) == pytest.approx(0.16 * (1 - math.sqrt(0.5)), rel=1e-5)
    assert float(schedule(100)) == pytest.approx(0.0, abs=1e-8)
    assert float(schedule(101)) == pytest.approx(0.0, abs=1e-8)


def test_no_warm_up_starts_at_the_full_rate():
    assert float(WarmupCosine(0.5, 0, 100)(0)) == pytest.approx(0.5)


def test_schedule_survives_serialisation():
    schedule = WarmupCosine(0.32, 10, 100)
    again = WarmupCosine.from_config(schedule.get_config())
    assert float(again(33)) == float(schedule(33))


def test_learning_rates_of_the_released_schedule():
    schedule = WarmupCosine(0.32, warmup_steps=1787, total_steps=71_488)

    def cosine(step):
        return 0.16 * (1 + math.cos(math.pi * step / 71_488))

    for step, expected in [
        (0, 0.0),
        (1, cosine(1787) / 1787),
        (1786, cosine(1787) * 1786 / 1787),
        (1787, cosine(1787)),  # 0.3195: the warm-up ends on the cosine
        (35_744, 0.16),
        (71_487, cosine(71_487)),
    ]:
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert cosine(1787) == pytest.approx(0.3195, abs=1e-4)
