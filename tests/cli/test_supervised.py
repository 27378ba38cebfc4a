"""linear_eval and finetune as a stranger runs them, in processes of their own."""

import csv
import json
import os

import numpy as np
import pytest
from commands import run as _run
from commands import run_workers

from cvrl_tf import finetune, linear_eval, predict
from cvrl_tf.errors import InputError
from cvrl_tf.training import metrics, run_config, weights
from cvrl_tf.training.config import PretrainConfig

SMALL = ["--num_frames=4", "--crop_size=32", "--test_crop_size=32", "--num_clips=2", "--seed=1"]


def _results(directory):
    return json.loads((directory / "results.json").read_text())


@pytest.fixture(scope="module")
def data(shards):
    """The flags of the data: tested on what is trained on."""
    return [f"--train_data={shards}", f"--test_data={shards}", "--allow_overlap", *SMALL]


@pytest.fixture(scope="module")
def finetuned(data, tmp_path_factory):
    """A run of finetune from scratch."""
    directory = tmp_path_factory.mktemp("runs") / "scratch"
    flags = ["--backbone=r3d_small", "--batch_size=4", "--epochs=2", "--warmup_epochs=0.5"]
    result = _run("cvrl_tf.finetune", *data, *flags, "--dropout=0.5", f"--output_dir={directory}")
    assert result.returncode == 0, result.stderr
    assert "initial weights: r3d_small, random weights" in result.stdout
    assert f"written: {directory}/results.json, {directory}/predictions.csv," in result.stdout
    shown = ("fine-tuning", "testing", f"note: 12 of 12 videos of --test_data={data[1][12:]} are")
    assert [line for line in result.stderr.splitlines() if not line.startswith(shown)] == []
    return directory


def test_finetune_writes_its_result(finetuned):
    result = _results(finetuned)
    assert result["protocol"] == "finetune"
    assert result["checkpoint"]["path"] == f"{finetuned}/checkpoints/ckpt-6"
    assert result["views"] == {"clips": 2, "crops": 3, "frames": 4, "stride": 2, "size": 32}
    settings = result["settings"]
    assert (settings["init"], settings["dropout"], settings["num_classes"]) == ("random", 0.5, 2)
    flags = (finetuned / "flags.txt").read_text()
    assert "--dropout=0.5\n" in flags and f"--output_dir={finetuned}\n" in flags


def test_a_fine_tuned_run_is_evaluated_from_stored_features(finetuned, data):
    result = _run("cvrl_tf.linear_eval", f"--model_dir={finetuned}", "--mode=fast", *data)
    assert result.returncode == 0, result.stderr
    found = _results(finetuned / "evaluations" / "linear_fast_ckpt-6")
    assert found["figures"]["top1"]["value"] == 1.0  # 12 videos, 512 features: separable
    assert found["settings"] == {"init": "run", "feature_clips": 3}
    assert len(os.listdir(finetuned / "features")) == 2  # three clips in one crop, two in three
    # Both directories hold classifiers that predict what was tested; stored features are float16.
    for directory, tolerance in (
        (finetuned, 1e-5),
        (finetuned / "evaluations" / "linear_fast_ckpt-6", 5e-3),
    ):
        output = directory / "again.csv"
        flags = [f"--model_dir={directory}", data[0].replace("train_data", "data")]
        result = _run("cvrl_tf.predict", *flags, f"--output={output}")
        assert result.returncode == 0, result.stderr
        before, after = (
            list(csv.reader(path.read_text().splitlines()))
            for path in (directory / "predictions.csv", output)
        )
        assert before[0] == ["id", "true", "predicted", "label 0", "label 1"]
        assert [row[:1] for row in before] == [row[:1] for row in after] and len(after) == 13
        np.testing.assert_allclose(
            np.array([row[3:] for row in before[1:]], float),
            np.array([row[2:] for row in after[1:]], float),
            atol=tolerance,
        )


def test_results_and_runs_are_not_replaced(finetuned, data):
    """By a test with other views, by one of stored features, and by another evaluation."""
    before = {path: path.read_bytes() for path in finetuned.glob("*.*")}
    flags = ["--backbone=r3d_small", "--batch_size=4", "--epochs=2", "--warmup_epochs=0.5"]
    flags += ["--dropout=0.5", f"--output_dir={finetuned}"]
    for command, arguments, message in [
        ("finetune", [*flags, "--num_crops=1"], "holds another evaluation, with views 2 clips x 3"),
        (
            "linear_eval",
            [*flags[:1], *flags[-1:], "--mode=fast"],
            "with protocol=finetune (now lin",
        ),
    ]:
        result = _run(f"cvrl_tf.{command}", *data, *arguments)
        assert result.returncode == 2
        assert (
            f"error: {finetuned}/results.json holds another evaluation" in result.stderr
            and message in result.stderr
        )
    assert {path: path.read_bytes() for path in finetuned.glob("*.*")} == before


def test_colours_are_not_fine_tuned(data, tmp_path):
    flags = ["--backbone=color_histogram", f"--output_dir={tmp_path}/run"]
    result = _run("cvrl_tf.finetune", *data, *flags)
    assert result.returncode == 2 and not list(tmp_path.iterdir())
    assert result.stderr.splitlines(keepends=True)[-1] == (
        "error: --backbone=color_histogram has no weights to train: evaluate it with python -m"
        " cvrl_tf.linear_eval or cvrl_tf.knn_eval.\n"
    )


def test_linear_evaluation_by_sgd_leaves_the_backbone(data, tmp_path):
    config = PretrainConfig(train_data="x", num_frames=4, crop_size=32, backbone="r3d_small")
    model_dir = tmp_path / "run"
    run_config.prepare(str(model_dir), config)
    backbone = config.build_backbone()
    weights.save_imported(str(model_dir), backbone, None, step=7)
    flags = [f"--model_dir={model_dir}", "--batch_size=4", "--epochs=2", "--warmup_epochs=0"]
    result = _run("cvrl_tf.linear_eval", *flags, *data)
    assert result.returncode == 0, result.stderr
    output = model_dir / "evaluations" / "linear_sgd_ckpt-7"
    found = _results(output)
    assert found["checkpoint"]["step"] == 7
    assert found["settings"]["frozen"] is True and found["settings"]["learning_rate"] == 32.0
    trained, step = weights.load_backbone(str(output))
    assert step == 6
    for one, other in zip(trained.weights, backbone.weights, strict=True):
        assert (one.numpy() == other.numpy()).all(), one.path


def test_fine_tuning_with_validation_tests_the_best_weights(data, tmp_path, capsys):
    directory = tmp_path / "run"
    flags = ["--backbone=r3d_small", "--epochs=4", "--warmup_epochs=0", "--freeze=res4"]
    chosen = ["--validation_fraction=0.4", "--patience=1", "--classifier_rate=10"]
    finetune.COMMAND.call(*data, *flags, *chosen, f"--output_dir={directory}")
    said = capsys.readouterr().err
    assert "of 12 videos of" in said and "fine-tuning: 8 videos, 1 step an epoch, 4 steps" in said
    rows = metrics.read_metrics(str(directory))
    accuracies = {row["step"]: row["validation_accuracy"] for row in rows}
    best = max(accuracies, key=lambda step: (accuracies[step], -step))
    assert max(accuracies) == min(best + 1, 4)  # patience
    result = _results(directory)
    assert result["checkpoint"]["path"] == f"{directory}/best/ckpt-{best}"
    assert result["checkpoint"]["step"] == best and result["train"]["videos"] == 8
    assert result["settings"]["validation_fraction"] == 0.4
    assert weights.load_backbone(str(directory))[1] == best


def test_the_fast_modes_enlarge_small_videos(shards, tmp_path):
    """Of 48x40 pixels here, for training and testing; in clips that are drawn they are refused."""
    flags = [f"--train_data={shards}", f"--test_data={shards}", "--allow_overlap", "--crop_size=64"]
    flags += ["--num_frames=2", "--num_clips=1", "--num_crops=1", "--backbone=color_histogram"]
    flags += [f"--output_dir={tmp_path}"]
    linear_eval.COMMAND.call(*flags, "--mode=fast", "--feature_clips=1")
    assert _results(tmp_path)["views"]["size"] == 64
    with pytest.raises(InputError, match="smaller than crop_size=64"):
        linear_eval.COMMAND.call(*flags, "--mode=sgd")


@pytest.mark.slow
def test_two_workers_end_after_the_best_epoch_and_test_its_weights(data, tmp_path):
    """Only the first validates; both end after the same step."""
    directory = tmp_path / "run"
    flags = ["--backbone=r3d_small", "--batch_size=4", "--epochs=8", "--learning_rate=0.02"]
    chosen = ["--validation_fraction=0.4", "--patience=2", f"--output_dir={directory}"]
    for worker in run_workers("cvrl_tf.finetune", *data, *flags, *chosen):
        assert worker.returncode == 0, worker.stderr
    rows = metrics.read_metrics(str(directory))
    accuracies = {row["step"]: row["validation_accuracy"] for row in rows}
    best = max(accuracies, key=lambda step: (accuracies[step], -step))
    assert list(accuracies) == list(range(2, 1 + min(best + 4, 16), 2))
    assert _results(directory)["checkpoint"]["path"] == f"{directory}/best/ckpt-{best}"
    # What was tested are the weights that are kept: one process predicts the same with them.
    arguments = f"--model_dir={directory}", data[1].replace("test_data", "data")
    predict.COMMAND.call(*arguments, f"--output={tmp_path}/again.csv")
    before, after = (
        [row.values() for row in csv.DictReader(path.read_text().splitlines())]
        for path in (directory / "predictions.csv", tmp_path / "again.csv")
    )
    np.testing.assert_allclose(
        np.array([list(row)[3:] for row in before], float),
        np.array([list(row)[2:] for row in after], float),
        atol=1e-5,
    )
