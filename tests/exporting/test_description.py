import dataclasses
import json

import pytest

import cvrl_tf
from cvrl_tf.errors import InputError
from cvrl_tf.exporting import description


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
        "evaluations/knn_ckpt-6/results.json": {"data": "test-*", "videos": 8, "top1": 0.75},
        "evaluations/knn_random/results.json": {"data": "test-*", "videos": 8, "top1": 0.5},
        "metrics.jsonl": {"step": 6, "loss": 0.5},
    }
    earlier = dataclasses.replace(origin, step=3)
    assert sorted(description.find_figures(earlier)) == [
        "evaluations/knn_ckpt-3/results.json",
        "evaluations/knn_random/results.json",
        "metrics.jsonl",
    ]
    assert description.find_figures(dataclasses.replace(origin, model_dir=None)) == {}


@pytest.mark.parametrize("content", ['{"figures": {', '{"checkpoint": null, "test": {}}', "[]"])
def test_a_damaged_figure_is_named(origin, tmp_path, content):
    (tmp_path / "evaluations" / "x").mkdir(parents=True)
    (tmp_path / "evaluations" / "x" / "results.json").write_text(content)
    with pytest.raises(InputError, match=r"x/results\.json is damaged \(.*\): remove it"):
        description.find_figures(dataclasses.replace(origin, model_dir=str(tmp_path)))
