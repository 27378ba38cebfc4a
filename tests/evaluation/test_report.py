import dataclasses
import json

import numpy as np
import pytest

import cvrl_tf
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import report
from cvrl_tf.evaluation.bootstrap import Estimate
from cvrl_tf.evaluation.overlap import Overlap
from cvrl_tf.evaluation.predictions import Predictions
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.models import build_backbone

RESULT = report.Result(
    protocol="knn",
    checkpoint=report.Checkpoint("runs/first/checkpoints/ckpt-6", 6, "00ff"),
    train=report.Data("records/train-*", 12, 2, "0a", "ids.txt"),
    test=report.Data("records/test-*", 4, 2, "0b"),
    views=EvaluationViews(ClipSpec(8, 2, 64), num_clips=3),
    overlap=Overlap(contents=2),
    settings={"temperature": 0.07},
    figures={"top1": Estimate(0.75, 0.25, 1.0), "recall_at_1": Estimate(0.5, 0.0, 1.0)},
    wall_seconds=1.504,
    baselines={"chance": 0.5, "majority_class": 0.25},
    predictions=Predictions(
        ["a", "b,c", "d", "e"],
        np.array([[0.75, 0.25], [0.5, 0.5], [1e-9, 1], [1 / 3, 2 / 3]], np.float32),
        ["predicted", "surf"],
        np.array([0, 1, 1, 1]),
    ),
)


def test_results_json(tmp_path):
    directory = tmp_path / "a" / "b"
    names = ["results.json", "predictions.csv", "confusion.png"]
    assert report.write(str(directory), RESULT) == [f"{directory}/{name}" for name in names]
    assert (directory / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (directory / "predictions.csv").read_text() == (
        "id,true,predicted,predicted (class),surf\n"
        "a,predicted,predicted,0.75,0.25\n"
        '"b,c",surf,predicted,0.5,0.5\n'
        "d,surf,surf,1e-09,1\n"
        "e,surf,surf,0.3333333,0.6666667\n"
    )
    assert "\n    [1, 2]\n" in (directory / "results.json").read_text()
    assert json.loads((directory / "results.json").read_text()) == {
        "protocol": "knn",
        "version": cvrl_tf.__version__,
        "checkpoint": {
            "path": "runs/first/checkpoints/ckpt-6",
            "step": 6,
            "fingerprint": "00ff",
            "kind": "run",
            "run": "first",
        },
        "train": {
            "name": "records/train-*",
            "videos": 12,
            "classes": 2,
            "fingerprint": "0a",
            "ids_file": "ids.txt",
        },
        "test": {
            "name": "records/test-*",
            "videos": 4,
            "classes": 2,
            "fingerprint": "0b",
            "ids_file": "",
        },
        "overlap": {"ids": 0, "contents": 2},
        "views": {"clips": 3, "crops": 1, "frames": 8, "stride": 2, "size": 64},
        "settings": {"temperature": 0.07},
        "figures": {
            "top1": {"value": 0.75, "low": 0.25, "high": 1.0},
            "recall_at_1": {"value": 0.5, "low": 0.0, "high": 1.0},
        },
        "baselines": {"chance": 0.5, "majority_class": 0.25},
        "class_names": ["predicted", "surf"],
        "confusion": [[1, 0], [1, 2]],
        "interval": {
            "level": 0.95,
            "method": "bootstrap, percentile",
            "unit": "test video",
            "resamples": 2000,
            "seed": 0,
        },
        "wall_seconds": 1.5,
    }


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/x for the result cannot be made"):
        report.make_directory(f"{tmp_path}/file/x")


def test_the_table():
    assert report.table(RESULT).splitlines() == [
        "knn: first, step 6 (runs/first/checkpoints/ckpt-6)",
        "train  records/train-* (ids.txt): 12 videos, 2 classes",
        "test   records/test-*: 4 videos, 2 classes",
        "       of these, training videos: 0 by id, 2 by content under another id",
        "views  3 clips x 1 crop, 8 frames at stride 2, 64x64 pixels",
        "",
        "figure           value     95 % interval",
        "top1            0.7500  0.2500 to 1.0000",
        "recall_at_1     0.5000  0.0000 to 1.0000",
        "chance          0.5000",
        "majority_class  0.2500",
    ]


@pytest.mark.parametrize(
    ("path", "kind", "run", "title"),
    [
        ("x/runs/first/checkpoints/ckpt-6", "run", "first", "first, step 6"),
        (
            *("runs/first/evaluations/linear_fast_ckpt-6/checkpoints/ckpt-6", "run"),
            *("first/linear_fast_ckpt-6", "first/linear_fast_ckpt-6, step 6"),
        ),
        ("gs://bucket/first/checkpoints/ckpt-6", "run", "first", "first, step 6"),
        (None, "random", None, "random weights, step 6"),
        ("theirs/ckpt", "official", None, "ckpt, step 6"),
        ("x/r50.keras", "inflated", None, "inflated r50.keras, step 6"),
        (None, "color_histogram", None, "colour histogram"),
    ],
)
def test_weights_are_named_by_their_run(path, kind, run, title):
    checkpoint = report.Checkpoint(path, 6, "00", kind)
    assert (checkpoint.run, checkpoint.title) == (run, title)


def test_the_run_in_the_working_directory_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert report.Checkpoint("./checkpoints/ckpt-6", 6, "00").run == tmp_path.name


SUBJECT = report.Subject("knn", RESULT.train, RESULT.test, RESULT.views, "00ff")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"protocol": "linear_fast"}, r"with protocol=knn \(now linear_fast\): name another dir"),
        ({"weights": "11"}, r"with weights of fingerprint 00ff \(now 11\): name"),
        (
            {"train": report.Data("records/train-*", 12, 2, "0c", "other/ids.txt")},
            r"with train data records/train-\* \(ids.txt\): 12 videos, 2 classes, 0a \(now"
            r" records/train-\* \(other/ids.txt\): 12 videos, 2 classes, 0c\): name",
        ),
        (
            {"test": report.Data("records/val-*", 9, 2, "0d")},
            r"with test data .*, 0b \(now records/val-\*: 9 videos, 2 classes, 0d\): name",
        ),
        (
            {"views": EvaluationViews(ClipSpec(8, 2, 64), 3, 3)},
            r"with views 3 clips x 1 crop, .* \(now 3 clips x 3 crops, 8 frames .*\): name",
        ),
    ],
)
def test_a_result_does_not_replace_one_of_another_subject(tmp_path, changed, message):
    SUBJECT.check(str(tmp_path))  # nothing is there
    report.write(str(tmp_path), RESULT)
    before = (tmp_path / "results.json").read_bytes()
    SUBJECT.check(str(tmp_path))
    dataclasses.replace(SUBJECT, weights="").check(str(tmp_path))
    with pytest.raises(InputError, match=rf"results\.json holds another evaluation, {message}"):
        dataclasses.replace(SUBJECT, **changed).check(str(tmp_path))
    assert (tmp_path / "results.json").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"protocol": "knn", "checkpoint": 3}'])
def test_a_damaged_result_is_named(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=r"results\.json is damaged \(.*\): remove it"):
        SUBJECT.check(str(tmp_path))


def test_data_are_told_by_ids_and_labels_not_by_order():
    one = report.describe_data("x", ["a", "b", "c"], np.array([0, 1, 1]))
    assert (one.videos, one.classes) == (3, 2)
    other_order = report.describe_data("y", ["c", "a", "b"], np.array([1, 0, 1]))
    assert other_order.fingerprint == one.fingerprint
    for ids, labels in (["a", "b", "d"], [0, 1, 1]), (["a", "b", "c"], [0, 1, 0]):
        assert report.describe_data("x", ids, labels).fingerprint != one.fingerprint


def test_weights_are_told_by_their_values():
    one, same, other = (build_backbone("r3d_small", seed=seed) for seed in (0, 0, 1))
    assert report.fingerprint_weights(one) == report.fingerprint_weights(same)
    assert report.fingerprint_weights(one) != report.fingerprint_weights(other)
    before = report.fingerprint_weights(one)
    one.weights[-1].assign_add(one.weights[-1] * 0 + 1e-6)
    assert report.fingerprint_weights(one) != before


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        ("runs/first/checkpoints/ckpt-500", "runs/first/evaluations/knn_ckpt-500"),
        (None, "runs/first/evaluations/knn_random"),
    ],
)
def test_each_checkpoint_has_a_directory_of_its_own(checkpoint, expected):
    assert report.default_directory("runs/first", "knn", checkpoint) == expected
    assert report.default_directory("runs/first", "knn", checkpoint, ("", "")) == expected


def test_each_list_of_ids_has_a_directory_of_its_own():
    lists = ("lists/ids_1pct.txt", "held_out")
    assert report.default_directory("run", "knn", "x/ckpt-5", lists) == (
        "run/evaluations/knn_ckpt-5_ids_1pct_held_out"
    )
