import keras
import numpy as np
import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.models import build_backbone, build_projection_head


@pytest.fixture(scope="module")
def r3d_50():
    return build_backbone("r3d_50")


def test_parameter_counts_of_the_paper(r3d_50):
    assert r3d_50.count_params() == 31_725_248
    head = build_projection_head(2048)
    assert r3d_50.count_params() + head.count_params() == 44_601_152


def test_parameter_count_of_r3d_101():
    assert round(build_backbone("r3d_101").count_params() / 1e6, 1) == 59.7


@pytest.mark.slow
def test_parameter_count_of_r3d_152_at_twice_the_width():
    assert round(build_backbone("r3d_152", width_multiplier=2).count_params() / 1e6, 0) == 328


def test_output_sizes_of_table_1(r3d_50):
    outputs = {
        "conv1_conv": (8, 112, 112, 64),
        "pool1": (8, 56, 56, 64),
        "res2_2_relu": (8, 56, 56, 256),
        "res3_3_relu": (8, 28, 28, 512),
        "res4_5_relu": (8, 14, 14, 1024),
        "res5_2_relu": (8, 7, 7, 2048),
    }
    probe = keras.Model(r3d_50.input, [r3d_50.get_layer(name).output for name in outputs])
    specs = probe.compute_output_spec(keras.KerasTensor((1, 16, 224, 224, 3)))
    assert [spec.shape for spec in specs] == [(1, *shape) for shape in outputs.values()]


def test_kernels_of_table_1(r3d_50):
    kernels = {
        layer.name: layer.kernel.shape
        for layer in r3d_50.layers
        if isinstance(layer, keras.layers.Conv3D)
    }
    assert kernels["conv1_conv"] == (5, 7, 7, 3, 64)
    assert kernels["res2_0_shortcut_conv"] == (1, 1, 1, 64, 256)
    assert kernels["res2_0_a_conv"] == (1, 1, 1, 64, 64)
    assert kernels["res3_0_b_conv"] == (1, 3, 3, 128, 128)
    assert kernels["res4_0_a_conv"] == (3, 1, 1, 512, 256)
    assert kernels["res4_5_a_conv"] == (3, 1, 1, 1024, 256)
    assert kernels["res5_2_c_conv"] == (1, 1, 1, 512, 2048)
    assert len(kernels) == 1 + 4 + 3 * (3 + 4 + 6 + 3)


def test_convolutions_have_no_bias_and_batch_norm_the_settings_of_the_paper(r3d_50):
    for layer in r3d_50.layers:
        if isinstance(layer, keras.layers.Conv3D):
            assert not layer.use_bias
            assert layer.padding == "same"
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def test_projection_head_has_the_layers_of_the_paper():
    head = build_projection_head(2048)
    shapes = {variable.path: variable.shape for variable in head.trainable_variables}
    assert shapes["hidden_0_dense/kernel"] == (2048, 2048)
    assert shapes["hidden_2_dense/bias"] == (2048,)
    assert shapes["embeddings/kernel"] == (2048, 128)
    assert shapes["embeddings/bias"] == (128,)
    norm = head.get_layer("hidden_1_bn")
    assert (norm.momentum, norm.epsilon) == (0.997, 1e-5)
    assert build_projection_head(512).get_layer("hidden_0_dense").units == 512
    assert build_projection_head(4096).get_layer("hidden_0_dense").units == 2048


def test_features_of_any_clip_size():
    backbone = build_backbone("r3d_small")
    rng = np.random.default_rng(0)
    for shape in [(2, 8, 64, 64, 3), (1, 4, 40, 56, 3), (3, 1, 32, 32, 3)]:
        features = backbone(rng.uniform(0, 1, shape).astype("float32"), training=False)
        assert features.shape == (shape[0], 512)
        assert np.isfinite(features).all()


def test_weights_depend_on_the_seed_only():
    kernels = [
        build_backbone("r3d_small", seed=seed).get_layer("res3_0_b_conv").kernel.numpy()
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01
    # VarianceScaling: variance 1 / fan_in.
    assert kernels[0].std() == pytest.approx((9 * 32) ** -0.5, rel=0.05)


def test_bfloat16_computes_in_bfloat16_and_returns_float32():
    backbone = build_backbone("r3d_small", dtype="mixed_bfloat16")
    assert backbone.get_layer("res3_0_b_conv").compute_dtype == "bfloat16"
    assert backbone.get_layer("res3_0_b_conv").kernel.dtype == "float32"
    clip = np.random.default_rng(0).uniform(0, 1, (1, 4, 32, 32, 3)).astype("float32")
    features = backbone(clip)
    assert features.dtype == "float32"
    exact = build_backbone("r3d_small")(clip)
    np.testing.assert_allclose(features, exact, atol=0.05 * np.abs(exact).max())


def test_stock_layers_are_keras_own_throughout_with_the_same_weights():
    for build, name in ((build_backbone, "r3d_small"), (build_projection_head, 512)):
        ours, stock = (build(name, seed=3, layers=layers) for layers in ("clip", "stock"))
        assert {type(layer).__module__.split(".")[0] for layer in stock.layers} == {"keras"}
        assert [layer.name for layer in stock.layers] == [layer.name for layer in ours.layers]
        for theirs, our in zip(stock.layers, ours.layers, strict=True):
            assert isinstance(our, type(theirs)) and our.get_config() == theirs.get_config()
        for their, our in zip(stock.weights, ours.weights, strict=True):
            assert their.path == our.path
            np.testing.assert_array_equal(their, our)


def test_unknown_backbone_is_named():
    with pytest.raises(InputError, match=r"'r3d_18', expected one of r3d_50, r3d_101"):
        build_backbone("r3d_18")
