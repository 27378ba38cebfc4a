import colorsys

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from cvrl_tf.data import augment

SEED = tf.constant([1, 2], tf.int32)


@pytest.fixture
def clip():
    return np.random.default_rng(0).uniform(0, 1, (3, 32, 40, 3)).astype("float32")


def _jitter(clip, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, order=(0, 1, 2, 3)):
    return augment.color_jitter(clip, brightness, contrast, saturation, hue, tf.constant(order))


def _windows(count, height, width):
    seeds = tf.stack([tf.range(count), tf.zeros(count, tf.int32)], axis=1)
    return tf.map_fn(
        lambda seed: augment.random_crop_window(height, width, seed),
        seeds,
        fn_output_signature=tf.int32,
    ).numpy()


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
        # As TensorFlow does, the last place is left out.
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
    # frame so long that no aspect ratio up to 2 reaches that area, the whole frame is taken.
    assert _windows(50, 32, 1000).tolist() == [[0, 0, 32, 1000]] * 50
    for height, width in [(17, 23), (240, 320), (1080, 1920), (1, 1)]:
        for top, left, tall, wide in _windows(50, height, width):
            assert tall * wide >= 0.1 * height * width
            assert top + tall <= height and left + wide <= width


def test_brightness_scales_and_clips(clip):
    np.testing.assert_allclose(_jitter(clip, brightness=1.3), np.clip(clip * 1.3, 0, 1), atol=1e-6)


def test_contrast_uses_the_mean_of_the_whole_clip(clip):
    mean = clip.mean(axis=(0, 1, 2))
    expected = np.clip((clip - mean) * 0.6 + mean, 0, 1)
    np.testing.assert_allclose(_jitter(clip, contrast=0.6), expected, atol=1e-5)


def test_saturation_and_hue_follow_hsv(clip):
    pixel = clip[1, 2, 3]
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    result = _jitter(clip, saturation=1.7).numpy()[1, 2, 3]
    expected = colorsys.hsv_to_rgb(hue, min(saturation * 1.7, 1), value)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    result = _jitter(clip, hue=0.15).numpy()[1, 2, 3]
    np.testing.assert_allclose(
        result, colorsys.hsv_to_rgb((hue + 0.15) % 1, saturation, value), atol=1e-5
    )


def test_jitter_order_matters_and_is_followed(clip):
    brightness_first = _jitter(clip, brightness=1.8, contrast=0.3, order=(0, 1, 2, 3)).numpy()
    contrast_first = _jitter(clip, brightness=1.8, contrast=0.3, order=(1, 0, 2, 3)).numpy()
    bright = np.clip(clip * 1.8, 0, 1)
    mean = bright.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(brightness_first, (bright - mean) * 0.3 + mean, atol=1e-5)
    mean = clip.mean(axis=(0, 1, 2))
    expected = np.clip(((clip - mean) * 0.3 + mean) * 1.8, 0, 1)
    np.testing.assert_allclose(contrast_first, expected, atol=1e-5)


def test_grayscale_is_luma_in_all_channels(clip):
    luma = clip @ np.array([0.2989, 0.587, 0.114], "float32")
    np.testing.assert_allclose(augment.grayscale(clip), np.stack([luma] * 3, -1), atol=1e-5)


def test_solarize_inverts_from_a_half():
    values = tf.constant([0.0, 0.4999, 0.5, 1.0])
    np.testing.assert_allclose(augment.solarize(values), [0.0, 0.4999, 0.5, 0.0], atol=1e-6)


def test_blur_is_a_gaussian_within_each_frame():
    clip = np.zeros((2, 9, 9, 3), "float32")
    clip[0, 4, 4] = 1.0
    blurred = augment.gaussian_blur(clip, tf.constant(1.2), radius=2).numpy()
    taps = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.2**2))
    taps /= taps.sum()
    for channel in range(3):
        np.testing.assert_allclose(blurred[0, 2:7, 2:7, channel], np.outer(taps, taps), atol=1e-6)
    assert np.abs(blurred[0]).sum() == pytest.approx(3.0, abs=1e-5)
    assert np.abs(blurred[1]).sum() == 0.0


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
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_colours_equal_those_of_the_authors(golden, name):
    values = golden("augment")
    np.testing.assert_allclose(
        _jitter(values["clip"], **OPERATIONS[name]), values[name], rtol=0, atol=1e-5
    )


def test_grayscale_solarisation_and_blur_equal_those_of_the_authors(golden):
    values = golden("augment")
    clip = values["clip"]
    np.testing.assert_allclose(augment.grayscale(clip), values["grayscale"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(augment.solarize(clip), values["solarize"], rtol=0, atol=1e-5)
    # Their kernel argument 4 makes 2 * 2 + 1 taps.
    blurred = augment.gaussian_blur(values["blur_clip"], tf.constant(1.2), radius=2)
    np.testing.assert_allclose(blurred, values["blur_sigma1.2_kernel4"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("view", sum(augment.AUGMENTATIONS.values(), ()))
def test_identical_frames_stay_identical(clip, view):
    still = np.repeat(clip[:1], 4, axis=0)
    changed = 0
    for index in range(12):
        result = augment.augment(tf.constant(still), view, tf.constant([index, 0])).numpy()
        np.testing.assert_allclose(result, np.repeat(result[:1], 4, axis=0), atol=1e-6)
        assert result.min() >= 0.0 and result.max() <= 1.0
        changed += np.abs(result - still).max() > 0.01
    assert changed >= 10


def test_first_view_is_always_blurred_and_never_solarized(monkeypatch, clip):
    calls = {"blur": 0, "solarize": 0}
    blur, solarize = augment.random_gaussian_blur, augment.solarize

    def counting_blur(clip, seed):
        calls["blur"] += 1
        return blur(clip, seed)

    def counting_solarize(clip):
        calls["solarize"] += 1
        return solarize(clip)

    monkeypatch.setattr(augment, "random_gaussian_blur", counting_blur)
    monkeypatch.setattr(augment, "solarize", counting_solarize)
    for index in range(200):
        augment.augment(
            tf.constant(clip[:1]), augment.AUGMENTATIONS["released"][0], tf.constant([index, 0])
        )
    assert calls == {"blur": 200, "solarize": 0}
    calls["blur"] = 0
    for index in range(200):
        augment.augment(
            tf.constant(clip[:1]), augment.AUGMENTATIONS["released"][1], tf.constant([index, 0])
        )
    # Expected 20 and 40 of 200; five standard deviations.
    assert abs(calls["blur"] - 20) < 21
    assert abs(calls["solarize"] - 40) < 28


def test_flip_and_grayscale_come_as_often_as_the_paper_says(monkeypatch):
    monkeypatch.setattr(augment, "JITTER_PROBABILITY", 0.0)
    clip = np.zeros((1, 8, 8, 3), "float32")
    clip[:, :, 0] = [1.0, 0.0, 0.0]
    plain = augment.View(0.0, 0.0)
    results = np.stack(
        [augment.augment(tf.constant(clip), plain, tf.constant([i, 5])).numpy() for i in range(400)]
    )
    flipped = results[:, 0, 0, 7].max(axis=-1) > 0
    gray = np.ptp(results.reshape(400, -1, 3), axis=-1).max(axis=-1) == 0
    assert abs(flipped.mean() - 0.5) < 0.1
    assert abs(gray.mean() - 0.2) < 0.08


def test_the_variant_of_the_paper_neither_blurs_nor_solarizes():
    assert augment.AUGMENTATIONS["paper"] == (augment.View(0.0, 0.0),) * 2
    # A clip of one colour with a bright dot: blur would spread it, solarisation invert it.
    clip = np.zeros((1, 40, 40, 3), "float32")
    clip[0, 20, 20] = 0.3
    for index in range(50):
        view = augment.AUGMENTATIONS["paper"][index % 2]
        result = augment.augment(tf.constant(clip), view, tf.constant([index, 1])).numpy()
        dots = np.argwhere(np.abs(result[0] - result[0, 0, 0]).max(axis=-1) > 1e-3)
        assert len(dots) <= 1 and result[0, 0, 0].max() < 0.5


def test_the_jitter_has_the_factors_and_orders_of_the_paper(monkeypatch):
    seen = []

    def record(clip, **factors):
        seen.append({name: value.numpy() for name, value in factors.items()})
        return clip

    monkeypatch.setattr(augment, "color_jitter", record)
    for index in range(600):
        augment.random_color_jitter(tf.zeros([1, 1, 1, 3]), tf.constant([index, 2]))
    for name, bounds in [
        ("brightness", (0.2, 1.8)),
        ("contrast", (0.2, 1.8)),
        ("saturation", (0.2, 1.8)),
        ("hue", (-0.2, 0.2)),
    ]:
        draws = np.array([factors[name] for factors in seen])
        uniform = stats.uniform(bounds[0], bounds[1] - bounds[0])
        assert stats.kstest(draws, uniform.cdf).pvalue > 1e-3, name
    orders = {tuple(factors["order"]) for factors in seen}
    assert len(orders) == 24
    first, second = (
        np.array([factors[name] for factors in seen]) for name in ("brightness", "hue")
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15


def test_sigma_of_the_blur_is_uniform(monkeypatch):
    sigmas = []
    monkeypatch.setattr(
        augment, "gaussian_blur", lambda clip, sigma, radius: sigmas.append(float(sigma))
    )
    for index in range(500):
        augment.random_gaussian_blur(tf.zeros([1, 40, 40, 3]), tf.constant([index, 3]))
    assert stats.kstest(sigmas, stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3


def test_jitter_comes_as_often_as_the_paper_says(monkeypatch):
    calls = []
    monkeypatch.setattr(augment, "random_color_jitter", lambda clip, seed: calls.append(1) or clip)
    for index in range(400):
        augment.augment(tf.zeros([1, 8, 8, 3]), augment.View(0.0, 0.0), tf.constant([index, 4]))
    assert stats.binomtest(len(calls), 400, 0.8).pvalue > 1e-3
