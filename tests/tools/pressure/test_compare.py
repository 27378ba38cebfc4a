import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.training.checkpoints import LoopState
from tools.pressure import compare

ROWS = [
    {"step": step, "loss": 2.0 + step, "bad_records": 0, "videos_per_second": 7.0 * step}
    for step in (2, 4, 6)
]


def _save(directory, weight, steps=(6,), positions=(24,)):
    checkpoint = tf.train.Checkpoint(weight=tf.Variable(weight), loop=LoopState())
    checkpoint.loop.positions = list(positions)
    manager = tf.train.CheckpointManager(checkpoint, str(directory / "checkpoints"), 1)
    for step in steps:
        manager.save(checkpoint_number=step)
    return manager.latest_checkpoint


@pytest.mark.parametrize(
    ("weight", "positions", "differing"),
    [
        ([1.0, 0.0, np.nan], (24,), []),
        ([np.nextafter(np.float32(1), np.float32(2)), 0.0, np.nan], (24,), ["weight"]),
        ([1.0, -0.0, np.nan], (24,), ["weight"]),
        ([1.0, 0.0, np.nan, 0.0], (24,), ["weight"]),
        ([1.0, 0.0, np.nan], (28,), ["loop"]),
    ],
)
def test_one_bit_of_a_tensor_is_noticed(tmp_path, weight, positions, differing):
    one = _save(tmp_path / "one", np.float32([1.0, 0.0, np.nan]))
    # Saved twice: the number of saves is not compared.
    two = _save(tmp_path / "two", np.float32(weight), (3, 6), positions)
    phrases = compare.differing_tensors(one, two)
    assert [phrase.partition("/")[0] for phrase in phrases] == differing
    assert all(phrase.endswith(" differs") for phrase in phrases)


def test_a_tensor_or_a_checkpoint_that_is_missing_is_noticed(tmp_path):
    one = _save(tmp_path / "one", np.float32([1.0]))
    other = tf.train.Checkpoint(loop=LoopState(), another=tf.Variable(1.0))
    other.loop.positions = [24]
    two = other.save(str(tmp_path / "two"))
    assert compare.differing_tensors(one, two) == [
        "another/.ATTRIBUTES/VARIABLE_VALUE differs",
        "weight/.ATTRIBUTES/VARIABLE_VALUE differs",
    ]
    assert compare.differing_tensors(one, None) == [f"the checkpoints are {one} and None"]


def test_times_may_differ():
    rows = [{**row, "videos_per_second": 1.0} for row in ROWS]
    assert compare.differing_rows(ROWS, rows) == []


@pytest.mark.parametrize(
    ("rows", "phrases"),
    [
        ([ROWS[0], ROWS[2]], ["the line of step 4 is missing"]),
        ([*ROWS, ROWS[1]], ["the line of step 4 is there 2 times"]),
        ([ROWS[0], *ROWS], ["the line of step 2 is there 2 times"]),
        ([*ROWS, {**ROWS[2], "step": 8}], ["a line of step 8 is too many"]),
        ([ROWS[1], ROWS[0], ROWS[2]], ["the lines are not in the order of steps"]),
        ([{**ROWS[0], "loss": 4.5}, *ROWS[1:]], ["loss of step 2 is 4.5 instead of 4.0"]),
        ([*ROWS[:2], {"step": 6, "loss": 8.0}], ["bad_records of step 6 is None instead of 0"]),
        ([], [f"the line of step {step} is missing" for step in (2, 4, 6)]),
    ],
)
def test_a_gap_a_repeat_and_another_figure_are_noticed(rows, phrases):
    assert compare.differing_rows(ROWS, rows) == phrases


def test_the_largest_difference_is_relative():
    rows = [ROWS[0], {**ROWS[1], "loss": 6.006}, {**ROWS[2], "loss": 7.996}]
    assert compare.largest_difference(ROWS, rows) == pytest.approx(1e-3)


def test_runs_are_compared_in_weights_lines_and_files(tmp_path):
    for name in ("one", "two"):
        _save(tmp_path / name, np.float32([1.0]))
        (tmp_path / name / f"events.out.tfevents.{name}").write_text("")
    directories = str(tmp_path / "one"), str(tmp_path / "two")
    assert compare.differing_runs(*directories, (ROWS, ROWS)) == []
    (tmp_path / "one" / "flags.txt").write_text("")
    (tmp_path / "two" / "metrics.jsonl.tmp-7").write_text("")
    _save(tmp_path / "two", np.float32([1.5]))
    assert compare.differing_runs(*directories, (ROWS, ROWS[:2])) == [
        "weight/.ATTRIBUTES/VARIABLE_VALUE differs",
        "the line of step 6 is missing",
        "the file flags.txt is missing",
        "the file metrics.jsonl.tmp-7 is left over",
    ]
