"""The file of tables, and the commands that come of it."""

import importlib
import re
import shlex
import tomllib

import pytest
from commands import ROOT

from cvrl_tf.errors import InputError
from cvrl_tf.reproduction import plan, tables
from cvrl_tf.reproduction.plan import Settings

CONTENT = tomllib.loads((ROOT / "cvrl_tf/reproduction/tables.toml").read_text("utf-8"))
PAIRS = [(name, scale) for name in tables.names() for scale in CONTENT["tables"][name]["columns"]]


def test_names():
    assert tables.names() == [
        *("sampling", "augmentation", "linear", "transfer", "more_data", "semi", "successors")
    ]
    assert [name for name, scale in PAIRS if scale == "paper"] == tables.names()
    assert {name for name in tables.names()} - {n for n, s in PAIRS if s == "desk"} == {"transfer"}


@pytest.mark.parametrize(("name", "scale"), PAIRS)
def test_every_command_of_every_table_has_flags_that_exist(name, scale, monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles are named from there
    table = tables.load(name, scale)
    assert table.reference in {row.name for row in table.rows}
    made = plan.make(table, Settings("out", seeds=(0, 1)))
    for run in made.runs.values():
        module, *arguments = shlex.split(run.shell.rpartition("python -m ")[2])
        assert tuple(arguments) == run.arguments
        flags, *_ = importlib.import_module(module).COMMAND.parse(*arguments)
        assert flags.output if module.endswith("make_subset") else True
        if run.length and run.length.batch_size == 1024:
            assert flags.batch_size == 1024
        for need in run.needs:
            assert list(made.runs).index(need) < list(made.runs).index(run.name)


def test_rows_and_columns_name_what_there_is():
    for table in CONTENT["tables"].values():
        columns = {column for names in table["columns"].values() for column in names}
        names = [row["name"] for row in table["rows"]]
        assert len(set(names)) == len(names)
        for row in table["rows"]:
            assert set(row.get("columns", [])) <= columns, row
            published = {**row.get("published", {}), **row.get("first_split", {})}
            assert published.keys() <= set(table["columns"]["paper"]), row
            assert row.get("replace", {}).keys() <= columns, row


def test_every_row_of_the_paper_is_trained_by_a_flagfile():
    """And each flagfile of a published pre-training is used by a table."""
    used = set()
    for backbone in CONTENT["backbones"].values():
        used |= {flag.rpartition("/")[2] for flag in backbone.get("paper", ()) if "file" in flag}
    for evaluation in CONTENT["evaluations"].values():
        used |= {flag.rpartition("/")[2] for flag in evaluation["flags"] if "file" in flag}
    there = {path.name for path in (ROOT / "flags").iterdir()}
    assert used <= there
    desk = {name for name in there if "small" in name}
    assert there - used == desk


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("sampling", "a", {"linear_k400": 63.8}),
        ("sampling", "f", {"linear_k400": 61.9}),
        ("linear", "r3d152x2", {"linear_k400": 71.6, "linear_k600": 72.9}),
        ("linear", "supervised", {"linear_k400": 76.0, "linear_k600": 79.4}),
        ("semi", "cvrl", {"semi_k400_1pct": 35.1, "semi_k400_10pct": 58.1}),
        ("transfer", "r3d152x2", {"finetune_ucf101": 93.9, "finetune_hmdb51": 69.9}),
        ("successors", "clips4", {}),
        ("successors", "moco_clips4", {"linear_k400": 71.0}),
    ],
)
def test_published_figures(name, row, expected):
    table = tables.load(name, "paper")
    assert table.select([row]).rows[0].published == expected


def test_published_figures_stand_beside_the_columns_of_the_desk():
    rows = {row.name: row for row in tables.load("semi", "desk").rows}
    assert rows["cvrl"].published == {"finetune_10pct": 58.1, "finetune_1pct": 35.1}
    assert "imagenet" not in rows
    (supervised,) = tables.load("linear", "desk").select(["supervised"]).rows
    assert supervised.published == {"linear": 76.0}
    assert {name: x.name for name, x in supervised.evaluations.items()} == {"linear": "supervised"}


def test_successors_see_equal_numbers_of_clips_at_the_desk(monkeypatch):
    monkeypatch.chdir(ROOT)
    made = plan.make(tables.load("successors", "desk"), Settings("out", seeds=(0,)))
    clips = {}
    for run in made.runs.values():
        if run.length:
            found = re.search(r"--clips_per_video=(\d+)", run.shell)
            clips[run.name] = run.length.videos * int(found[1] if found else 2)
    assert clips == dict.fromkeys(
        ["cvrl_seed0", "clips4_seed0", "moco_seed0", "moco_clips4_seed0", "byol_seed0"], 76_800
    )


def test_bad_names_are_one_sentence():
    with pytest.raises(InputError, match=r"^Found the table 'none': expected one of sampling, aug"):
        tables.load("none", "desk")
    with pytest.raises(InputError, match=r"transfer is not there at --scale=desk: give --scale=pa"):
        tables.load("transfer", "desk")
    with pytest.raises(InputError, match=r"sampling has no row g at the scale desk: expected a, b"):
        tables.load("sampling", "desk").select(["a", "g"])
