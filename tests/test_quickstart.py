"""docs/quickstart.md and its notebook run as written, with made weights from a local server."""

import csv
import json
import os
import re

import keras
import numpy as np
import pytest
from archive_server import authors_archive, serve
from commands import ROOT
from documented import examples, python_code
from fetch_process import SMALL
from official_network import random_weights, write_checkpoint
from small_videos import write_video

from cvrl_tf.models import build_backbone, official
from cvrl_tf.models.published import PUBLISHED

PAGE = ROOT / "docs" / "quickstart.md"
COMMANDS = ["make_tfrecords", "make_tfrecords", "inspect_tfrecords", "knn_eval", "linear_eval"]
COMMANDS += ["predict", "export", "extract_features"]


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A mirror and an empty cache; the published checkpoint is of r3d_small here."""
    keys = official.backbone_keys(build_backbone("r3d_small"))
    weights = random_weights({key: tuple(variable.shape) for key, variable in keys.items()})
    prefix = write_checkpoint(tmp_path / "made", weights)
    monkeypatch.setitem(PUBLISHED, "k400_800ep", SMALL)
    monkeypatch.setenv("CVRL_TF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve({f"/cvrl/{SMALL.file}": authors_archive(prefix, "r3d_1x_k400_800ep")}) as server:
        monkeypatch.setenv("CVRL_TF_MIRROR", f"{server.url}/cvrl")
        yield server


def _make_videos(directory):
    """Dark and bright noise as two classes; new videos are bright."""
    rng = np.random.default_rng(0)
    for folder, numbers in [
        ("videos/train", range(4)),
        ("videos/test", range(2)),
        ("new", range(1)),
    ]:
        for name, level in [("dark", 0), ("bright", 120)]:
            place = directory / folder / (name if folder != "new" else "")
            place.mkdir(parents=True, exist_ok=True)
            for number in numbers:
                frames = rng.integers(level, level + 120, (36, 128, 160, 3)).astype(np.uint8)
                write_video(place / f"{name}_{number}_{folder[7:]}.mp4", frames)


@pytest.mark.slow
def test_the_commands_of_the_page(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _make_videos(tmp_path)
    commands = examples(PAGE)
    assert [command.name for command in commands] == COMMANDS
    for command in commands:
        command.run()
    namespace = {}
    exec(python_code(PAGE), namespace)
    assert namespace["features"].shape == (12, 512) and len(namespace["ids"]) == 12
    _check_results(tmp_path, published)


# Python processes that are commands of the package have the small network.
SITE = """\
import sys

if any(word.startswith("cvrl_tf.") for word in sys.orig_argv):
    from fetch_process import NAME, SMALL

    from cvrl_tf.models.published import PUBLISHED

    PUBLISHED[NAME] = SMALL
"""


@pytest.mark.slow
def test_the_notebook(published, tmp_path, monkeypatch):
    nbformat, nbclient = map(pytest.importorskip, ("nbformat", "nbclient"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join(map(str, (tmp_path / "site", ROOT, ROOT / "tests")))
    monkeypatch.setenv("PYTHONPATH", path)
    _make_videos(tmp_path)
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell("features.shape, len(ids)"))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=resources).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[-1].outputs[0].data["text/plain"] == "((12, 512), 12)"
    outputs = {}
    for cell in cells:
        names = re.findall(r"^!python -m cvrl_tf\.(\w+)", cell.source, re.M)
        if names:
            assert {output.output_type for output in cell.outputs} == {"stream"}
            text = "".join(output.text for output in cell.outputs)
            assert not re.search("^(error:|Traceback)", text, re.M)
            outputs |= dict.fromkeys(names, text)
    assert set(outputs) == set(COMMANDS)
    assert re.search(r"downloading k400_800ep: 100%\|[#█]+\|", outputs["knn_eval"])  # a bar
    assert "written: predictions.csv, predictions.html" in outputs["predict"]
    _check_results(tmp_path, published)


def _check_results(tmp_path, published):
    assert len(published.requests) == 1  # one download for all commands

    knn = json.loads((tmp_path / "results/knn/results.json").read_text())
    assert knn["checkpoint"]["path"] == "k400_800ep" and knn["test"]["videos"] == 4
    assert "<html" in (tmp_path / "neighbors.html").read_text()
    linear = json.loads((tmp_path / "results/linear/results.json").read_text())
    assert linear["figures"]["top1"]["value"] == 1.0
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = {row["id"]: row["predicted"] for row in csv.DictReader(file)}
    assert sorted(rows.values()) == ["bright", "dark"]
    assert all(predicted in name for name, predicted in rows.items())
    keras.models.load_model(tmp_path / "exports/classifier/classifier.keras")
    card = (tmp_path / "exports/classifier/README.md").read_text()
    assert "The network's weights are the work of the authors of CVRL" in card
