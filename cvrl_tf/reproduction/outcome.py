"""What the runs of a table found: values of each seed, means, intervals, differences of rows."""

import csv
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation.predictions import PREDICTIONS_FILE
from cvrl_tf.reproduction import intervals
from cvrl_tf.reproduction.execution import DONE, FAILED, State
from cvrl_tf.reproduction.intervals import Interval
from cvrl_tf.reproduction.plan import Plan, Run
from cvrl_tf.reproduction.tables import Row


@dataclasses.dataclass(frozen=True)
class Tested:
    """An evaluation with one seed.

    Attributes:
      value: its figure, in [0, 1]; the mean over the splits where there are several.
      ids: N ids of the test videos, split by split.
      hits: (N,) bool, whether the prediction for each is right.
      results: paths of the results.json.
    """

    value: float
    ids: tuple[str, ...]
    hits: np.ndarray
    results: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row in a column.

    Attributes:
      tested: what was done, by seed.
      failed: why it failed, by seed.
      published: the figure of the source in percent, if there is one.
      first_split: the same of the first split.
    """

    tested: Mapping[int, Tested]
    failed: Mapping[int, str]
    published: float | None
    first_split: float | None

    @property
    def values(self) -> list[float]:
        """The figures of the seeds."""
        return [tested.value for tested in self.tested.values()]

    @property
    def mean(self) -> float:
        """Over the seeds; some are done."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the seeds, n - 1; None of a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def interval(self) -> Interval:
        """Of the accuracy, over test videos and seeds; some are done."""
        hits = np.stack([tested.hits for tested in self.tested.values()])
        return intervals.over_videos_and_seeds(hits)


@dataclasses.dataclass(frozen=True)
class Difference:
    """A row against the reference row.

    Attributes:
      interval: of the difference of the accuracies, over test videos and seeds.
      seeds: that both have.
      videos: number of test videos.
    """

    interval: Interval
    seeds: tuple[int, ...]
    videos: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A table, as far as it is done.

    Attributes:
      plan: of it.
      states: of its runs, by name.
      cells: by names of row and column; a row lacks a column that it does not have.
    """

    plan: Plan
    states: Mapping[str, State]
    cells: Mapping[tuple[str, str], Cell]

    def difference(self, row: Row, column: str) -> Difference | None:
        """A row against the reference; None for that itself, and before both are done.

        Raises:
          InputError: they were tested on different videos.
        """
        table = self.plan.table
        own = self.cells.get((row.name, column))
        other = self.cells.get((table.reference, column))
        if not own or not other or row.name == table.reference:
            return None
        seeds = tuple(seed for seed in own.tested if seed in other.tested)
        if not seeds:
            return None
        pairs = [(own.tested[seed], other.tested[seed]) for seed in seeds]
        for one, two in pairs:
            if one.ids != two.ids:
                raise InputError(
                    f"{one.results[0]} and {two.results[0]} are of different test videos: name"
                    " another directory with --output_dir, and evaluate all rows on the same."
                )
        values = np.stack([one.hits.astype(float) - two.hits for one, two in pairs])
        return Difference(intervals.over_videos_and_seeds(values), seeds, values.shape[1])


def read(plan: Plan, states: Mapping[str, State]) -> Outcome:
    """Reads the results of a plan.

    Args:
      plan: of a table.
      states: of its runs.

    Raises:
      InputError: a result cannot be read.
    """
    cells = {
        (row.name, column): _cell(plan, states, row, column)
        for row in plan.table.rows
        for column in plan.table.columns
        if column in row.evaluations
    }
    return Outcome(plan, states, cells)


def _cell(plan: Plan, states: Mapping[str, State], row: Row, column: str) -> Cell:
    tested, failed = {}, {}
    figure = row.evaluations[column].figure
    for seed in plan.settings.seeds:
        runs = plan.cell(row, column, seed)
        reasons = [states[run.name].reason for run in runs if states[run.name].state == FAILED]
        if all(states[run.name].state == DONE for run in runs):
            tested[seed] = _read(runs, figure)
        elif reasons:
            failed[seed] = reasons[0]
    return Cell(tested, failed, row.published.get(column), row.first_split.get(column))


def _read(runs: Sequence[Run], figure: str) -> Tested:
    values, ids, hits = [], [], []
    for split, run in enumerate(runs):
        path = os.path.join(run.output, PREDICTIONS_FILE)
        try:
            with files.reading(run.result):
                values.append(files.read_json(run.result)["figures"][figure]["value"])
            with files.reading(path):
                rows = list(csv.DictReader(io.StringIO(files.read_text(path))))
            ids += [f"{split}/{row['id']}" for row in rows]
            hits += [row["true"] == row["predicted"] for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{run.output} has a damaged result ({error!r}): remove it to evaluate again."
            ) from None
    results = tuple(run.result for run in runs)
    return Tested(float(np.mean(values)), tuple(ids), np.array(hits), results)
