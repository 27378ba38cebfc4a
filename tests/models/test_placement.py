"""Where layers compute, and that the forms for accelerators give the results of those for CPUs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from cvrl_tf.models import build_backbone, build_projection_head, placement
from cvrl_tf.models.activation import ClipReLU
from cvrl_tf.models.convolution import ClipConv3D
from cvrl_tf.models.faster_convolution import CHANNELS_OF_PRODUCTS
from cvrl_tf.models.normalization import ClipBatchNormalization
from cvrl_tf.models.pooling import ClipMaxPooling3D

# The largest error as a share of the largest value. CPUs without instructions for 16 bits sum in 16
# bits where they convolve, but not where they multiply matrices.
TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 0.06, "mixed_float16": 0.01}
CONVOLUTIONS = {
    "first": ((5, 7, 7), (2, 2, 2), 3),
    "over_time": ((3, 1, 1), (1, 1, 1), 5),
    "over_time_of_many_channels": ((3, 1, 1), (1, 1, 1), CHANNELS_OF_PRODUCTS),
    "over_space": ((1, 3, 3), (1, 1, 1), 5),
    "over_space_of_many_channels": ((1, 3, 3), (1, 2, 2), CHANNELS_OF_PRODUCTS),
    "single": ((1, 1, 1), (1, 1, 1), 5),
    "strided_single": ((1, 1, 1), (1, 2, 2), 5),
    "strided_single_over_time": ((1, 1, 1), (2, 2, 2), 5),
}


@pytest.fixture
def a_gpu(monkeypatch):
    """TensorFlow lists a GPU; nothing can be placed on it."""
    there = tf.config.list_logical_devices
    gpu = tf.config.LogicalDevice("/device:GPU:0", "GPU")
    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind=None: [gpu] if kind == "GPU" else there(kind)
    )


def _seen_in(run):
    """What `on_cpu` returns where `run` calls its argument, which returns a tensor."""
    seen = []

    def look():
        seen.append(placement.on_cpu())
        return tf.zeros([])

    run(look)
    assert seen
    return set(seen)


def _traced(function):
    """`function` in a tf.function that is traced but not run."""
    tf.function(function).get_concrete_function()


def test_without_a_request_an_accelerator_is_chosen_where_there_is_one(monkeypatch):
    assert _seen_in(_traced) == {True}
    for found in ("GPU", "TPU"):
        device = tf.config.LogicalDevice(f"/device:{found}:0", found)
        monkeypatch.setattr(
            tf.config,
            "list_logical_devices",
            lambda kind, device=device: [device] * (kind == device.device_type),
        )
        assert _seen_in(_traced) == {False}


def test_eagerly_it_is_where_operations_run(a_gpu):
    assert _seen_in(lambda look: look()) == {True}


def test_a_device_that_the_function_asks_for_decides(a_gpu):
    def on(device, look):
        with tf.device(device):
            tf.map_fn(lambda x: x + look(), tf.zeros([2]))  # a graph of its own
            return look()

    assert _seen_in(lambda look: _traced(lambda: on("/CPU:1", look))) == {True}
    assert _seen_in(lambda look: _traced(lambda: on("/GPU:0", look))) == {False}


def test_an_eager_device_scope_around_a_function_does_not_count(a_gpu):
    def inside(look):
        with tf.device("/CPU:0"):
            tf.function(look)()

    assert _seen_in(inside) == {False}


@pytest.mark.parametrize("name", ["one_replica", "two_replicas"])
def test_a_strategy_of_cpus_computes_on_them_although_there_is_a_gpu(a_gpu, name, request):
    strategy = request.getfixturevalue(name)

    def replica(look):
        x = tf.constant(1.0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.recompute_grad(lambda x: x + look())(x)
        return tape.gradient(y, x) + tf.function(look)()

    def run(look):
        _traced(lambda: strategy.run(replica, args=(look,)))
        strategy.run(tf.function(look))

    assert _seen_in(run) == {True}


def _results(layer, inputs, training=None):
    """Outputs, gradients for inputs and weights, and moved statistics, in a traced function."""
    options = {} if training is None else {"training": training}
    weights = [variable.value for variable in layer.trainable_variables]

    @tf.function
    def compute():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.cast(layer(inputs, **options), tf.float32)
            # The same upstream gradient for both branches, whatever the rounding of their outputs.
            loss = tf.reduce_sum(outputs * tf.random.stateless_normal(tf.shape(outputs), [2, 3]))
        return outputs, tape.gradient(loss, [inputs, *weights])

    outputs, gradients = compute()
    values = [outputs, *gradients, *layer.non_trainable_variables]
    return [np.array(tf.cast(value, tf.float32)) for value in values]


def _compare_branches(make, inputs, tolerance, monkeypatch, **options):
    results = []
    for on_cpu in (True, False):
        monkeypatch.setattr(placement, "on_cpu", lambda on_cpu=on_cpu: on_cpu)
        results.append(_results(make(), inputs, **options))
    for cpu, accelerator in zip(*results, strict=True):
        assert np.isfinite(cpu).all() and cpu.shape == accelerator.shape
        np.testing.assert_allclose(accelerator, cpu, atol=tolerance * np.abs(cpu).max())


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("num_frames", [1, 4])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_accelerators_are_those_of_cpus(name, num_frames, dtype, monkeypatch):
    kernel, strides, channels = CONVOLUTIONS[name]
    inputs = tf.random.stateless_normal([2, num_frames, 9, 8, channels], [0, 1])

    def make():
        initializer = keras.initializers.VarianceScaling(seed=1)
        return ClipConv3D(
            6,
            kernel,
            strides,
            "same",
            use_bias=False,
            kernel_initializer=initializer,
            dtype=dtype,
        )

    def built():
        layer = make()
        layer.build(inputs.shape)
        return layer

    _compare_branches(built, inputs, TOLERANCES[dtype], monkeypatch)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_batch_normalisation_of_accelerators_is_that_of_cpus(rank, training, dtype, monkeypatch):
    shape = [6, 3, 4, 5, 7]
    inputs = 3.0 + tf.random.stateless_normal(shape[: rank - 1] + shape[-1:], [0, 1])

    def make():
        layer = ClipBatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)
        layer.build(inputs.shape)
        return layer

    _compare_branches(make, inputs, TOLERANCES[dtype], monkeypatch, training=training)


@pytest.mark.parametrize(
    ("shape", "images"), [((8, 4, 6, 5, 7), (32, 6, 5, 7)), ((8, 7), (8, 1, 1, 7))]
)
def test_batch_normalisation_of_accelerators_folds_frames_only(shape, images, monkeypatch):
    monkeypatch.setattr(placement, "on_cpu", lambda: False)
    layer = ClipBatchNormalization()
    layer.build(shape)
    function = tf.function(lambda x: layer(x, training=False))
    graph = function.get_concrete_function(tf.TensorSpec(shape)).graph
    (fused,) = [one for one in graph.get_operations() if one.type == "FusedBatchNormV3"]
    assert tuple(fused.inputs[0].shape) == images


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_rectifier_of_accelerators_is_that_of_cpus(dtype, monkeypatch):
    inputs = tf.random.stateless_normal([1000], [0, 1])
    inputs = tf.cast(inputs, keras.DTypePolicy(dtype).compute_dtype)
    _compare_branches(lambda: ClipReLU(dtype=dtype), inputs, 0.0, monkeypatch)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_pooling_has_one_branch(dtype, monkeypatch):
    inputs = tf.random.stateless_normal([2, 3, 9, 8, 4], [0, 1])
    inputs = tf.cast(inputs, keras.DTypePolicy(dtype).compute_dtype)
    options = {"padding": "same", "dtype": dtype}
    _compare_branches(
        lambda: ClipMaxPooling3D((1, 3, 3), (1, 2, 2), **options), inputs, 0.0, monkeypatch
    )


def _gradient_graph(dtype):
    """The traced forward and backward pass of the networks of pre-training."""
    backbone = build_backbone("r3d_small", dtype=dtype)
    head = build_projection_head(backbone.output_shape[-1], dtype)
    weights = [v.value for model in (backbone, head) for v in model.trainable_variables]

    @tf.function
    def compute(clips):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(head(backbone(clips, training=True), training=True)))
        return loss, tape.gradient(loss, weights)

    return compute


def test_networks_of_accelerators_are_those_of_cpus(monkeypatch):
    """In float32: rounding to 16 bits grows from layer to layer."""
    clips = tf.random.stateless_uniform([4, 4, 32, 32, 3], [0, 1])
    results = []
    for on_cpu in (True, False):
        monkeypatch.setattr(placement, "on_cpu", lambda on_cpu=on_cpu: on_cpu)
        loss, gradients = _gradient_graph("float32")(clips)
        results.append([np.array(loss), *(np.array(gradient).ravel() for gradient in gradients)])
    for cpu, accelerator in zip(*(result[1:] for result in results), strict=True):
        assert np.isfinite(accelerator).all()
        if np.abs(cpu).max() > 1e-3:  # not the bias before a normalisation, whose gradient is 0
            difference = np.linalg.norm(accelerator - cpu) / np.linalg.norm(cpu)
            assert difference < 1e-3


@pytest.mark.skipif(not tf.test.is_built_with_cuda(), reason="this TensorFlow knows no GPUs")
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_every_operation_of_accelerators_has_a_gpu_kernel(dtype, monkeypatch):
    monkeypatch.setattr(placement, "on_cpu", lambda: False)
    compute = _gradient_graph(dtype)
    graph = compute.get_concrete_function(tf.TensorSpec([4, 4, 32, 32, 3])).graph.as_graph_def()
    nodes = [
        *graph.node,
        *(node for function in graph.library.function for node in function.node_def),
    ]
    missing = set()
    for node in nodes:
        if "T" not in node.attr or not node.attr["T"].type:  # no type, or a list of them
            continue
        computed = tf.as_dtype(node.attr["T"].type)
        if not computed.is_floating:
            continue
        if not any(
            _takes(kernel, computed)
            for kernel in kernels.get_registered_kernels_for_op(node.op).kernel
        ):
            missing.add((node.op, computed.name))
    assert "Conv3D" in {node.op for node in nodes}
    assert missing == set()


def _takes(kernel, dtype):
    """Whether a registered kernel is for GPUs and values of this type."""
    types = [set(c.allowed_values.list.type) for c in kernel.constraint if c.name == "T"]
    return kernel.device_type in ("GPU", "DEFAULT") and all(
        dtype.as_datatype_enum in one for one in types
    )
