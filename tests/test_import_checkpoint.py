import numpy as np
import pytest
import tensorflow as tf
from commands import run as _run
from official_network import random_weights, write_checkpoint

from cvrl_tf.models import build_backbone, build_projection_head, official
from cvrl_tf.training.weights import load_backbone


@pytest.fixture(scope="module")
def weights():
    keys = official.backbone_keys(build_backbone("r3d_small"))
    keys |= official.head_keys(build_projection_head(512))
    return random_weights({key: tuple(variable.shape) for key, variable in keys.items()})


@pytest.fixture(scope="module")
def imported(weights, tmp_path_factory):
    """An import of a pre-training checkpoint of 12 steps, and what was printed."""
    directory = tmp_path_factory.mktemp("imported")
    prefix = write_checkpoint(directory / "theirs", weights, global_step=12)
    output = str(directory / "ours")
    result = _run("cvrl_tf.import_checkpoint", f"--official={prefix}.index", f"--output={output}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(
        f"{output}: r3d_small, 1 x filters, backbone and projection head, step 12\n"
    )
    return output


def test_an_imported_checkpoint_has_the_weights_of_the_authors(imported, weights):
    backbone, step = load_backbone(imported)
    assert step == 12
    for key, variable in official.backbone_keys(backbone).items():
        np.testing.assert_array_equal(variable.numpy(), weights[key])


def test_every_command_takes_an_imported_checkpoint(imported, weights, shards, tmp_path):
    output = tmp_path / "export"
    result = _run("cvrl_tf.export", f"--init_checkpoint={imported}", f"--output_dir={output}")
    assert result.returncode == 0, result.stderr
    clips = tf.random.stateless_uniform([2, 4, 32, 32, 3], [0, 1])
    expected = load_backbone(imported)[0](clips, training=False)
    exported = tf.saved_model.load(str(output / "saved_model"))
    tolerance = 1e-5 * np.max(expected)
    np.testing.assert_allclose(exported.serve(clips)["features"], expected, atol=tolerance)

    prefix = f"{imported}/checkpoints/ckpt-12"
    data = [f"--train_data={shards}", f"--test_data={shards}"]
    # 16 frames at stride 2 are the released code's: the videos of the shards are too short.
    result = _run("cvrl_tf.knn_eval", f"--init_checkpoint={prefix}", *data)
    assert result.returncode == 2 and "are shorter than a clip" in result.stderr

    run = tmp_path / "run"
    small = ["--backbone=r3d_small", "--num_frames=4", "--crop_size=32", "--batch_size=4"]
    train = [*small, "--epochs=1", "--warmup_epochs=0", "--learning_rate=0", "--weight_decay=0"]
    train += [f"--train_data={shards}", f"--model_dir={run}", f"--init_checkpoint={prefix}"]
    result = _run("cvrl_tf.train", *train)
    assert result.returncode == 0, result.stderr
    assert f"initial weights: backbone and head of {prefix}\n" in result.stdout
    backbone, step = load_backbone(str(run))
    assert step == 3
    for key, variable in official.backbone_keys(backbone).items():
        if "moving" not in key:  # at a learning rate of 0 only batch statistics change
            np.testing.assert_array_equal(variable.numpy(), weights[key])
    result = _run("cvrl_tf.train", *train)
    assert result.returncode == 0 and "initial weights" not in result.stdout


def test_what_cannot_be_imported_is_one_sentence(weights, tmp_path):
    result = _run("cvrl_tf.import_checkpoint")
    assert result.returncode == 2 and "--official is missing" in result.stderr
    result = _run("cvrl_tf.import_checkpoint", "--official=none", f"--output={tmp_path / 'x'}")
    assert result.returncode == 2 and "The checkpoint none cannot be read" in result.stderr
    key = sorted(weights)[3]
    prefix = write_checkpoint(tmp_path / "ckpt", {k: v for k, v in weights.items() if k != key})
    result = _run("cvrl_tf.import_checkpoint", f"--official={prefix}", f"--output={tmp_path / 'x'}")
    assert result.returncode == 2 and f"missing 1 ({key.split('/.ATTR')[0]})" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()
