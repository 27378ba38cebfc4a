import keras
import numpy as np
import pytest
import tensorflow as tf
from graphs import ancestors

from cvrl_tf.models.convolution import ClipConv3D
from cvrl_tf.models.faster_convolution import CHANNELS_OF_PRODUCTS

# In bfloat16, Keras's layer sums in bfloat16 on CPUs without instructions for it; ours, as a
# product, does not.


def _layers(channels, dtype, kernel=(3, 1, 1), strides=(1, 1, 1)):
    """Keras's layer in float32 and ours in `dtype`, with the same kernel."""
    options = {"kernel_size": kernel, "strides": strides, "padding": "same", "use_bias": False}
    theirs = keras.layers.Conv3D(6, **options)
    ours = ClipConv3D(6, dtype=dtype, **options)
    for layer in (theirs, ours):
        layer.build((None, None, None, None, channels))
    ours.set_weights(theirs.get_weights())
    assert ours.kernel.shape == (*kernel, channels, 6)
    return theirs, ours


@pytest.mark.parametrize("num_frames", [1, 2, 5])
@pytest.mark.parametrize(
    ("kernel", "strides"),
    [
        ((3, 1, 1), (1, 1, 1)),
        ((1, 1, 1), (1, 2, 2)),
        ((1, 1, 1), (1, 1, 1)),
        ((1, 3, 3), (1, 2, 2)),
        ((5, 7, 7), (2, 2, 2)),
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("mixed_bfloat16", 0.06)])
def test_equals_keras_forward_and_backward(num_frames, kernel, strides, dtype, tolerance):
    inputs = tf.constant(
        np.random.default_rng(0).normal(size=(2, num_frames, 7, 6, 5)).astype("float32")
    )
    results = []
    for layer in _layers(5, dtype, kernel, strides):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.cast(layer(inputs), tf.float32)
            loss = tf.reduce_sum(tf.sin(outputs))
        results.append([outputs, *tape.gradient(loss, [inputs, layer.kernel.value])])
    for their, our in zip(*results, strict=True):
        assert their.shape == our.shape
        np.testing.assert_allclose(our, their, atol=tolerance * np.abs(their).max())


@pytest.mark.parametrize("num_frames", [1, 2, 3])
@pytest.mark.parametrize(
    ("dtype", "kernel", "strides", "num_products"),
    [
        ("mixed_bfloat16", (3, 1, 1), (1, 1, 1), 1),  # the gradient of the kernel
        ("mixed_bfloat16", (1, 3, 3), (1, 1, 1), 1),
        ("mixed_bfloat16", (1, 3, 3), (1, 2, 2), 1),
        ("float32", (3, 1, 1), (1, 1, 1), 3),  # forward and both gradients
        ("float32", (4, 1, 1), (1, 1, 1), 3),
        ("float32", (1, 3, 3), (1, 2, 2), 1),
        ("float32", (1, 1, 1), (1, 2, 2), 3),
    ],
)
def test_convolutions_of_many_channels_equal_keras(
    num_frames, dtype, kernel, strides, num_products
):
    shape = (2, num_frames, 5, 6, CHANNELS_OF_PRODUCTS)
    tolerance = 0.06 if dtype == "mixed_bfloat16" else 3e-6
    inputs = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
    results, products = [], []
    for layer in _layers(CHANNELS_OF_PRODUCTS, dtype, kernel, strides):

        @tf.function
        def gradients(layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = tf.cast(layer(inputs), tf.float32)
                loss = tf.reduce_sum(tf.sin(outputs))
            return [outputs, *tape.gradient(loss, [inputs, layer.kernel.value])]

        results.append(gradients())
        operations = gradients.get_concrete_function().graph.get_operations()
        products.append(sum(operation.type == "MatMul" for operation in operations))
    assert products == [0, num_products]
    for their, our in zip(*results, strict=True):
        assert their.shape == our.shape
        np.testing.assert_allclose(our, their, atol=tolerance * np.abs(their).max())


def test_bfloat16_gradients_are_finite_and_the_same_every_time():
    # Keras's own layer, on CPUs, gives other values at nearly every call, and sometimes NaN.
    _, layer = _layers(256, "mixed_bfloat16")
    inputs = tf.constant(
        np.random.default_rng(0).normal(size=(8, 2, 4, 4, 256)).astype("float32"), tf.bfloat16
    )

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(inputs), tf.float32) ** 2)
        return tape.gradient(loss, layer.kernel.value)

    first = gradient().numpy()
    assert np.isfinite(first).all()
    for _ in range(50):
        np.testing.assert_array_equal(gradient(), first)


@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 3, 3)])
def test_copies_for_the_gradient_are_not_made_in_the_forward_pass(kernel):
    """Nothing else keeps TensorFlow from making them as soon as it has the inputs."""
    _, layer = _layers(CHANNELS_OF_PRODUCTS, "mixed_bfloat16", kernel)

    @tf.function
    def gradient(inputs, upstream):
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
        return tape.gradient(outputs, layer.kernel.value, tf.cast(upstream, outputs.dtype))

    shapes = (2, 3, 5, 6, CHANNELS_OF_PRODUCTS), (2, 3, 5, 6, 6)
    graph = gradient.get_concrete_function(*map(tf.TensorSpec, shapes)).graph
    copies = [op for op in graph.get_operations() if op.type in ("Pad", "ConcatV2")]
    copies = [op for op in copies if op.outputs[0].dtype == tf.bfloat16]
    assert {op.type for op in copies} == {"Pad", "ConcatV2"}
    upstream = graph.inputs[1].op
    assert all(upstream in ancestors(op) for op in copies)
