import json
import os
import pathlib

import keras
import numpy as np
import official_network
import pytest
from official_network import VALUE, random_weights, write_checkpoint

from cvrl_tf.errors import InputError
from cvrl_tf.models import build_backbone, build_projection_head, load_official_checkpoint, official

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
# A folder with the authors' checkpoint and its outputs; too large for this repository.
REFERENCE = os.environ.get("CVRL_TF_REFERENCE", "")
STAGES = ("res2_2_relu", "res3_3_relu", "res4_5_relu", "res5_2_relu")


def _shapes(keys):
    return {key: tuple(variable.shape) for key, variable in keys.items()}


@pytest.fixture(scope="module")
def small_weights():
    """Weights of r3d_small and its head under the authors' keys."""
    shapes = _shapes(official.backbone_keys(build_backbone("r3d_small")))
    return random_weights(shapes | _shapes(official.head_keys(build_projection_head(512))))


@pytest.fixture
def clips():
    return np.random.default_rng(2).uniform(0, 1, (2, 8, 48, 64, 3)).astype("float32")


def _backbone_only(weights):
    return {key: value for key, value in weights.items() if key.startswith("backbone/")}


def _state(model):
    return [weight.numpy() for weight in model.weights if "seed" not in weight.path]


def _assert_unchanged(model, before):
    for one, two in zip(_state(model), before, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", ["backbone", "pretrain"])
def test_r3d_50_has_the_keys_and_shapes_of_the_authors(kind):
    theirs = json.loads((GOLDEN / "official_checkpoint_keys.json").read_text())[kind]
    theirs = {
        key: tuple(shape)
        for key, shape in theirs.items()
        if key.startswith(("backbone/", "model/"))
    }
    ours = _shapes(official.backbone_keys(build_backbone("r3d_50")))
    if kind == "pretrain":
        ours |= _shapes(official.head_keys(build_projection_head(2048)))
    assert ours == theirs
    assert (
        sum(np.prod(shape) for shape in ours.values())
        == {
            "backbone": 31_725_248,
            "pretrain": 44_601_152,
        }[kind]
    )


def test_blocks_are_in_the_order_of_their_numbers():
    backbone = build_backbone("r3d_101")
    keys = official.backbone_keys(backbone)
    # res2: 2 to 4; res3: 5 to 8; res4: 9 to 31.
    key = f"backbone/layer_with_weights-19/_temporal_conv/kernel{VALUE}"
    assert keys[key] is backbone.get_layer("res4_10_a_conv").kernel
    key = f"backbone/layer_with_weights-11/_norm3/gamma{VALUE}"
    assert keys[key] is backbone.get_layer("res4_2_c_bn").gamma


def test_a_loaded_network_computes_what_the_paper_says(tmp_path, small_weights, clips):
    prefix = write_checkpoint(tmp_path / "ckpt", small_weights, global_step=7)
    backbone, head = build_backbone("r3d_small"), build_projection_head(512)
    load_official_checkpoint(backbone, prefix, head)
    stages = official_network.stage_outputs(small_weights, clips)
    assert [stage.shape[-1] for stage in stages] == [64, 128, 256, 512]
    probe = keras.Model(
        backbone.input, [backbone.get_layer(f"res{s}_0_relu").output for s in range(2, 6)]
    )
    for output, expected in zip(probe(clips, training=False), stages, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5 * scale)
    pooled = np.mean(stages[-1], axis=(1, 2, 3))
    features = backbone(clips, training=False)
    np.testing.assert_allclose(features, pooled, rtol=1e-4, atol=1e-5)
    expected = official_network.head_output(small_weights, pooled)
    np.testing.assert_allclose(head(features, training=False), expected, rtol=1e-4, atol=1e-4)


def test_a_network_of_several_blocks_a_stage_is_loaded_block_by_block(tmp_path):
    backbone = build_backbone("r3d_50")
    weights = random_weights(_shapes(official.backbone_keys(backbone)), seed=3)
    load_official_checkpoint(backbone, write_checkpoint(tmp_path / "ckpt", weights))
    clips = np.random.default_rng(4).uniform(0, 1, (1, 4, 32, 32, 3)).astype("float32")
    expected = np.mean(official_network.stage_outputs(weights, clips)[-1], axis=(1, 2, 3))
    features = backbone(clips, training=False).numpy()
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_backbone_of_a_pretraining_checkpoint_loads_without_its_head(tmp_path, small_weights):
    slot = f"backbone/layer_with_weights-0/kernel/.OPTIMIZER_SLOT/optimizer/momentum{VALUE}"
    weights = small_weights | {
        slot: np.ones(3, "float32"),
        f"optimizer/_iterations{VALUE}": np.int64(3),
        f"optimizer/_learning_rate{VALUE}": np.float32(0.1),
    }
    prefix = write_checkpoint(tmp_path / "ckpt", weights, global_step=3, save_counter=1)
    backbone = build_backbone("r3d_small")
    load_official_checkpoint(backbone, prefix)
    kernel = small_weights[f"backbone/layer_with_weights-0/kernel{VALUE}"]
    np.testing.assert_array_equal(backbone.get_layer("conv1_conv").kernel, kernel)
    assert official.has_head(prefix) and official.official_step(prefix) == 3
    alone = write_checkpoint(tmp_path / "alone", _backbone_only(small_weights))
    assert not official.has_head(alone) and official.official_step(alone) == 0


def test_all_keys_that_do_not_fit_are_named_and_nothing_is_loaded(tmp_path, small_weights):
    weights = _backbone_only(small_weights)
    del weights[f"backbone/layer_with_weights-3/_norm2/gamma{VALUE}"]
    del weights[f"backbone/layer_with_weights-1/moving_mean{VALUE}"]
    weights[f"backbone/layer_with_weights-9/kernel{VALUE}"] = np.zeros(2, "float32")
    weights[f"model/layer_with_weights-8/kernel{VALUE}"] = np.zeros(2, "float32")
    weights[f"backbone/layer_with_weights-0/kernel{VALUE}"] = np.zeros([3, 7, 7, 3, 16], "float32")
    prefix = write_checkpoint(tmp_path / "ckpt", weights)
    backbone = build_backbone("r3d_small")
    before = _state(backbone)
    with pytest.raises(InputError) as error:
        load_official_checkpoint(backbone, prefix)
    assert str(error.value) == (
        f"{prefix} does not hold the weights of this network, nothing was loaded: missing 2"
        " (backbone/layer_with_weights-1/moving_mean,"
        " backbone/layer_with_weights-3/_norm2/gamma); not of this network 2"
        " (backbone/layer_with_weights-9/kernel, model/layer_with_weights-8/kernel); of another"
        " shape 1 (backbone/layer_with_weights-0/kernel (3, 7, 7, 3, 16), expected"
        " (5, 7, 7, 3, 16)). Build the backbone that the checkpoint is of."
    )
    _assert_unchanged(backbone, before)


def test_a_head_that_the_checkpoint_lacks_is_named(tmp_path, small_weights):
    prefix = write_checkpoint(tmp_path / "ckpt", _backbone_only(small_weights))
    backbone, head = build_backbone("r3d_small"), build_projection_head(512)
    before = _state(backbone) + _state(head)
    with pytest.raises(InputError, match=r"missing 20 \(model/layer_with_weights-1/bias, "):
        load_official_checkpoint(backbone, prefix, head)
    for one, two in zip(_state(backbone) + _state(head), before, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_missing_or_damaged_checkpoint_is_named(tmp_path, small_weights):
    backbone = build_backbone("r3d_small")
    with pytest.raises(InputError, match=r"nowhere/ckpt cannot be read .* give the prefix"):
        load_official_checkpoint(backbone, "nowhere/ckpt")
    prefix = write_checkpoint(tmp_path / "ckpt", _backbone_only(small_weights))
    data = tmp_path / "ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:5000])
    before = _state(backbone)
    with pytest.raises(InputError, match=r"ckpt is damaged \("):
        load_official_checkpoint(backbone, prefix)
    _assert_unchanged(backbone, before)


def test_paths_with_characters_of_patterns(tmp_path, small_weights):
    plain = write_checkpoint(tmp_path / "ckpt", small_weights)
    (tmp_path / "a [v1]").mkdir()
    for path in tmp_path.glob("ckpt.*"):
        path.rename(tmp_path / "a [v1]" / f"ckpt [1]{path.name.removeprefix('ckpt')}")
    prefix = f"{tmp_path}/a [v1]/ckpt [1]"
    assert plain == f"{tmp_path}/ckpt"
    assert official.official_architecture(prefix) == ("r3d_small", 1)
    assert official.has_head(prefix) and official.official_step(prefix) == 0
    backbone = build_backbone("r3d_small")
    load_official_checkpoint(backbone, prefix)
    key = next(iter(official.backbone_keys(backbone)))
    np.testing.assert_array_equal(official.backbone_keys(backbone)[key], small_weights[key])


def test_the_architecture_is_told_by_the_checkpoint(tmp_path, small_weights):
    prefix = write_checkpoint(tmp_path / "small", small_weights)
    assert official.official_architecture(prefix) == ("r3d_small", 1)
    wide = _shapes(official.backbone_keys(build_backbone("r3d_small", width_multiplier=2)))
    # Only shapes matter here.
    prefix = write_checkpoint(tmp_path / "wide", random_weights(wide))
    assert official.official_architecture(prefix) == ("r3d_small", 2)
    fewer = {key: value for key, value in small_weights.items() if "weights-5/" not in key}
    prefix = write_checkpoint(tmp_path / "fewer", fewer)
    with pytest.raises(InputError, match=r"found 3 blocks after 16 filters .* one of r3d_50, r3d_"):
        official.official_architecture(prefix)


def _relative(value, expected):
    """Largest error in units of the largest expected value."""
    return np.abs(np.asarray(value) - expected).max() / np.abs(expected).max()


@pytest.mark.skipif(not REFERENCE, reason="CVRL_TF_REFERENCE is not set")
def test_the_authors_own_checkpoint_gives_their_features(tmp_path):
    prefix = os.path.join(REFERENCE, "official_backbone", "r3d_1x_backbone-1")
    values = np.load(os.path.join(REFERENCE, "official_forward.npz"))
    clips = values["clip"].astype("float32") / 255
    assert official.official_architecture(prefix) == ("r3d_50", 1)
    backbone = build_backbone("r3d_50")
    load_official_checkpoint(backbone, prefix)
    weights = {key: x.numpy() for key, x in official.backbone_keys(backbone).items()}
    features = backbone(clips, training=True)
    assert _relative(features, values["pooled_training"]) < 1e-4

    # The values in inference mode are from before that pass in training mode.
    before = official_network.before_the_pass(weights, clips)
    load_official_checkpoint(backbone, write_checkpoint(tmp_path / "before", before))
    probe = keras.Model(
        backbone.input, [backbone.output] + [backbone.get_layer(name).output for name in STAGES]
    )
    features, *stages = probe(clips, training=False)
    assert _relative(features, values["pooled"]) < 1e-5
    for index, stage in enumerate(stages, start=2):
        mean = np.mean(stage, axis=(1, 2, 3))
        assert _relative(mean, values[f"endpoint{index}_mean"]) < 1e-5
