import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.evaluation import views


@pytest.fixture
def loaded(export):
    return tf.saved_model.load(str(export / "saved_model"))


def _operations(function):
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return {node.op for node in nodes}


def test_serve_is_the_backbone_for_clips_of_any_size(loaded, backbone, clips):
    np.testing.assert_allclose(
        loaded.serve(clips)["features"], backbone(clips, training=False), rtol=1e-5, atol=1e-6
    )
    by_signature = loaded.signatures["serve"](clips=tf.constant(clips))
    np.testing.assert_allclose(by_signature["features"], loaded.serve(clips)["features"], atol=1e-6)
    features = loaded.serve(clips[:1, :1, :17, :23])["features"]
    assert features.shape == (1, 512) and features.dtype == tf.float32


def test_serving_default_sees_frames_as_the_evaluation_does(loaded, backbone):
    frames = np.random.default_rng(1).integers(0, 256, (2, 4, 53, 40, 3), np.uint8)
    # 53x40 becomes 42x32; rows 5 to 36 are its centre.
    pixels = tf.image.resize(frames.reshape(8, 53, 40, 3), [42, 32])
    pixels = np.floor(pixels)[:, 5:37].reshape(2, 4, 32, 32, 3) / np.float32(255)
    np.testing.assert_allclose(views.center_clips(frames, 32), pixels, atol=1e-6)
    np.testing.assert_allclose(
        loaded.serving_default(frames)["features"],
        backbone(pixels, training=False),
        rtol=1e-5,
        atol=1e-5,
    )


def test_train_normalises_with_the_batch_and_moves_statistics(loaded, clips):
    before = {variable.name: variable.numpy() for variable in loaded.variables}
    trained = loaded.train(clips)["features"]
    assert np.abs(trained - loaded.serve(clips)["features"]).max() > 1e-2
    for variable in loaded.variables:
        moved = np.any(variable.numpy() != before[variable.name])
        assert moved == ("moving" in variable.name), variable.name


def test_it_is_a_reusable_saved_model(loaded, clips):
    assert len(loaded.variables) == 85 and len(loaded.trainable_variables) == 51
    assert loaded.trainable_variables[0].name == "conv1_conv/kernel:0"
    assert list(loaded.regularization_losses) == []
    features = loaded(clips, training=False)
    np.testing.assert_allclose(loaded(clips), features, atol=1e-6)
    np.testing.assert_allclose(loaded.serve(clips)["features"], features, atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(clips, training=True) ** 2)
    gradients = tape.gradient(loss, loaded.trainable_variables)
    assert all(np.any(gradient != 0) for gradient in gradients)


def test_the_graph_of_serve_has_nothing_of_training(loaded):
    for name in ("serve", "serving_default"):
        operations = _operations(loaded.signatures[name])
        assert "Conv3D" in operations
        assert not [name for name in operations if "Assign" in name or "Random" in name]
    assert [name for name in _operations(loaded.signatures["train"]) if "Assign" in name]


def test_assets_are_there_after_loading(loaded, export):
    assert tf.io.read_file(loaded.labels.asset_path) == b"dive\nsurf\n"
    assert tf.io.read_file(loaded.export_json.asset_path) == (export / "export.json").read_bytes()


def test_saved_model_cli_shows_and_runs_it(export, tmp_path):
    def cli(*arguments):
        program = "from tensorflow.python.tools.saved_model_cli import main; main()"
        command = [sys.executable, "-c", program, *arguments, "--tag_set", "serve"]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)

    directory = ["--dir", str(export / "saved_model")]
    shown = cli("show", *directory, "--signature_def", "serving_default").stdout
    assert "inputs['frames'] tensor_info:\n      dtype: DT_UINT8\n" in shown
    assert "shape: (-1, -1, -1, -1, 3)\n" in shown
    assert "outputs['features'] tensor_info:\n      dtype: DT_FLOAT\n" in shown
    assert "shape: (-1, 512)\n" in shown
    np.save(tmp_path / "frames.npy", np.ones((1, 2, 40, 60, 3), np.uint8))
    serving = ["--signature_def", "serving_default", "--inputs", "frames=frames.npy"]
    cli("run", *directory, *serving, "--outdir", ".")
    assert np.load(tmp_path / "features.npy").shape == (1, 512)


@pytest.mark.parametrize("name", ["serve", "serving_default", "train"])
def test_no_clips_have_no_features_and_leave_no_trace(loaded, clips, name):
    frames = np.zeros((0, 4, 53, 40, 3), np.uint8)
    before = [variable.numpy() for variable in loaded.variables]
    with tf.GradientTape() as tape:
        features = getattr(loaded, name)(frames if name == "serving_default" else clips[:0])
        loss = tf.reduce_sum(features["features"])
    assert features["features"].shape == (0, 512) and float(loss) == 0.0
    for gradient in tape.gradient(loss, loaded.trainable_variables):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
    for variable, value in zip(loaded.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    for training in (False, True):
        assert loaded(clips[:0], training=training).shape == (0, 512)
