import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video

from cvrl_tf.data import clips, sampling
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.evaluation import views
from cvrl_tf.evaluation.views import EvaluationViews

CLIP = ClipSpec(frames=4, stride=2, size=32)


def test_views_are_the_centre_of_evenly_spaced_frames():
    video = make_video(0, num_frames=20, height=32, width=48)
    result = views.sample_views(tf.constant(list(video.frames)), EvaluationViews(CLIP, 3)).numpy()
    assert result.shape == (3, 4, 32, 32, 3)
    # Starts 0, 6 and 12 = 20 - 4 * 2; at 32 pixels nothing is resized: columns 8 to 39.
    for clip, start in enumerate([0, 6, 12]):
        for frame in range(4):
            pixels = tf.io.decode_jpeg(video.frames[start + 2 * frame]).numpy()
            np.testing.assert_allclose(result[clip, frame], pixels[:, 8:40] / 255.0, atol=1e-6)


def test_short_side_is_resized_first():
    video = make_video(0, num_frames=10, height=40, width=80)
    result = views.sample_views(tf.constant(list(video.frames)), EvaluationViews(CLIP, 1)).numpy()
    pixels = tf.io.decode_jpeg(video.frames[1])
    expected = np.floor(tf.image.resize(pixels, [32, 64])[:, 16:48]) / 255.0
    np.testing.assert_allclose(result[0, 0], expected, atol=1e-6)


def _offsets(height, width, num_crops):
    tops, lefts = views.crop_offsets(tf.constant(height), tf.constant(width), 32, num_crops)
    return tops.numpy().tolist(), lefts.numpy().tolist()


def test_crops_lie_along_the_longer_side():
    assert _offsets(32, 42, 3) == ([0, 0, 0], [0, 5, 10])
    assert _offsets(42, 32, 3) == ([0, 5, 10], [0, 0, 0])
    assert _offsets(32, 32, 3) == ([0, 0, 0], [0, 0, 0])
    assert _offsets(40, 43, 1) == ([4], [5])
    with pytest.raises(ValueError, match="num_crops=2, expected 1 or 3"):
        _offsets(32, 32, 2)


def test_resize_and_crops_are_those_of_the_authors(golden):
    values = golden("test_views")
    resized = clips.resize(values["frames"], 32, 42)
    np.testing.assert_array_equal(resized, values["resized32"])
    tops, lefts = _offsets(32, 42, 3)
    crops = [
        values["resized32"][:, top : top + 32, left : left + 32]
        for top, left in zip(tops, lefts, strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(crops), values["three_crops32"])


def test_views_of_several_clips_and_crops_are_in_the_order_of_the_clips():
    video = make_video(0, num_frames=20, height=32, width=48)
    chosen = EvaluationViews(CLIP, 2, num_crops=3)
    result = views.sample_views(tf.constant(list(video.frames)), chosen).numpy()
    assert result.shape == (6, 4, 32, 32, 3)
    for clip, start in enumerate([0, 12]):
        for crop, left in enumerate([0, 8, 16]):
            pixels = tf.io.decode_jpeg(video.frames[start + 6]).numpy()
            np.testing.assert_allclose(
                result[3 * clip + crop, 3], pixels[:, left : left + 32] / 255.0, atol=1e-6
            )


@pytest.mark.parametrize("num_clips", [1, 2, 7])
@pytest.mark.parametrize("stride", [1, 3])
def test_the_frames_that_views_need_are_those_they_take(num_clips, stride):
    chosen = EvaluationViews(ClipSpec(4, stride, 32), num_clips)
    for num_frames in (1, 2, 5, 12, 13, 14, 100, 1001):
        starts = sampling.even_starts(tf.constant(num_frames), num_clips, 4, stride)
        taken = {
            int(number)
            for start in starts
            for number in sampling.clip_indices(start, tf.constant(num_frames), 4, stride)
        }
        assert chosen.frame_numbers(num_frames) == taken
    assert chosen.frame_numbers(0) == set()


def test_frames_that_no_view_takes_may_be_empty():
    chosen = EvaluationViews(CLIP, 2, num_crops=3)
    frames = list(make_video(0, num_frames=40).frames)
    needed = chosen.frame_numbers(40)
    sparse = [frame if number in needed else b"" for number, frame in enumerate(frames)]
    assert sparse.count(b"") == 40 - 8
    np.testing.assert_array_equal(
        views.sample_view_pixels(tf.constant(sparse), chosen),
        views.sample_view_pixels(tf.constant(frames), chosen),
    )
