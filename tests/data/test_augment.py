import colorsys

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.data import augment

SEED = tf.constant([1, 2], tf.int32)


@pytest.fixture
def clip():
    return np.random.default_rng(0).uniform(0, 1, (3, 32, 40, 3)).astype("float32")


def _jitter(clip, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, order=(0, 1, 2, 3)):
    return augment.color_jitter(clip, brightness, contrast, saturation, hue, tf.constant(order))


def test_crop_windows_have_the_area_and_aspect_of_the_paper():
    seeds = tf.stack([tf.range(500), tf.zeros(500, tf.int32)], axis=1)
    windows = tf.map_fn(
        lambda seed: augment.random_crop_window(256, 340, seed), seeds, fn_output_signature=tf.int32
    ).numpy()
    top, left, height, width = windows.T
    assert (top >= 0).all() and (top + height <= 256).all()
    assert (left >= 0).all() and (left + width <= 340).all()
    area, aspect = height * width / (256 * 340), width / height
    assert 0.29 < area.min() < 0.35 and 0.9 < area.max() <= 1.0
    assert 0.49 < aspect.min() < 0.6 and 1.6 < aspect.max() < 2.02


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


@pytest.mark.parametrize("view", augment.VIEWS)
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
        augment.augment(tf.constant(clip[:1]), augment.VIEWS[0], tf.constant([index, 0]))
    assert calls == {"blur": 200, "solarize": 0}
    calls["blur"] = 0
    for index in range(200):
        augment.augment(tf.constant(clip[:1]), augment.VIEWS[1], tf.constant([index, 0]))
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
