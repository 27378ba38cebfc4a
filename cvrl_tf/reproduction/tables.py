"""The tables to reproduce, read from `tables.toml`, whose head describes its keys."""

import dataclasses
import functools
import importlib.resources
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from cvrl_tf.errors import InputError

SCALES = ("desk", "paper")


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set in records.

    Attributes:
      flag: of the command that names the directory of its records.
      train: pattern of the training shards, with {dir} and {split} to be replaced.
      test: the same of the test shards.
      videos: the numbers of training and test videos, for a plan without the data.
      splits: number of splits, whose mean counts; 0 where the data has none.
    """

    flag: str
    train: str
    test: str
    videos: tuple[int, int]
    splits: int = 0


@dataclasses.dataclass(frozen=True)
class Backbone:
    """Where features come from.

    Attributes:
      name: of the directory of its runs.
      train: flags of the pre-training; None where nothing is trained.
      load: flags by which evaluations load it, with {run} to be replaced.
      data: to train on.
      fraction: of the training videos that are used; 1 for all.
      seeds: whether it differs between seeds.
      cost: time of a step for a video, in units of CVRL's.
      network: time of the network for a clip, in units of the scale's.
    """

    name: str
    train: tuple[str, ...] | None
    load: tuple[str, ...]
    data: DataSet
    fraction: float = 1.0
    seeds: bool = True
    cost: float = 1.0
    network: float = 1.0


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation of a backbone.

    Attributes:
      name: of the directory of its results.
      title: for tables.
      command: module of the package.
      flags: of the command.
      data: to train and test on.
      figure: of `results.json`, that counts.
      fraction: of the labelled training videos that are used; 1 for all.
      train_cost: time for a training video of an epoch, in units of `Backbone.cost`.
      test_cost: time for a test video with all its views.
    """

    name: str
    title: str
    command: str
    flags: tuple[str, ...]
    data: DataSet
    figure: str
    fraction: float = 1.0
    train_cost: float = 0.0
    test_cost: float = 0.0


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      name: for flags and directories.
      title: for tables.
      backbone: that is evaluated.
      evaluations: by column of the table; columns that the row lacks are absent.
      published: figures of the source in percent, by column.
      first_split: the same of the first split, where `published` is a mean over splits.
    """

    name: str
    title: str
    backbone: Backbone
    evaluations: Mapping[str, Evaluation]
    published: Mapping[str, float]
    first_split: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table at one scale.

    Attributes:
      name: for the command and directories.
      title: what it compares.
      source: of the published figures.
      scale: one of `SCALES`.
      columns: titles by name; the first column is drawn.
      reference: name of the row that the others are compared with.
      rows: those that this scale has.
      curves: whether the rows differ in the distribution of the interval, which is drawn.
    """

    name: str
    title: str
    source: str
    scale: str
    columns: Mapping[str, str]
    reference: str
    rows: tuple[Row, ...]
    curves: bool = False

    @property
    def data(self) -> list[DataSet]:
        """The data that its runs need, each once."""
        needed = []
        for row in self.rows:
            needed += [row.backbone.data] if row.backbone.train is not None else []
            needed += [evaluation.data for evaluation in row.evaluations.values()]
        return list(dict.fromkeys(needed))

    def select(self, names: Sequence[str]) -> "Table":
        """The table with these rows only, in its order; all of them without names.

        Raises:
          InputError: a name is that of no row.
        """
        known = [row.name for row in self.rows]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InputError(
                f"The table {self.name} has no row {unknown[0]} at the scale {self.scale}: expected"
                f" {', '.join(known)}."
            )
        rows = tuple(row for row in self.rows if row.name in names or not names)
        return dataclasses.replace(self, rows=rows)


@functools.cache
def _content() -> Mapping[str, Any]:
    text = importlib.resources.files(__package__).joinpath("tables.toml").read_text("utf-8")
    return tomllib.loads(text)


def names() -> list[str]:
    """The names of all tables."""
    return list(_content()["tables"])


def load(name: str, scale: str) -> Table:
    """A table at a scale.

    Args:
      name: one of `names()`.
      scale: one of `SCALES`.

    Raises:
      InputError: there is no such table, or not at this scale.
    """
    if name not in names():
        raise InputError(f"Found the table {name!r}: expected one of {', '.join(names())}.")
    return build(_content(), name, scale)


def build(content: Mapping[str, Any], name: str, scale: str) -> Table:
    """As `load`, from the content of a file of tables."""
    table = content["tables"][name]
    columns = table["columns"].get(scale)
    if columns is None:
        raise InputError(
            f"The table {name} is not there at --scale={scale}: give"
            f" --scale={' or '.join(table['columns'])}."
        )
    rows = [_row(content, values, columns, scale) for values in table["rows"]]
    return Table(
        name=name,
        title=table["title"],
        source=table["source"],
        scale=scale,
        columns={column: content["evaluations"][column]["title"] for column in columns},
        reference=_of_scale(table["reference"], scale),
        rows=tuple(row for row in rows if row is not None),
        curves=table.get("curves", False),
    )


def _of_scale(value: Any, scale: str) -> Any:
    """A value that may be one for each scale."""
    return value.get(scale) if isinstance(value, dict) else value


def _row(
    content: Mapping[str, Any], values: Mapping[str, Any], columns: Sequence[str], scale: str
) -> Row | None:
    """A row; None where the scale lacks its backbone or all its columns."""
    backbone = _backbone(content, _of_scale(values["backbone"], scale), scale)
    own = [name for name in columns if name in values.get("columns", columns)]
    if backbone is None or not own:
        return None
    replace = values.get("replace", {})
    evaluations = {name: _evaluation(content, replace.get(name, name), scale) for name in own}
    published, first_split = (
        _published(content, own, values.get(key, {})) for key in ("published", "first_split")
    )
    return Row(values["name"], values["title"], backbone, evaluations, published, first_split)


def _published(
    content: Mapping[str, Any], columns: Sequence[str], figures: Mapping[str, float]
) -> dict[str, float]:
    """Published figures by column, from those by evaluation of the paper."""
    names = {name: content["evaluations"][name].get("published_as", name) for name in columns}
    return {name: figures[of_paper] for name, of_paper in names.items() if of_paper in figures}


def _backbone(content: Mapping[str, Any], name: str, scale: str) -> Backbone | None:
    values = dict(content["backbones"][name])
    train, load = values.get(scale), values.get("load", {}).get(scale)
    if train is None and load is None:
        return None
    if train is not None:
        train = (*content["scales"][scale]["train"], *train)
        load = load or ["--model_dir={run}"]
    keys = [key for key in ("fraction", "seeds", "cost", "network") if key in values]
    others = {key: _of_scale(values[key], scale) for key in keys}
    data = _data(content, values, scale)
    return Backbone(name, train, tuple(load), data, **others)


def _evaluation(content: Mapping[str, Any], name: str, scale: str) -> Evaluation:
    values = dict(content["evaluations"][name])
    values.pop("published_as", None)
    values |= {"flags": tuple(values["flags"]), "data": _data(content, values, scale)}
    return Evaluation(name=name, **values)


def _data(content: Mapping[str, Any], values: Mapping[str, Any], scale: str) -> DataSet:
    name = values.get("data", content["scales"][scale]["data"])
    data = dict(content["data"][name])
    return DataSet(**data | {"videos": tuple(data["videos"])})
