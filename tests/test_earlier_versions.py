"""Runs, records and exports that an earlier version made are used by this one."""

import pathlib
import tarfile

import commands
import keras
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.evaluation import classifier
from cvrl_tf.models import resnet3d
from cvrl_tf.training.config import SupervisedConfig
from cvrl_tf.training.run_config import load_config
from cvrl_tf.training.weights import load_backbone

STORED = pathlib.Path(__file__).parent / "stored" / "made_by_2e131ff.tar.xz"
CLIP = ("--num_frames=4", "--crop_size=32")
SCHEDULE = ("--batch_size=4", "--epochs=3", "--warmup_epochs=0.5", "--learning_rate=0.002")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    directory = tmp_path_factory.mktemp("earlier")
    with tarfile.open(STORED) as archive:
        archive.extractall(directory, filter="data")
    return directory


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setitem(resnet3d.BACKBONES, "r3d_mini", resnet3d.Architecture((1, 1, 1, 1), 2))


def _run(stored, command, *arguments):
    environment = {"PYTHONPATH": f"{commands.ROOT}:{commands.ROOT / 'tests'}"}
    done = commands.run(
        "small_network_program", command, *arguments, cwd=stored, fresh=True, **environment
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_run_resumes_to_the_weights_that_it_would_have_had(stored):
    options = (*CLIP, *SCHEDULE, "--weight_decay=0.01", "--backbone=r3d_mini")
    _run(
        stored,
        "cvrl_tf.train",
        "--train_data=records/train-*",
        "--model_dir=run",
        "--augment_on=host",
        "--log_every_steps=1",
        *options,
    )
    lines = (stored / "run" / "metrics.jsonl").read_text().splitlines()
    assert [f'"step": {step},' in line for step, line in enumerate(lines, 1)] == [True] * 6
    backbone, step = load_backbone(str(stored / "run"))
    assert step == 6
    expected = np.load(stored / "after_the_last_step.npz")
    assert len(expected.files) == len(backbone.weights)
    for weight in backbone.weights:
        # Bit for bit on the CPU that made the file; others round differently, by up to 5e-4.
        np.testing.assert_allclose(weight.numpy(), expected[weight.path], rtol=1e-2, atol=1e-3)

    done = _run(
        stored,
        "cvrl_tf.knn_eval",
        "--model_dir=run",
        "--train_data=records/train-*",
        "--test_data=records/test-*",
        "--num_clips=1",
        "--num_neighbors=3",
    )
    assert "records/train-*: 8 videos, 2 classes" in done.stdout
    results = files.read_json(str(stored / "run/evaluations/knn_ckpt-6/results.json"))
    assert results["checkpoint"]["step"] == 6
    assert results["views"] == {"clips": 1, "crops": 1, "frames": 4, "stride": 2, "size": 32}


def test_the_configuration_of_a_linear_evaluation(stored):
    config = load_config(str(stored / "linear"))
    assert isinstance(config, SupervisedConfig)
    assert (config.num_classes, config.frozen, config.learning_rate) == (2, True, 0.1)
    assert config.clip.frames == 4 and config.init == "run"


def test_a_linear_classifier_predicts(stored, monkeypatch, capsys):
    monkeypatch.chdir(stored)
    found = classifier.load("linear")
    assert (found.normalized, found.origin.step, found.views.num_clips) == (True, 4, 10)
    assert "note: linear has no results.json of a test" in capsys.readouterr().err
    assert found.class_names == pathlib.Path("records/labels.txt").read_text().splitlines()
    probabilities = found.probabilities(tf.zeros([2, 4, 32, 32, 3]))
    assert probabilities.shape == (2, 2)
    np.testing.assert_allclose(tf.reduce_sum(probabilities, axis=1), 1, atol=1e-6)


def test_records_are_inspected(stored):
    done = commands.run("cvrl_tf.inspect_tfrecords", "records", cwd=stored)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no problems" in done.stdout


def test_an_export_gives_its_features(stored):
    values = np.load(stored / "features.npz")
    clips = values["clips"].astype("float32") / 255.0
    backbone = keras.models.load_model(stored / "export" / "backbone.keras")
    tolerance = 1e-5 * np.abs(values["features"]).max()
    np.testing.assert_allclose(backbone.predict(clips), values["features"], atol=tolerance)
    served = tf.saved_model.load(str(stored / "export" / "saved_model"))
    found = served.serving_default(tf.constant(values["clips"]))["features"]
    np.testing.assert_allclose(found, values["features"], atol=tolerance)
