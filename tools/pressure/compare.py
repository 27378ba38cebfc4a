"""Compares two runs: weights bit for bit, lines of metrics, names of files."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.training import checkpoints
from cvrl_tf.training.run_directory import RunDirectory

TIMED = ("videos_per_second", "input_wait")  # figures that differ from run to run
# The number of saves, which a signal changes, and the names of the saved objects.
_NOT_TRAINED = re.compile(r"^save_counter/|^_CHECKPOINTABLE_OBJECT_GRAPH$")

Row = Mapping[str, float]


def differing_runs(
    expected: str, found: str, rows: tuple[Sequence[Row], Sequence[Row]]
) -> list[str]:
    """The differences between two finished runs.

    Args:
      expected: directory of the uninterrupted run.
      found: directory of the other run.
      rows: the lines of metrics of both.

    Returns:
      A phrase for each difference; none if nothing was lost.
    """
    return [
        *differing_tensors(*(latest_checkpoint(directory) for directory in (expected, found))),
        *differing_rows(*rows),
        *differing_names(file_names(expected), file_names(found)),
    ]


def latest_checkpoint(directory: str) -> str | None:
    """The newest checkpoint of the run in a directory; None if there is none."""
    return checkpoints.latest(directory)


def differing_tensors(expected: str | None, found: str | None) -> list[str]:
    """The tensors in which two checkpoints differ by any bit, a phrase for each."""
    if expected is None or found is None:
        return [f"the checkpoints are {expected} and {found}"]
    readers = [tf.train.load_checkpoint(prefix) for prefix in (expected, found)]
    names = [
        {name for name in reader.get_variable_to_shape_map() if not _NOT_TRAINED.search(name)}
        for reader in readers
    ]
    differing = sorted(names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        one, two = (np.asarray(reader.get_tensor(name)) for reader in readers)
        if not _equal(one, two):
            differing.append(name)
    return [f"{name} differs" for name in differing]


def _equal(one: np.ndarray, two: np.ndarray) -> bool:
    if one.dtype == object:  # text, whose bytes are addresses
        return one.tolist() == two.tolist()
    return (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


def differing_rows(expected: Sequence[Row], found: Sequence[Row]) -> list[str]:
    """The differences between lines of metrics except times: gaps, repeats, figures."""
    steps = [[row["step"] for row in rows] for rows in (expected, found)]
    phrases = [f"the line of step {step} is missing" for step in steps[0] if step not in steps[1]]
    phrases += [f"a line of step {step} is too many" for step in steps[1] if step not in steps[0]]
    phrases += [
        f"the line of step {step} is there {steps[1].count(step)} times"
        for step in sorted(set(steps[1]))
        if steps[1].count(step) > 1
    ]
    if not phrases and steps[0] != steps[1]:
        phrases.append("the lines are not in the order of steps")
    found_rows = {row["step"]: row for row in found}
    for row in expected:
        other = found_rows.get(row["step"], row)
        for name in sorted((row.keys() | other.keys()) - set(TIMED)):
            if row.get(name) != other.get(name):
                phrases.append(
                    f"{name} of step {row['step']} is {other.get(name)} instead of {row.get(name)}"
                )
    return phrases


def largest_difference(expected: Sequence[Row], found: Sequence[Row], name: str = "loss") -> float:
    """The largest relative difference of a figure between lines of the same steps."""
    pairs = zip(expected, found, strict=True)
    return max(abs(one[name] - two[name]) / abs(one[name]) for one, two in pairs)


def file_names(directory: str) -> list[str]:
    """The files of a run, without TensorBoard's, whose names contain times."""
    names = [*files.names_in(directory), *files.names_in(RunDirectory(directory).checkpoints)]
    return [name for name in names if not name.startswith("events.out.")]


def differing_names(expected: Sequence[str], found: Sequence[str]) -> list[str]:
    """The files of a run that are missing or unexpected, a phrase for each."""
    missing = [f"the file {name} is missing" for name in expected if name not in found]
    return missing + [f"the file {name} is left over" for name in found if name not in expected]
