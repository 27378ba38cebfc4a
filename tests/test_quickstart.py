"""The commands of docs/quickstart.md run as written, with made weights from a local server."""

import csv
import json

import keras
import numpy as np
import pytest
from archive_server import authors_archive, serve
from commands import ROOT
from documented import examples, python_code
from official_network import random_weights, write_checkpoint
from small_videos import write_video

from cvrl_tf.models import build_backbone, official
from cvrl_tf.models.published import PUBLISHED, Published

PAGE = ROOT / "docs" / "quickstart.md"
COMMANDS = ["make_tfrecords", "make_tfrecords", "inspect_tfrecords", "knn_eval", "linear_eval"]
COMMANDS += ["predict", "export", "extract_features"]


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A mirror and an empty cache; the published checkpoint is of r3d_small here."""
    keys = official.backbone_keys(build_backbone("r3d_small"))
    weights = random_weights({key: tuple(variable.shape) for key, variable in keys.items()})
    prefix = write_checkpoint(tmp_path / "made", weights)
    file = "r3d_1x_k400_800ep.tar.gz"
    small = Published(file, "Kinetics-400", 800, {"Kinetics-400": 66.1}, backbone="r3d_small")
    monkeypatch.setitem(PUBLISHED, "k400_800ep", small)
    monkeypatch.setenv("CVRL_TF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve({f"/cvrl/{file}": authors_archive(prefix, "r3d_1x_k400_800ep")}) as server:
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
    namespace = {}
    exec(python_code(PAGE), namespace)
    assert namespace["features"].shape == (12, 512) and len(namespace["ids"]) == 12
