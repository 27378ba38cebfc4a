"""The runs of a table, what each of them needs, and what they cost."""

import dataclasses
import os
import shlex
from collections.abc import Iterator, Mapping

from cvrl_tf.errors import InputError
from cvrl_tf.reproduction import recipe
from cvrl_tf.reproduction.recipe import Length
from cvrl_tf.reproduction.tables import Backbone, DataSet, Evaluation, Row, Table

TRAINED_EPOCHS = 1.0  # passes over the training videos of an evaluation that trains on none


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a user chose for all runs.

    Attributes:
      directory: for all files, local.
      data: directories of records by flag; those that were not given are absent.
      seeds: of the runs.
      pretrain_flags: that every pre-training gets after those of its row.
    """

    directory: str
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    pretrain_flags: tuple[str, ...] = ()

    def shards(self, data: DataSet, split: int = 0) -> tuple[str, str]:
        """The patterns of training and test shards; of a data set not given, below its flag."""
        directory = self.data.get(data.flag) or data.flag
        train, test = (
            pattern.format(dir=directory, split=split) for pattern in (data.train, data.test)
        )
        return train, test


@dataclasses.dataclass(frozen=True)
class Run:
    """A command to run.

    Attributes:
      name: unique in the directory, such as `cvrl_seed0` and `cvrl_seed0/linear`.
      module: `cvrl_tf.train` or another command.
      arguments: of the command.
      output: the directory or file that it writes.
      result: the file that is there when it is done; empty where only the command knows.
      needs: names of runs that come before.
      length: of a pre-training.
      work: time, in units of a video of a step of CVRL.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    output: str
    result: str = ""
    needs: tuple[str, ...] = ()
    length: Length | None = None
    work: float = 0.0

    @property
    def shell(self) -> str:
        """The command for a shell."""
        command = " ".join(["python", "-m", self.module, *map(_quoted, self.arguments)])
        if self.output == self.result:  # a file, whose directory must exist
            return f"mkdir -p {shlex.quote(os.path.dirname(self.output))} && {command}"
        return command


def _quoted(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return f"{name}{equals}{shlex.quote(value)}" if equals else shlex.quote(argument)


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs of a table.

    Attributes:
      table: with the rows that were chosen.
      settings: of the user.
      runs: by name, in an order in which each comes after those that it needs.
    """

    table: Table
    settings: Settings
    runs: Mapping[str, Run]

    def cell(self, row: Row, column: str, seed: int) -> list[Run]:
        """The evaluations of a row with a seed, one for each split; none without this column."""
        if column not in row.evaluations:
            return []
        evaluation = row.evaluations[column]
        names = _evaluation_names(row.backbone, evaluation, seed)
        return [self.runs[name] for name in names]

    def groups(self) -> list[list[Run]]:
        """The runs in groups that do not need each other, each in an order that works."""
        groups: dict[str, list[Run]] = {}
        for run in self.runs.values():
            groups.setdefault(run.name.partition("/")[0], []).append(run)
        subsets = groups.pop("ids", [])
        found = []
        for group in groups.values():
            needed = {name for run in group for name in run.needs}
            found.append([*(run for run in subsets if run.name in needed), *group])
        return found

    def check_data(self) -> None:
        """Raises InputError if flags for data that the runs need are missing."""
        flags = [data.flag for data in self.table.data]
        missing = [f"--{flag}" for flag in flags if flag not in self.settings.data]
        if missing:
            raise InputError(
                f"The table {self.table.name} at --scale={self.table.scale} needs data: give"
                f" {', '.join(missing)}, the director{'ies' if missing[1:] else 'y'} of records"
                " that cvrl_tf.make_tfrecords wrote, or --dry_run for a plan without data."
            )


def make(table: Table, settings: Settings, videos: Mapping[str, int] | None = None) -> Plan:
    """Plans the runs of a table: all rows with the first seed, then with the next.

    Args:
      table: with the rows to run.
      settings: of the user.
      videos: numbers of videos by pattern of shards; others are those of the published data set.
    """
    planner = _Planner(settings, videos or {})
    runs: dict[str, Run] = {}
    for seed in settings.seeds:
        for row in table.rows:
            for run in planner.runs(row, seed):
                runs.setdefault(run.name, run)
    return Plan(table, settings, runs)


def _backbone_name(backbone: Backbone, seed: int) -> str:
    return f"{backbone.name}_seed{seed}" if backbone.seeds else backbone.name


def _evaluation_names(backbone: Backbone, evaluation: Evaluation, seed: int) -> list[str]:
    name = f"{_backbone_name(backbone, seed)}/{evaluation.name}"
    splits = range(1, evaluation.data.splits + 1)
    return [f"{name}_split{split}" for split in splits] or [name]


@dataclasses.dataclass(frozen=True)
class _Planner:
    """Makes the runs of rows.

    Attributes:
      settings: of the user.
      videos: as for `make`.
    """

    settings: Settings
    videos: Mapping[str, int]

    def runs(self, row: Row, seed: int) -> Iterator[Run]:
        """Yields the runs of a row with a seed."""
        if row.backbone.train is not None:
            yield from self._pretraining(row.backbone, seed)
        for evaluation in row.evaluations.values():
            names = _evaluation_names(row.backbone, evaluation, seed)
            for split, name in enumerate(names, 1):
                yield from self._evaluation(row.backbone, evaluation, seed, split, name)

    def _number(self, data: DataSet, split: int, part: int) -> int:
        return self.videos.get(self.settings.shards(data, split)[part], data.videos[part])

    def _subset(self, data: DataSet, fraction: float, seed: int, split: int) -> Run:
        """The choice of some training videos."""
        of_split = f"_split{split}" if "{split}" in data.train else ""
        name = f"{data.flag}{of_split}_{100 * fraction:g}pct_seed{seed}"
        output = os.path.join(self.settings.directory, "ids", f"{name}.txt")
        train, _ = self.settings.shards(data, split)
        choice = f"--data={train}", f"--fraction={fraction}", f"--seed={seed}"
        arguments = *choice, f"--output={output}"
        return Run(f"ids/{name}", "cvrl_tf.make_subset", arguments, output, output)

    def _pretraining(self, backbone: Backbone, seed: int) -> Iterator[Run]:
        assert backbone.train is not None
        train, test = self.settings.shards(backbone.data)
        number = self._number(backbone.data, 0, 0)
        ids: list[str] = []
        needs: list[str] = []
        if backbone.fraction < 1:
            subset = self._subset(backbone.data, backbone.fraction, seed, 0)
            yield subset
            number = round(backbone.fraction * number)
            ids, needs = [f"--train_ids={subset.output}"], [subset.name]
        name = _backbone_name(backbone, seed)
        flags = (*backbone.train, *self.settings.pretrain_flags)
        flags = tuple(flag.format(test=test) for flag in flags)
        length = Length.of(flags, number)
        output = os.path.join(self.settings.directory, "runs", name)
        yield Run(
            name,
            "cvrl_tf.train",
            (*flags, f"--train_data={train}", *ids, f"--seed={seed}", f"--model_dir={output}"),
            output,
            needs=tuple(needs),
            length=length,
            work=backbone.network * backbone.cost * length.videos,
        )

    def _evaluation(
        self, backbone: Backbone, evaluation: Evaluation, seed: int, split: int, name: str
    ) -> Iterator[Run]:
        data = evaluation.data
        trained = _backbone_name(backbone, seed) if backbone.train is not None else ""
        needs, ids = ([trained] if trained else []), []
        if evaluation.fraction < 1:
            subset = self._subset(data, evaluation.fraction, seed, split)
            yield subset
            needs.append(subset.name)
            ids = [f"--train_ids={subset.output}"]
        run = os.path.join(self.settings.directory, "runs", trained)
        train, test = self.settings.shards(data, split)
        output = os.path.join(self.settings.directory, "evaluations", name)
        yield Run(
            name,
            f"cvrl_tf.{evaluation.command}",
            (
                *evaluation.flags,
                *(flag.format(run=run) for flag in backbone.load),
                *(f"--train_data={train}", f"--test_data={test}", *ids),
                *(f"--seed={seed if backbone.seeds else 0}", f"--output_dir={output}"),
            ),
            output,
            os.path.join(output, "results.json"),
            tuple(needs),
            work=backbone.network * self._work(evaluation, split),
        )

    def _work(self, evaluation: Evaluation, split: int) -> float:
        train, test = (self._number(evaluation.data, split, part) for part in (0, 1))
        found = recipe.values(evaluation.flags)
        epochs = float(found.get("epochs", TRAINED_EPOCHS))
        if found.get("mode") in ("fast", "fast_sgd"):  # features of all videos, once
            epochs, fraction = TRAINED_EPOCHS, 1.0
        else:
            fraction = evaluation.fraction
        trained = evaluation.train_cost * epochs * fraction * train
        return trained + evaluation.test_cost * test


def describe(plan: Plan, videos_per_second: float | None) -> str:
    """The plan as text: the commands of each row, its steps, and its hours.

    A run that several rows share is listed with the first of them.

    Args:
      plan: of a table.
      videos_per_second: of a pre-training with CVRL on this machine; None for no hours.
    """
    table, listed, total = plan.table, set[str](), 0.0
    lines = [f"{table.name}: {table.title}, scale {table.scale}"]
    for row in table.rows:
        own = [run for run in _of_row(plan, row) if run.name not in listed]
        listed |= {run.name for run in own}
        work = sum(run.work for run in own)
        total += work
        steps = [run.length for run in own if run.length]
        lengths = f", {steps[0].steps} steps of {steps[0].batch_size} videos" if steps else ""
        lines += ["", f"{row.name}: {row.title}{lengths}{_hours(work, videos_per_second)}"]
        lines += [f"  {run.shell}" for run in own] or ["  nothing that is not listed above"]
    seeds = ", ".join(map(str, plan.settings.seeds))
    lines += ["", f"{len(plan.runs)} runs, seeds {seeds}{_hours(total, videos_per_second)}"]
    return "\n".join(lines)


def _of_row(plan: Plan, row: Row) -> list[Run]:
    """The runs of a row and all that they need, in the order of the plan."""
    wanted: set[str] = set()
    cells = [
        run
        for seed in plan.settings.seeds
        for column in row.evaluations
        for run in plan.cell(row, column, seed)
    ]
    waiting = [run.name for run in cells]
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        waiting += plan.runs[name].needs
    return [run for run in plan.runs.values() if run.name in wanted]


def _hours(work: float, videos_per_second: float | None) -> str:
    if not videos_per_second:
        return ""
    hours = work / videos_per_second / 3600
    return f", about {hours:,.{0 if hours >= 10 else 2}f} hours"


def script(plan: Plan) -> str:
    """The plan as a shell script: a line for each pre-training and what evaluates it.

    The lines do not need each other, so that jobs of a cluster can take one each.
    """
    table = plan.table
    lines = [" && ".join(run.shell for run in group) for group in plan.groups()]
    return "\n".join([f"# {table.name}: {table.title}, scale {table.scale}", *lines]) + "\n"
