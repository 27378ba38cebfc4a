import dataclasses
import json

import pytest

import cvrl_tf
from cvrl_tf.errors import InputError
from cvrl_tf.exporting import description
from cvrl_tf.training.run_directory import PretrainConfig


def test_export_json_says_what_a_user_must_know(export, origin):
    about = json.loads((export / "export.json").read_text())
    assert about["architecture"] == {
        "name": "r3d_small",
        "width_multiplier": 1,
        "parameters": 602544,
        "feature_size": 512,
        "pooling": "global average over time, height and width",
    }
    sizes = [about["input"][name] for name in ("num_frames", "stride", "crop_size")]
    assert sizes == [4, 3, 32] and about["input"]["range"] == [0.0, 1.0]
    assert about["linear_evaluation"] == {"feature_normalization": "L2"}
    provenance = about["provenance"]
    assert (provenance["checkpoint"], provenance["step"]) == (origin.checkpoint, 6)
    assert provenance["flags"]["temperature"] == 0.1 and provenance["imported_from"] is None
    assert provenance["versions"]["cvrl_tf"] == cvrl_tf.__version__


def test_figures_are_those_of_the_exported_step(origin):
    assert description.find_figures(origin) == {
        "knn.json": {"init": "pretrained", "step": 6, "top1": 0.75},
        "knn_random.json": {"init": "random", "step": 0, "top1": 0.5},
        "metrics.jsonl": {"step": 6, "loss": 0.5},
    }
    earlier = dataclasses.replace(origin, step=3)
    assert sorted(description.find_figures(earlier)) == [
        "knn_ckpt-3.json",
        "knn_random.json",
        "metrics.jsonl",
    ]
    assert description.find_figures(dataclasses.replace(origin, model_dir=None)) == {}


def test_a_damaged_figure_is_named(origin, tmp_path):
    (tmp_path / "knn.json").write_text('{"top1": 0.')
    with pytest.raises(InputError, match=r"knn\.json is damaged \(.*\): remove it"):
        description.find_figures(dataclasses.replace(origin, model_dir=str(tmp_path)))


@pytest.mark.parametrize(
    "data",
    ["", "tfds:ucf101:train", "nothing/train-*", "nowhere://bucket/train-*"],
)
def test_data_without_class_names_has_none(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert description.find_labels(PretrainConfig(train_data=data)) is None


def test_class_names_are_found_beside_the_first_data_that_has_them(origin):
    data = f"nothing/train-*, {origin.config.train_data}"
    path = description.find_labels(PretrainConfig(train_data=data))
    assert path == origin.config.train_data.replace("train-*", "labels.txt")
