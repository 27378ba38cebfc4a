import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.models import build_backbone
from cvrl_tf.models.inflation import IMAGENET_MEAN, inflate_single_frame, inflated_resnet50

LAST_BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}


def _clip(image, num_frames):
    """(1, num_frames, H, W, 3) of one image."""
    return np.repeat(image[np.newaxis, np.newaxis], num_frames, axis=1)


def _assert_close(outputs, expected, tolerance=1e-5):
    expected = np.broadcast_to(expected, outputs.shape)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def _image(height, width):
    return np.random.default_rng(height).uniform(0, 1, (height, width, 3)).astype("float32")


# Backbones that were trained on single frames.


@pytest.fixture
def single_frame_backbone():
    backbone = build_backbone("r3d_small", seed=4)
    frames = np.random.default_rng(1).uniform(0, 1, (4, 1, 48, 48, 3)).astype("float32")
    for _ in range(3):
        backbone(frames, training=True)  # moves the statistics
    return backbone


def test_of_kernels_in_time_a_single_frame_trains_the_middle_alone(single_frame_backbone):
    kernels = [
        single_frame_backbone.get_layer(name).kernel
        for name in ("conv1_conv", "res4_0_a_conv", "res5_0_a_conv")
    ]
    with tf.GradientTape() as tape:
        features = single_frame_backbone(_clip(_image(32, 32), 1), training=False)
        loss = tf.reduce_sum(features**2)
    for gradient in tape.gradient(loss, kernels):
        trained = np.abs(gradient).max(axis=(1, 2, 3, 4)) > 0
        middle = len(trained) // 2
        assert trained.tolist() == [index == middle for index in range(len(trained))]


def test_an_inflated_backbone_gives_a_constant_clip_the_features_of_its_frame(
    single_frame_backbone,
):
    names = [f"res{stage}_0_relu" for stage in range(2, 6)]
    probe = keras.Model(
        single_frame_backbone.input,
        [single_frame_backbone.get_layer(name).output for name in names],
    )
    image = _image(48, 64)
    expected = [stage[0] for stage in probe(_clip(image, 1))]
    middle = single_frame_backbone.get_layer("conv1_conv").kernel.numpy()[2]
    inflate_single_frame(single_frame_backbone)
    kernel = single_frame_backbone.get_layer("conv1_conv").kernel.numpy()
    np.testing.assert_array_equal(kernel, np.stack([middle / 5] * 5))
    stages = [stage[0] for stage in probe(_clip(image, 16))]
    # Zeros beyond the ends reach one frame further with conv1, res4 and res5 each.
    for outputs, of_frame, reached in zip(stages, expected, (1, 1, 2, 3), strict=True):
        assert len(outputs) == 8
        _assert_close(outputs[reached:-reached], of_frame)
        for end in (reached - 1, -reached):
            assert np.abs(outputs[end] - of_frame[0]).max() > 1e-4 * np.abs(of_frame).max()


# keras.applications' ResNet50.


@pytest.fixture(scope="module")
def image_network():
    """ResNet50 with a classifier, all weights random, statistics and biases too."""
    network = keras.applications.ResNet50(weights=None)
    rng = np.random.default_rng(5)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            variance = rng.uniform(0.5, 1.5, size)
            if layer.name == "conv1_bn":
                variance = rng.uniform(2e3, 8e3, size)
                variance[:3] = 0.3, 1e-4, 0.0  # filters that are all but constant
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.0, size) * np.sqrt(np.maximum(variance, 1e-2)),
                    rng.uniform(-0.2, 0.2, size),
                    rng.uniform(-0.2, 0.2, size),
                    variance,
                ]
            )
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(rng.uniform(-0.3, 0.3, layer.bias.shape))
    return network


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def weights_file(image_network, directory):
    path = str(directory / "resnet50.weights.h5")
    image_network.save_weights(path)
    return path


@pytest.fixture(scope="module")
def inflated(weights_file):
    return inflated_resnet50(weights_file)


def _stages(network, image, reference_names):
    """What keras.applications computes of an image in [0, 1]: (H, W, C) each."""
    pixels = keras.applications.resnet.preprocess_input(image[np.newaxis] * 255.0)
    outputs = [network.get_layer(name).output for name in reference_names]
    return [stage[0] for stage in tf.nest.flatten(keras.Model(network.input, outputs)(pixels))]


def _in_our_structure(network):
    """The image network with the padding and the strides of R3D, and all else its own."""
    changes = {
        "conv1_pad": {"padding": 0},  # the image is padded instead, with black
        "pool1_pad": {"padding": ((0, 1), (0, 1))},
        **{f"conv{stage}_block1_1_conv": {"strides": 1} for stage in (3, 4, 5)},
        **{f"conv{stage}_block1_2_conv": {"strides": 2} for stage in (3, 4, 5)},
    }

    def clone(layer):
        return type(layer).from_config(layer.get_config() | changes.get(layer.name, {}))

    images = keras.Input((None, None, 3))
    truncated = keras.Model(network.input, network.get_layer("conv5_block3_out").output)
    copy = keras.models.clone_model(truncated, input_tensors=images, clone_function=clone)
    copy.set_weights(truncated.get_weights())
    return copy


def test_an_inflated_resnet50_is_the_image_network_with_our_padding_and_stride(
    image_network, inflated
):
    image = _image(32, 48)
    padded = np.pad(image, ((2, 3), (2, 3), (0, 0)))
    names = [f"conv{stage}_block{block}_out" for stage, block in LAST_BLOCKS.items()]
    expected = _stages(_in_our_structure(image_network), padded, names)
    probe = keras.Model(
        inflated.input,
        [inflated.get_layer(f"res{s}_{block - 1}_relu").output for s, block in LAST_BLOCKS.items()],
    )
    # conv1, 6 blocks of res4 and 3 of res5 let zeros beyond the ends one frame further in.
    for outputs, of_image, reached in zip(
        probe(_clip(image, 44)), expected, (1, 1, 7, 10), strict=True
    ):
        assert outputs.shape[1] == 22
        _assert_close(outputs[0, reached:-reached], of_image, 1e-4)


def test_off_the_border_the_first_stage_is_that_of_the_image_network_as_it_is(
    image_network, inflated
):
    network = keras.applications.ResNet50(include_top=False, weights=None)
    network.set_weights(image_network.get_weights()[:-2])
    probe = keras.Model(inflated.input, inflated.get_layer("res2_2_relu").output)
    odd = _image(97, 97)
    (expected,) = _stages(network, odd, ["conv2_block3_out"])
    _assert_close(probe(_clip(odd, 8))[0, 1:-1, 5:-5, 5:-5], expected[5:-5, 5:-5], 1e-4)
    # At even sizes 'same' padding puts the windows of conv1 1 pixel, and those of pool1 2 further.
    even = _image(96, 96)
    (expected,) = _stages(network, even[3:, 3:], ["conv2_block3_out"])
    _assert_close(probe(_clip(even, 8))[0, 1:-1, 5:-6, 5:-6], expected[5:-6, 5:-6], 1e-4)


def test_kernels_of_conv1_stay_small_enough_to_be_trained(image_network, inflated):
    theirs = image_network.get_layer("conv1_conv").kernel.numpy()
    kernel = inflated.get_layer("conv1_conv").kernel.numpy()
    # 255 for the scale of the input over 255 that normalisation makes up for; BGR became RGB.
    np.testing.assert_allclose(kernel[4, ..., 3:], theirs[:, :, ::-1, 3:] / 5, rtol=1e-6)
    variance = inflated.get_layer("conv1_bn").moving_variance.numpy()
    assert variance.min() >= 0 and np.isfinite(inflated.get_layer("conv1_bn").moving_mean).all()
    assert IMAGENET_MEAN[::-1] == (103.939, 116.779, 123.68)


@pytest.mark.parametrize(
    "name", ["whole.h5", pytest.param("features.keras", marks=pytest.mark.slow)]
)
def test_files_of_other_formats_hold_the_same(name, image_network, inflated, directory):
    network = image_network
    if name == "features.keras":
        network = keras.applications.ResNet50(include_top=False, weights=None, pooling="avg")
        network.set_weights(image_network.get_weights()[:-2])
    network.save(directory / name)
    for one, two in zip(
        inflated_resnet50(str(directory / name)).get_weights(), inflated.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_a_file_that_does_not_fit_is_refused_with_what_is_missing(directory, weights_file):
    with pytest.raises(InputError, match=r"There is no file nowhere\.keras: expected a file that"):
        inflated_resnet50("nowhere.keras")
    with open(weights_file, "rb") as file:
        content = file.read()
    damaged = directory / "damaged.weights.h5"
    damaged.write_bytes(content[:5000])
    with pytest.raises(InputError, match=r"nothing was loaded: .*truncated file"):
        inflated_resnet50(str(damaged))
    damaged.write_bytes(content)
    with h5py.File(damaged, "a") as file:
        del file["layers/conv2d_7"]
        file["layers/batch_normalization_52/vars/1"][5] = np.nan
    message = r"1 of its layers are missing or of another shape \(conv2_block2_3_conv\); expected"
    with pytest.raises(InputError, match=message):
        inflated_resnet50(str(damaged))
    with h5py.File(damaged, "a") as file, h5py.File(weights_file) as whole:
        whole.copy("layers/conv2d_7", file["layers"])
    with pytest.raises(InputError, match=r"are no numbers, for conv5_block3_3_bn; expected"):
        inflated_resnet50(str(damaged))
