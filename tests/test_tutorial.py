"""The commands of docs/tutorial.md run as written and print what the page says."""

import csv
import re

import numpy as np
import pytest
from commands import ROOT
from documented import examples, form, python_code

PAGE = ROOT / "docs" / "tutorial.md"
COMMANDS = ["split_videos", "make_tfrecords", "inspect_tfrecords", "train", "knn_eval"]
COMMANDS += ["linear_eval", "finetune", "predict", "export"]


@pytest.mark.slow
def test_the_commands_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flags").symlink_to(ROOT / "flags")
    (render,) = re.findall(r'^python -c "(.*)"$', PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    exec(render)
    commands = examples(PAGE)
    assert [command.name for command in commands] == COMMANDS
    for command in commands:
        capsys.readouterr()
        command.run()
        printed = [form(line) for line in capsys.readouterr().out.splitlines()]
        for line in command.printed:  # of words that depend on the weights the page has "..."
            begin, dots, _ = line.partition(" ...")
            start = form(begin)
            found = [one for one in printed if (one.startswith(start) if dots else one == start)]
            assert found, f"{command.name} does not print {line!r}"
    for name in ("records", "neighbors", "predictions"):
        assert "<html" in (tmp_path / f"{name}.html").read_text()
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    classes = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert len(rows) == 8 and {row["predicted"] for row in rows} <= set(classes)
    assert list(rows[0]) == ["id", "predicted", *classes]
    namespace = {}
    exec(python_code(PAGE), namespace)
    assert [name.decode() for name in namespace["served"].class_names().numpy()] == classes
    np.testing.assert_allclose(
        namespace["found"]["probabilities"], namespace["probabilities"], atol=1e-5
    )
