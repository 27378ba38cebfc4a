import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.data.source import Source, find_source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import features
from cvrl_tf.evaluation.views import sample_views
from cvrl_tf.models import build_backbone

CLIP = ClipSpec(frames=4, stride=2, size=32)


def test_features_are_normalised_means_in_the_order_of_the_shards(shards):
    backbone = build_backbone("r3d_small")
    source = find_source(shards, "train_data")
    result = features.extract_features(backbone, source, CLIP, num_clips=2, batch_size=5)
    assert result.ids == [f"video_{index}" for index in range(12)]
    assert result.labels.tolist() == [index % 2 for index in range(6)] * 2
    assert result.values.shape == (12, 512)
    np.testing.assert_allclose(np.linalg.norm(result.values, axis=1), 1.0, atol=1e-5)
    frames = tf.constant(list(make_video(7, label=1).frames))
    clips = backbone(sample_views(frames, CLIP, 2), training=False).numpy()
    clips /= np.linalg.norm(clips, axis=1, keepdims=True)
    expected = clips.mean(axis=0)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(result.values[7], expected, atol=1e-5)


def test_unlabelled_records_are_named(tmp_path):
    path = write_shard(tmp_path / "s", [make_video(0, label=0), make_video(1, label=None)])
    with pytest.raises(InputError, match=r"1 of 2 records of .*have no label.*'video_1'"):
        features.extract_features(
            build_backbone("r3d_small"), Source("unlabelled", [path]), CLIP, 1
        )
