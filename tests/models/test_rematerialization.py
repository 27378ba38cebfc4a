import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.models import build_backbone
from cvrl_tf.models.rematerialization import Rematerialized


@pytest.fixture
def clips():
    values = np.random.default_rng(0).uniform(0, 1, (4, 4, 32, 32, 3))
    return tf.constant(values.astype("float32"))


def _train(backbone, forward, clips):
    """Features, gradients and the statistics after one step in training mode."""

    @tf.function
    def step(clips):
        with tf.GradientTape() as tape:
            features = forward(clips, training=True)
            loss = tf.reduce_sum(tf.sin(features))
        variables = [variable.value for variable in backbone.trainable_variables]
        return features, tape.gradient(loss, variables)

    features, gradients = step(clips)
    return features, gradients, [v.numpy() for v in backbone.non_trainable_variables]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_values_gradients_and_statistics_are_those_of_the_backbone(clips, dtype):
    one, two = (build_backbone("r3d_small", dtype=dtype) for _ in range(2))
    expected = _train(one, one, clips)
    result = _train(two, Rematerialized(two), clips)
    np.testing.assert_array_equal(result[0], expected[0])
    for ours, theirs in zip(result[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    for ours, theirs in zip(result[2], expected[2], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_blocks_are_computed_again_for_the_gradient(clips):
    backbone = build_backbone("r3d_small")
    counts = []
    for forward in (backbone, Rematerialized(backbone)):

        @tf.function
        def step(clips, forward=forward):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(forward(clips, training=True))
            return tape.gradient(loss, [v.value for v in backbone.trainable_variables])

        graph = step.get_concrete_function(clips).graph
        counts.append(sum(op.type == "Conv3D" for op in graph.get_operations()))
    assert counts == [1 + 4 * 4, 2 * (1 + 4 * 4)]


def test_inference_is_that_of_the_backbone(clips):
    backbone = build_backbone("r3d_small")
    expected = backbone(clips, training=False)
    np.testing.assert_array_equal(Rematerialized(backbone)(clips, training=False), expected)
