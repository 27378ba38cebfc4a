import numpy as np
import pytest
import tensorflow as tf
from augmentations import EVERYTHING, RELEASED
from small_records import make_video

from cvrl_tf.data import augment, pipeline, records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.pipeline import ViewsSpec
from tools.benchmark import reference


@pytest.mark.parametrize("index", range(12))
def test_closed_forms_equal_tf_image_on_random_draws(index):
    clip = np.random.default_rng(index).integers(0, 256, (3, 48, 56, 3)).astype("uint8")
    augmentation = EVERYTHING if index % 3 == 2 else RELEASED
    for view in range(2):
        parameters = augment.draw(augmentation, view, tf.constant([index, 7]))
        expected = tf.function(reference.apply)(tf.constant(clip), parameters)
        result = augment.apply(tf.constant(clip), parameters)
        # Where a value lies at a half, rounding decides whether it is solarised.
        difference = np.abs(result - expected)
        assert np.quantile(difference, 0.9999) < 1e-5


def test_views_are_the_same_but_for_the_border_of_the_window():
    record = records.parse(tf.constant(records.serialize(make_video(0, height=80, width=96))))
    pair = ViewsSpec(ClipSpec(4, 2, 32))
    sample = pipeline.sample_clips(record, pair, tf.constant([1, 1]))
    views = [augment.apply(*view) for view in pipeline.crop_views(sample, pair)]
    for ours, plain in zip(views, reference.make_views(sample, pair), strict=True):
        assert ours.shape == plain.shape
        # Chroma at the border of a window has no neighbours to be smoothed with.
        assert np.median(np.abs(ours - plain)) < 1e-5
        assert np.abs(ours - plain).mean() < 0.01
