import os
import re

import numpy as np
import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.models import inflation
from cvrl_tf.training import origin, run_config, weights
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.pretrain import pretrain


@pytest.fixture(scope="module")
def image_run(shards, tmp_path_factory):
    """A run of SimCLR on single frames, of three steps."""
    config = PretrainConfig(
        train_data=shards,
        num_frames=1,
        interval="zero",
        crop_size=32,
        backbone="r3d_small",
        batch_size=4,
        epochs=1.0,
        warmup_epochs=0.0,
        learning_rate=0.01,
    )
    directory = str(tmp_path_factory.mktemp("runs") / "image")
    pretrain(config, directory)
    return directory


def test_a_run_on_single_frames_is_inflated(image_run):
    trained, _ = origin.load_run(image_run)
    backbone, about = origin.load_inflated(image_run)
    for name, length in (("conv1_conv", 5), ("res3_0_b_conv", 1), ("res5_0_a_conv", 3)):
        kernel = trained.get_layer(name).kernel.numpy()
        repeated = np.repeat(kernel[length // 2 : length // 2 + 1], length, axis=0) / length
        np.testing.assert_array_equal(backbone.get_layer(name).kernel, repeated)
    start = about.config.build_backbone()
    for layer in trained.layers:
        if layer.name in ("conv1_conv", "res5_0_a_conv"):
            # The centre was trained, the rest only decayed.
            moved = np.abs(layer.kernel - start.get_layer(layer.name).kernel)
            moved = np.max(moved, axis=(1, 2, 3, 4))
            middle = len(moved) // 2
            assert moved[middle] > 100 * np.delete(moved, middle).max()
    checkpoint = os.path.join(image_run, "checkpoints", "ckpt-3")
    assert about.description == f"r3d_small, step 3, inflated {checkpoint}"
    assert (about.kind, about.step, about.model_dir) == ("inflated", 3, None)
    clip = about.config.clip
    assert (clip.frames, clip.stride, clip.size) == (16, 2, 32)


def test_only_a_run_on_single_frames_is_inflated(image_run, tmp_path):
    config = PretrainConfig(train_data="x", num_frames=4, backbone="r3d_small")
    run_config.prepare(str(tmp_path), config)
    weights.save_imported(str(tmp_path), config.build_backbone(), None, 7)
    with pytest.raises(InputError, match="trained on clips of 4 frames, expected a run with num"):
        origin.load_inflated(str(tmp_path))
    backbone, about = origin.load_run(str(tmp_path), "mixed_bfloat16")
    assert backbone.get_layer("res2_0_a_conv").compute_dtype == "bfloat16"
    assert (about.kind, about.step, about.model_dir) == ("run", 7, str(tmp_path))
    with pytest.raises(InputError, match="nowhere does not exist: expected a directory that"):
        origin.load_inflated("nowhere")


def test_a_checkpoint_that_cannot_be_written_is_reported(tmp_path):
    config = PretrainConfig(train_data="x", num_frames=4, backbone="r3d_small")
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(InputError) as error:
        weights.save_imported(str(tmp_path), config.build_backbone(), None, 7)
    said = rf"The checkpoint cannot be written to {tmp_path}/checkpoints \(.+\): give yourself"
    assert re.match(said, str(error.value)) and "\n" not in str(error.value)


def test_a_file_of_keras_is_inflated(monkeypatch):
    monkeypatch.setattr(inflation, "inflated_resnet50", lambda *arguments: arguments)
    for path in ("a/resnet50.weights.h5", "a/resnet50.keras", "a/resnet50_notop.h5"):
        arguments, about = origin.load_inflated(path, "mixed_bfloat16")
        assert arguments == (path, "mixed_bfloat16")
        assert about.description == f"r3d_50, inflated {path}" and about.model_dir is None


def test_what_has_seen_no_data():
    one, about = origin.untrained("r3d_small", 2, seed=5)
    two, _ = origin.untrained("r3d_small", 2, seed=5)
    other, _ = origin.untrained("r3d_small", 2, seed=6)
    kernels = [model.get_layer("conv1_conv").kernel.numpy() for model in (one, two, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01
    assert one.output_shape == (None, 1024) and about.description == "r3d_small, random weights"
    backbone, about = origin.untrained("color_histogram")
    assert (about.description, about.kind) == ("colour histogram", "color_histogram")
    assert backbone.output_shape == (None, 512) and about.checkpoint == ""
