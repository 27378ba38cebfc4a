"""Values, means and differences of results that are written by hand."""

import numpy as np
import pytest
import small_tables

from cvrl_tf.errors import InputError
from cvrl_tf.reproduction import execution, intervals, outcome
from cvrl_tf.reproduction.execution import FAILED, State

BASE = {0: [1, 1, 0, 0], 1: [1, 1, 1, 0]}
OTHER = {0: [1, 1, 1, 0], 1: [1, 1, 1, 1]}


@pytest.fixture
def plan(tmp_path):
    plan = small_tables.make_plan(tmp_path)
    for seed in (0, 1):
        small_tables.write_result(plan.runs[f"base_seed{seed}/knn"], BASE[seed])
        small_tables.write_result(plan.runs[f"other_seed{seed}/knn"], OTHER[seed])
    small_tables.write_result(plan.runs["colors/knn"], [0, 0, 1, 0])
    return plan


def _read(plan, **changed):
    return outcome.read(plan, execution.states(plan) | changed)


def test_values_and_means_of_the_seeds(plan):
    cell = _read(plan).cells["base", "knn"]
    assert cell.values == [0.5, 0.75] and cell.mean == 0.625
    assert cell.deviation == pytest.approx(0.25 / np.sqrt(2))
    assert cell.published == 63.8
    hits = np.array([BASE[0], BASE[1]], float)
    assert cell.interval == intervals.over_videos_and_seeds(hits)


def test_the_difference_is_paired_by_video_and_seed(plan):
    found = _read(plan)
    base, other, colors = found.plan.table.rows
    assert found.difference(base, "knn") is None
    difference = found.difference(other, "knn")
    values = np.array([[0, 0, 1, 0], [0, 0, 0, 1]], float)
    assert difference.interval == intervals.over_videos_and_seeds(values)
    assert (difference.seeds, difference.videos) == ((0, 1), 4)
    # The colours are evaluated once, and compared with each seed.
    assert found.difference(colors, "knn").interval.value == pytest.approx(0.25 - 0.625)


def test_the_mean_over_splits(plan):
    small_tables.write_result(plan.runs["base_seed0/tuned_split1"], [1, 1, 0, 0])
    assert _read(plan).cells["base", "tuned"].tested == {}  # not all splits are there
    small_tables.write_result(plan.runs["base_seed0/tuned_split2"], [1, 0])
    cell = _read(plan).cells["base", "tuned"]
    assert list(cell.tested) == [0] and cell.deviation is None
    assert cell.tested[0].value == 0.5
    assert cell.tested[0].ids == ("0/video_0", "0/video_1", "0/video_2", "0/video_3") + (
        "1/video_0",
        "1/video_1",
    )


def test_seeds_that_both_rows_have_are_compared(plan):
    (run,) = plan.cell(plan.table.rows[1], "knn", 1)
    found = _read(plan, **{run.name: State(FAILED, "no space")})
    cell = found.cells["other", "knn"]
    assert list(cell.tested) == [0] and cell.failed == {1: "no space"}
    difference = found.difference(plan.table.rows[1], "knn")
    assert difference.seeds == (0,) and difference.interval.value == 0.25


def test_results_of_different_videos_are_not_compared(plan):
    small_tables.write_result(plan.runs["other_seed0/knn"], [1, 1, 1])
    with pytest.raises(InputError, match=r"other_seed0/knn/results.json and .* are of different"):
        _read(plan).difference(plan.table.rows[1], "knn")


@pytest.mark.parametrize("text", ["id,true\nvideo_0,a\n", ""])
def test_a_damaged_result_is_named(plan, tmp_path, text):
    path = tmp_path / "evaluations" / "base_seed0" / "knn"
    (path / ("predictions.csv" if text else "results.json")).write_text(text or '{"version": 1}')
    with pytest.raises(InputError, match=r"base_seed0/knn.*(damaged result|version 1)"):
        _read(plan)
