import keras
import numpy as np
import pytest

from cvrl_tf.exporting import stock
from cvrl_tf.models import build_backbone


def test_a_copy_has_layers_of_keras_only_and_the_same_features(backbone, clips):
    copy = stock.copy(backbone)
    assert {type(layer).__name__ for layer in copy.layers} == {
        "Add",
        "BatchNormalization",
        "Conv3D",
        "GlobalAveragePooling3D",
        "InputLayer",
        "MaxPooling3D",
        "ReLU",
    }
    assert {type(layer).__module__.split(".")[0] for layer in copy.layers} == {"keras"}
    assert [weight.path for weight in copy.weights] == [weight.path for weight in backbone.weights]
    expected = backbone(clips, training=False)
    np.testing.assert_allclose(copy(clips, training=False), expected, rtol=1e-5, atol=1e-6)


def test_a_copy_trains_as_the_original(backbone, clips):
    original = keras.models.clone_model(backbone)
    original.set_weights(backbone.get_weights())
    copy = stock.copy(original)
    expected = original(clips, training=True)
    np.testing.assert_allclose(copy(clips, training=True), expected, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(original.weights, copy.weights, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4, err_msg=ours.path)
    assert not np.allclose(copy.weights[3], backbone.weights[3])  # statistics have moved


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_a_copy_of_a_frozen_network_in_mixed_precision_is_float32_and_trainable(dtype, clips):
    mixed = build_backbone("r3d_small", dtype=dtype, seed=1)
    mixed.trainable = False
    copy = stock.copy(mixed)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert len(copy.trainable_weights) == len(build_backbone("r3d_small").trainable_weights)
    expected = build_backbone("r3d_small", seed=1)(clips, training=False)
    np.testing.assert_allclose(copy(clips, training=False), expected, rtol=1e-5, atol=1e-6)
