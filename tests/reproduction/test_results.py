"""The tables of docs/results.md are those of the predictions that lie beside it."""

import tarfile

import pytest
from commands import ROOT

import cvrl_tf
from cvrl_tf import files
from cvrl_tf.reproduction import execution, outcome, plan, summary, tables

DOCUMENT = ROOT / "docs" / "results.md"
PREDICTIONS = ROOT / "docs" / "results" / "desk.tar.xz"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """What `tools.reproduce` had in its --output_dir when all runs were done."""
    path = tmp_path_factory.mktemp("desk")
    with tarfile.open(PREDICTIONS) as archive:
        archive.extractall(path, filter="data")
    return path / "reproduction"


@pytest.mark.parametrize("name", ["successors"])
def test_the_tables_are_those_of_the_predictions(name, directory, monkeypatch):
    table = tables.load(name, "desk")
    planned = plan.make(table, plan.Settings(str(directory)))
    result = next(run.result for run in planned.runs.values() if run.result)
    monkeypatch.setattr(cvrl_tf, "__version__", files.read_json(result)["version"])
    states = execution.states(planned)
    assert {state.state for state in states.values()} == {execution.DONE}
    markdown = summary.as_markdown(outcome.read(planned, states))
    parts = [part for part in markdown.split("\n\n") if part.startswith("|")]
    assert len(parts) == len(table.columns)
    document = DOCUMENT.read_text(encoding="utf-8")
    for part in parts:
        assert part in document
