import numpy as np

from cvrl_tf.models.color_histogram import build_color_histogram


def test_the_share_of_each_colour_is_counted():
    frame = np.zeros((2, 2, 3), "uint8")
    frame[0, 1] = 31, 32, 63  # 0, 1, 1
    frame[1, 0] = 255, 255, 224  # 7, 7, 7
    frame[1, 1] = 255, 0, 95  # 7, 0, 2
    clips = np.stack([np.stack([frame, frame]), np.full((2, 2, 2, 3), 255, "uint8")])
    features = build_color_histogram()(clips.astype("float32") / 255).numpy()
    assert features.shape == (2, 512) and features.dtype == "float32"
    assert dict(zip(np.flatnonzero(features[0]), features[0][features[0] > 0], strict=True)) == {
        0: 0.25,
        8 + 1: 0.25,
        7 * 64 + 2: 0.25,
        511: 0.25,
    }
    assert features[1, 511] == 1.0 and features[1].sum() == 1.0


def test_clips_of_any_size_are_counted():
    histogram = build_color_histogram()
    clips = np.random.default_rng(0).uniform(0, 1, (3, 5, 24, 32, 3)).astype("float32")
    counts = np.array([np.histogramdd(clip.reshape(-1, 3), 8, [(0, 1)] * 3)[0] for clip in clips])
    expected = counts.reshape(3, 512) / (5 * 24 * 32)
    np.testing.assert_allclose(histogram(clips), expected, atol=1e-6)
    assert histogram.output_shape == (None, 512) and histogram.count_params() == 0
