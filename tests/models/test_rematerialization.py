import numpy as np
import pytest
import tensorflow as tf
from graphs import ancestors

from cvrl_tf.errors import InputError
from cvrl_tf.models import build_backbone
from cvrl_tf.models.rematerialization import Rematerialized

KINDS = ("norm", "block")


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
    one = build_backbone("r3d_small", dtype=dtype)
    expected = _train(one, one, clips)
    for kind in KINDS:
        two = build_backbone("r3d_small", dtype=dtype)
        result = _train(two, Rematerialized(two, kind), clips)
        np.testing.assert_array_equal(result[0], expected[0])
        for ours, theirs in zip(result[1], expected[1], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
        for ours, theirs in zip(result[2], expected[2], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def _graph(backbone, forward):
    """The operations of a training step that its gradients need, and their inputs and outputs."""

    @tf.function
    def step(clips):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(forward(clips, training=True))
        return tape.gradient(loss, [v.value for v in backbone.trainable_variables])

    graph = step.get_concrete_function(tf.TensorSpec((4, 4, 32, 32, 3))).graph
    return ancestors(*(tensor.op for tensor in graph.outputs))


def test_what_is_computed_again():
    backbone = build_backbone("r3d_small")
    counts = []
    for forward in (backbone, *(Rematerialized(backbone, kind) for kind in KINDS)):
        kinds = [operation.type for operation in _graph(backbone, forward)]
        counts.append((kinds.count("Conv3D"), kinds.count("FusedBatchNormV3")))
    # conv1, and four stages of one block: a, b, c and the shortcut. The gradient does not need the
    # output of a convolution itself; normalisation follows those of c and of the shortcut.
    convolutions = 1 + 4 * 4
    assert counts == [
        (convolutions, convolutions),
        (convolutions + 4 * 2, 2 * convolutions),
        (2 * convolutions, 2 * convolutions),
    ]


def test_inference_is_that_of_the_backbone(clips):
    backbone = build_backbone("r3d_small")
    expected = backbone(clips, training=False)
    for kind in KINDS:
        result = Rematerialized(backbone, kind)(clips, training=False)
        np.testing.assert_array_equal(result, expected)


def test_another_kind_is_refused():
    with pytest.raises(InputError, match="^Found remat=all, expected norm or block.$"):
        Rematerialized(build_backbone("r3d_small"), "all")
