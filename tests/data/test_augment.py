import colorsys
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from augmentations import EVERYTHING, RELEASED
from scipy import stats

from cvrl_tf.data import augment, sampling
from cvrl_tf.errors import InputError


@pytest.fixture
def clip():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 40, 3)).astype("uint8")


def _apply(
    clip,
    brightness=1.0,
    contrast=1.0,
    saturation=1.0,
    hue=0.0,
    order=(0, 1, 2, 3),
    jitter=True,
    grayscale=False,
    sigma=0.0,
    solarize=False,
):
    """`augment.apply` of a uint8 clip, or of one in [0, 1] that is uint8 / 255."""
    if clip.dtype != np.uint8:
        np.testing.assert_allclose(clip * 255, np.round(clip * 255), atol=1e-4)
        clip = np.round(clip * 255).astype("uint8")
    factors = tf.constant([brightness, contrast, saturation, hue], tf.float32)
    parameters = augment.Parameters(
        *map(tf.constant, (jitter, factors, order, grayscale, float(sigma), solarize))
    )
    return augment.apply(tf.constant(clip), parameters).numpy()


def _draw(augmentation, view, count, seed=0):
    """Parameters of many clips, each an array with a leading axis of `count`."""
    seeds = tf.stack([tf.range(count), tf.fill([count], seed)], axis=1)
    draw_all = tf.function(
        lambda: tf.map_fn(
            lambda seed: augment.draw(augmentation, view, seed),
            seeds,
            fn_output_signature=augment.PARAMETERS,
        )
    )
    return tf.nest.map_structure(lambda value: value.numpy(), draw_all())


def _windows(count, height, width, geometry=RELEASED):
    seeds = tf.stack([tf.range(count), tf.zeros(count, tf.int32)], axis=1)
    draw_all = tf.function(
        lambda: tf.map_fn(
            lambda seed: augment.crop_window(
                geometry, tf.constant(height), tf.constant(width), seed
            ),
            seeds,
            fn_output_signature=tf.int32,
        )
    )
    return draw_all().numpy()


def _defined_windows(count, height, width, rng):
    """Random resized crops from their definition: an aspect ratio, then a height that fits it."""
    windows = []
    while len(windows) < count:
        aspect = rng.uniform(0.5, 2.0)
        lowest = round(np.sqrt(0.3 * height * width / aspect))
        highest = round(np.sqrt(height * width / aspect))
        if highest * aspect > width:
            highest = int((width + 0.4999) / aspect)
        highest = min(highest, height)
        lowest = min(lowest, highest)
        tall = int(rng.integers(lowest, highest + 1))
        wide = round(tall * aspect)
        area = tall * wide
        if not 0.3 * height * width <= area <= height * width or wide > width:
            continue
        # Like TensorFlow, without the last position.
        top = rng.integers(0, max(height - tall, 1))
        left = rng.integers(0, max(width - wide, 1))
        windows.append((top, left, tall, wide))
    return np.array(windows)


@pytest.mark.parametrize(("height", "width"), [(256, 340), (340, 256), (256, 256)])
def test_crop_windows_have_the_distribution_of_the_definition(height, width):
    windows = _windows(3000, height, width)
    expected = _defined_windows(3000, height, width, np.random.default_rng(1))
    for sample in (windows, expected):
        top, left, tall, wide = sample.T
        assert (top >= 0).all() and (top + tall <= height).all()
        assert (left >= 0).all() and (left + wide <= width).all()
        share, aspect = tall * wide / (height * width), wide / tall
        assert share.min() > 0.299 and share.max() <= 1.0
        assert aspect.min() > 0.49 and aspect.max() < 2.02
    for statistic in (
        lambda top, left, tall, wide: tall * wide,
        lambda top, left, tall, wide: wide / tall,
        lambda top, left, tall, wide: (top + 0.5) / np.maximum(height - tall, 1),
        lambda top, left, tall, wide: (left + 0.5) / np.maximum(width - wide, 1),
    ):
        one, two = statistic(*windows.T), statistic(*expected.T)
        assert stats.ks_2samp(one, two).pvalue > 1e-3


def test_every_frame_size_has_a_window_that_covers_a_tenth():
    # min_object_covered is 0.1 of the whole frame: any window of 0.3 of the area covers it. In a
    # frame so long that no aspect ratio up to 2 reaches that area, the whole frame is used.
    assert _windows(50, 32, 1000).tolist() == [[0, 0, 32, 1000]] * 50
    for height, width in [(17, 23), (240, 320), (1080, 1920), (1, 1)]:
        for top, left, tall, wide in _windows(50, height, width):
            assert tall * wide >= 0.1 * height * width
            assert top + tall <= height and left + wide <= width


def test_brightness_scales_and_clips(clip):
    expected = np.clip(clip / 255 * 1.3, 0, 1)
    np.testing.assert_allclose(_apply(clip, brightness=1.3), expected, atol=1e-6)


def test_contrast_uses_the_mean_of_the_whole_clip(clip):
    values = clip / 255
    mean = values.mean(axis=(0, 1, 2))
    expected = np.clip((values - mean) * 0.6 + mean, 0, 1)
    np.testing.assert_allclose(_apply(clip, contrast=0.6), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [0.2, 1.0, 1.7])
@pytest.mark.parametrize("turns", [-0.2, 0.0, 0.15])
def test_saturation_and_hue_follow_hsv(clip, factor, turns):
    clip = np.array(clip[:1, :8, :8])
    # Where hue or saturation are undefined, or two channels are both the largest.
    clip[0, 0, :5] = [[0, 0, 0], [255, 255, 255], [90, 90, 90], [200, 200, 10], [10, 200, 200]]
    result = _apply(clip, saturation=factor, hue=turns)
    for pixel, changed in zip(clip.reshape(-1, 3) / 255, result.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        expected = colorsys.hsv_to_rgb((hue + turns) % 1, min(saturation * factor, 1), value)
        np.testing.assert_allclose(changed, expected, atol=1e-5, err_msg=str(pixel))


def test_colours_equal_those_of_tf_image(clip):
    tall = tf.reshape(tf.constant(clip, tf.float32) / 255, [-1, 40, 3])
    for operation, name, factor in [
        (tf.image.adjust_saturation, "saturation", 1.6),
        (tf.image.adjust_hue, "hue", -0.13),
        (tf.image.adjust_contrast, "contrast", 1.4),
    ]:
        expected = np.clip(operation(tall, factor), 0, 1).reshape(clip.shape)
        np.testing.assert_allclose(_apply(clip, **{name: factor}), expected, atol=1e-5)


def test_jitter_order_matters_and_is_followed(clip):
    operations = {
        0: lambda x: x * 1.8,
        1: lambda x: (x - x.mean(axis=(0, 1, 2))) * 0.3 + x.mean(axis=(0, 1, 2)),
    }
    for order in [(0, 1, 2, 3), (1, 0, 2, 3), (2, 1, 3, 0)]:
        expected = clip / 255
        for index in order:
            expected = np.clip(operations.get(index, lambda x: x)(expected), 0, 1)
        result = _apply(clip, brightness=1.8, contrast=0.3, order=order)
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_no_jitter_leaves_the_colours(clip):
    result = _apply(clip, brightness=1.8, contrast=0.3, hue=0.1, jitter=False)
    np.testing.assert_allclose(result, clip / 255, atol=1e-7)


def test_grayscale_is_luma_in_all_channels(clip):
    luma = clip / 255 @ np.array([0.2989, 0.587, 0.114])
    expected = np.stack([luma] * 3, -1)
    np.testing.assert_allclose(_apply(clip, grayscale=True), expected, atol=1e-5)


def test_solarize_inverts_from_a_half():
    values = np.zeros((1, 1, 4, 3), "uint8")
    values[0, 0] = np.array([0, 127, 128, 255])[:, None]
    expected = np.array([0, 127, 255 - 128, 0]) / 255
    np.testing.assert_allclose(_apply(values, solarize=True)[0, 0, :, 0], expected, atol=1e-6)


def test_blur_is_a_gaussian_within_each_frame():
    clip = np.zeros((2, 45, 45, 3), "uint8")
    clip[0, 22, 22] = 255
    blurred = _apply(clip, sigma=1.2)
    taps = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.2**2))
    taps /= taps.sum()
    for channel in range(3):
        window = blurred[0, 20:25, 20:25, channel]
        np.testing.assert_allclose(window, np.outer(taps, taps), atol=1e-6)
    assert np.abs(blurred[0]).sum() == pytest.approx(3.0, abs=1e-5)
    assert np.abs(blurred[1]).sum() == 0.0


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.45, 0.6, 0.9, 1.3, 1.7, 2.0])
def test_taps_that_are_left_out_do_not_show(sigma):
    # 224 pixels: 23 taps, of which few are computed where sigma is small.
    clip = np.random.default_rng(1).integers(0, 256, (1, 224, 8, 3)).astype("uint8")
    taps = np.exp(-(np.arange(-11, 12) ** 2) / (2 * sigma**2))
    taps = (taps / taps.sum()).astype("float32")
    expected = tf.constant(clip, tf.float32) / 255
    for kernel in (taps[:, None], taps[None, :]):
        kernel = np.tile(kernel[:, :, None, None], [1, 1, 3, 1])
        expected = tf.nn.depthwise_conv2d(expected, kernel, [1] * 4, "SAME")
    np.testing.assert_allclose(_apply(clip, sigma=sigma), expected, rtol=0, atol=5e-6)


def test_blur_kernel_of_the_paper_at_224():
    assert 2 * augment.blur_radius(224) + 1 == 23


OPERATIONS = {
    "brightness_1.3": {"brightness": 1.3},
    "contrast_0.6": {"contrast": 0.6},
    "saturation_1.7": {"saturation": 1.7},
    "hue_0.15": {"hue": 0.15},
    "jitter_b1.2_c0.7_s1.5_h-0.1": {
        "brightness": 1.2,
        "contrast": 0.7,
        "saturation": 1.5,
        "hue": -0.1,
    },
    "grayscale": {"grayscale": True},
    "solarize": {"solarize": True},
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_colours_equal_those_of_the_authors(golden, name):
    values = golden("augment")
    result = _apply(values["clip"], **OPERATIONS[name])
    np.testing.assert_allclose(result, values[name], rtol=0, atol=1e-5)


def test_blur_equals_that_of_the_authors(golden):
    # Their kernel argument 4 makes 2 * 2 + 1 taps, as ours does for 40 pixels.
    values = golden("augment")
    result = _apply(values["blur_clip"], sigma=1.2)
    np.testing.assert_allclose(result, values["blur_sigma1.2_kernel4"], rtol=0, atol=1e-5)


def test_the_steps_come_in_the_order_of_the_released_code(clip):
    # Gray before blur and blur before solarisation: each other order gives another result.
    factors = {"brightness": 1.5, "saturation": 0.4}
    jittered = _apply(clip, **factors)
    gray = jittered @ np.array([0.2989, 0.587, 0.114], "float32")
    taps = np.exp(-(np.arange(-1, 2) ** 2) / (2 * 0.8**2))
    taps /= taps.sum()
    padded = np.pad(gray, [(0, 0), (1, 1), (1, 1)])
    rows = sum(tap * padded[:, k : k + 32] for k, tap in enumerate(taps))
    blurred = sum(tap * rows[:, :, k : k + 40] for k, tap in enumerate(taps))
    expected = np.stack([np.where(blurred < 0.5, blurred, 1 - blurred)] * 3, -1)
    result = _apply(clip, **factors, grayscale=True, sigma=0.8, solarize=True)
    np.testing.assert_allclose(result, expected, atol=2e-5)


@pytest.mark.parametrize("augmentation", [RELEASED, EVERYTHING], ids=["released", "everything"])
@pytest.mark.parametrize("view", [0, 1])
def test_identical_frames_stay_identical(clip, view, augmentation):
    still = np.repeat(clip[:1], 4, axis=0)
    changed = 0
    for index in range(12):
        parameters = augment.draw(augmentation, view, tf.constant([index, 0]))
        result = augment.apply(tf.constant(still), parameters).numpy()
        np.testing.assert_allclose(result, np.repeat(result[:1], 4, axis=0), atol=1e-6)
        assert result.min() >= 0.0 and result.max() <= 1.0
        changed += np.abs(result - still / 255).max() > 0.01
    assert changed >= 7


@pytest.mark.parametrize("compiled", [True, False])
def test_parameters_of_each_frame_make_of_it_a_clip_of_its_own(clip, compiled):
    both = [RELEASED, EVERYTHING, RELEASED]
    drawn = [augment.draw(both[index], 1, tf.constant([index, 7])) for index in range(len(clip))]
    parameters = tf.nest.map_structure(lambda *values: tf.stack(values), *drawn)
    result = augment.apply(tf.constant(clip), parameters, compiled=compiled)
    assert result.shape == clip.shape
    for frame, of_frame, expected in zip(result, drawn, clip, strict=True):
        alone = augment.apply(tf.constant(expected[None]), of_frame, compiled=compiled)
        np.testing.assert_array_equal(frame, alone[0])


def test_values_of_the_presets():
    presets = {name: dataclasses.asdict(preset) for name, preset in augment.PRESETS.items()}
    released = presets.pop("released")
    assert released == {
        "random_crop": True,
        "crop_area": (0.3, 1.0),
        "crop_aspect": (0.5, 2.0),
        "flip_probability": 0.5,
        "jitter_probability": 0.8,
        "brightness": 0.8,
        "contrast": 0.8,
        "saturation": 0.8,
        "hue": 0.2,
        "color_strength": 1.0,
        "grayscale_probability": 0.2,
        "blur_probability": (1.0, 0.1),
        "blur_sigma": (0.1, 2.0),
        "solarize_probability": (0.0, 0.2),
        "consistent": True,
    }
    colors = {"blur_probability": (0.0, 0.0), "solarize_probability": (0.0, 0.0)}
    others = {"flip_probability": 0.0, "jitter_probability": 0.0, "grayscale_probability": 0.0}
    assert {name: dict(preset.items() - released.items()) for name, preset in presets.items()} == {
        "paper": colors,
        "none": {"random_crop": False, **others, **colors},
        "inconsistent": {"consistent": False},
        "strong": {"crop_area": (0.2, 0.766)},
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip_probability": 1.5}, "flip_probability=1.5: expected numbers from 0 to 1."),
        ({"crop_area": (0.0, 1.0)}, "crop_area=0.0,1.0: expected numbers from 0.01 to 1."),
        ({"blur_probability": (1.0, 2)}, "blur_probability=1.0,2: expected numbers from 0 to 1."),
        ({"contrast": -1.0}, "contrast=-1.0: expected numbers of at least 0."),
        ({"brightness": np.nan}, "brightness=nan: expected numbers of at least 0."),
        (
            {"crop_aspect": (2.0, 0.5)},
            "crop_aspect=2.0,0.5: expected a range, the smaller number first; swap the two.",
        ),
    ],
)
def test_values_that_an_augmentation_cannot_have_are_named(values, message):
    with pytest.raises(InputError) as caught:
        augment.Augmentation(**values)
    assert str(caught.value) == message


def test_probabilities_of_the_views_need_no_order():
    augmentation = augment.Augmentation(blur_probability=(0.0, 1.0))
    assert not augment.draw(augmentation, 0, tf.constant([1, 2])).sigma
    assert augment.draw(augmentation, 1, tf.constant([1, 2])).sigma > 0
    assert augment.draw(augmentation, 3, tf.constant([1, 2])).sigma > 0


def test_crops_follow_their_ranges():
    geometry = augment.Geometry(crop_area=(0.02, 0.06), crop_aspect=(1.0, 1.5))
    top, left, tall, wide = _windows(300, 200, 300, geometry).T
    share, aspect = tall * wide / (200 * 300), wide / tall
    assert 0.019 < share.min() < 0.025 and 0.055 < share.max() < 0.061
    assert 0.97 < aspect.min() < 1.05 and 1.45 < aspect.max() < 1.53
    assert (top + tall).max() > 150 and left.min() < 30


def test_without_a_random_crop_the_window_is_the_square_in_the_centre():
    none = augment.PRESETS["none"]
    assert _windows(3, 40, 48, none).tolist() == [[0, 4, 40, 40]] * 3
    assert _windows(1, 51, 30, none).tolist() == [[10, 0, 30, 30]]
    assert not any(bool(augment.random_flip(none, tf.constant([n, 0]))) for n in range(50))


def test_without_augmentation_only_the_numbers_change(clip):
    for view in range(2):
        parameters = augment.draw(augment.PRESETS["none"], view, tf.constant([1, view]))
        np.testing.assert_allclose(
            augment.apply(tf.constant(clip), parameters), clip / 255, atol=1e-7
        )


def test_a_color_strength_scales_the_jitter():
    half = augment.Augmentation(color_strength=0.5, contrast=0.4, hue=0.1)
    assert np.array(half.jitter_ranges) == pytest.approx(
        np.array([(0.6, 1.4), (0.8, 1.2), (0.6, 1.4), (-0.05, 0.05)])
    )
    # Factors are never negative, and half a turn in either direction is every hue.
    strong = augment.Augmentation(color_strength=4.0)
    assert np.array(strong.jitter_ranges) == pytest.approx(
        np.array([(0.0, 4.2), (0.0, 4.2), (0.0, 4.2), (-0.5, 0.5)])
    )
    drawn = _draw(half, 0, 500).factors
    assert drawn[:, 1].min() >= 0.8 and drawn[:, 1].max() <= 1.2
    assert stats.kstest(drawn[:, 3], stats.uniform(-0.05, 0.1).cdf).pvalue > 1e-3


def test_first_view_is_always_blurred_and_never_solarized():
    first, second = (_draw(RELEASED, view, 1000) for view in range(2))
    assert (first.sigma > 0).all() and not first.solarize.any()
    assert stats.binomtest(int((second.sigma > 0).sum()), 1000, 0.1).pvalue > 1e-3
    assert stats.binomtest(int(second.solarize.sum()), 1000, 0.2).pvalue > 1e-3


def test_the_variant_of_the_paper_neither_blurs_nor_solarizes():
    for view in range(2):
        parameters = _draw(augment.PRESETS["paper"], view, 300)
        assert not parameters.sigma.any() and not parameters.solarize.any()
        assert stats.binomtest(int(parameters.jitter.sum()), 300, 0.8).pvalue > 1e-3


def test_probabilities_are_those_of_the_paper():
    parameters = _draw(RELEASED, 0, 1000, seed=5)
    flips = [bool(augment.random_flip(RELEASED, tf.constant([index, 5]))) for index in range(1000)]
    for happened, probability in [
        (parameters.jitter, 0.8),
        (parameters.grayscale, 0.2),
        (np.array(flips), 0.5),
    ]:
        assert stats.binomtest(int(happened.sum()), 1000, probability).pvalue > 1e-3


def test_factors_and_orders_are_those_of_the_paper():
    parameters = _draw(RELEASED, 0, 2000, seed=2)
    ranges = [(0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2)]
    for draws, (low, high) in zip(parameters.factors.T, ranges, strict=True):
        assert stats.kstest(draws, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert stats.kstest(parameters.sigma, stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3
    _, counts = np.unique(parameters.order, axis=0, return_counts=True)
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3
    drawn = np.column_stack([parameters.factors, parameters.sigma, parameters.jitter])
    correlation = np.corrcoef(drawn.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.1


def test_draws_of_different_purposes_have_different_seeds():
    seed = tf.constant([3, 3])
    seeds = {tuple(sampling.fold(seed, purpose).numpy()) for purpose in sampling.Purpose}
    assert len(seeds) == len(sampling.Purpose)


@pytest.mark.parametrize("view", [0, 1])
def test_colours_without_xla_are_those_with_it(clip, view):
    for index in range(6):
        augmentation = EVERYTHING if index % 2 else RELEASED
        parameters = augment.draw(augmentation, view, tf.constant([index, 1]))
        plain = augment.apply(tf.constant(clip), parameters, compiled=False)
        np.testing.assert_allclose(plain, augment.apply(clip, parameters), atol=2e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_xla_is_in_the_graph_only_if_it_is_wanted(clip, compiled):
    parameters = augment.draw(RELEASED, 0, tf.constant([0, 1]))
    function = augment.apply.get_concrete_function(tf.constant(clip), parameters, compiled=compiled)
    library = function.graph.as_graph_def().library.function
    assert any(one.attr["_XlaMustCompile"].b for one in library) == compiled
