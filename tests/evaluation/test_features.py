import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard
from tiny_backbone import tiny_backbone

from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import features, report
from cvrl_tf.evaluation.views import EvaluationViews, sample_views

CLIP = ClipSpec(frames=4, stride=2, size=32)


def test_features_are_normalised_means_in_the_order_of_the_shards(shards):
    backbone = tiny_backbone()
    source = find_source(shards, "train_data").indexed()
    result = features.extract_features(backbone, source, EvaluationViews(CLIP, 2))
    assert result.ids == [f"video_{index}" for index in range(12)]
    assert result.labels.tolist() == [index % 2 for index in range(6)] * 2
    assert result.values.shape == (12, 16)
    np.testing.assert_allclose(np.linalg.norm(result.values, axis=1), 1.0, atol=1e-5)
    frames = tf.constant(list(make_video(7, label=1).frames))
    clips = backbone(sample_views(frames, EvaluationViews(CLIP, 2)), training=False).numpy()
    clips /= np.linalg.norm(clips, axis=1, keepdims=True)
    expected = clips.mean(axis=0)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(result.values[7], expected, atol=1e-5)


def test_a_network_that_is_evaluated_again_is_not_traced_again(shards):
    """As during training, where its weights have changed."""
    backbone, source = tiny_backbone(), find_source(shards, "train_data").indexed()
    call, traces = type(backbone).call, []

    class Counting(type(backbone)):
        def call(self, *args, **options):
            traces.append(1)
            return call(self, *args, **options)

    backbone.__class__ = Counting
    first, again = (
        features.extract_features(backbone, source, EvaluationViews(CLIP, num_clips))
        for num_clips in (1, 2)
    )
    assert len(traces) == 1
    backbone.layers[0].kernel.assign(backbone.layers[0].kernel * -1.0)
    changed = features.extract_features(backbone, source, EvaluationViews(CLIP, 2))
    assert len(traces) == 1 and np.abs(changed.values - again.values).max() > 0.01


def test_a_record_without_a_label_is_named(tmp_path):
    path = write_shard(tmp_path / "s", [make_video(0, label=0), make_video(1, label=None)])
    source = Source("some data", [path]).indexed()
    with pytest.raises(InputError, match="record 'video_1' of some data has no label: evaluation"):
        features.extract_features(tiny_backbone(), source, EvaluationViews(CLIP, 1))


def test_a_cache_is_of_one_checkpoint_and_one_data_set(shards, tmp_path, monkeypatch):
    backbone = tiny_backbone()
    source = find_source(shards, "train_data").indexed()
    arguments = source, EvaluationViews(CLIP, 2, 3), str(tmp_path)
    stored = features.cached_features(backbone, *arguments)
    assert stored.values.shape == (12, 6, 16) and stored.values.dtype == np.float16
    assert stored.ids == [f"video_{index}" for index in range(12)]
    pooled = features.extract_features(backbone, *arguments[:-1])
    mean = stored.values.astype(np.float32).mean(axis=1)
    np.testing.assert_allclose(
        mean / np.linalg.norm(mean, axis=1, keepdims=True), pooled.values, atol=1e-3
    )
    # Read again without reading the videos.
    with monkeypatch.context() as patch:
        patch.setattr(features, "map_records", None)
        again = features.cached_features(backbone, *arguments)
        np.testing.assert_array_equal(again.values, stored.values)
    # Another label in records of the same length, other weights, other views: never confused.
    videos = [make_video(index, label=index % 2) for index in range(12)]
    videos[7] = dataclasses.replace(videos[7], label=0)
    relabelled = Source("x", [write_shard(tmp_path / "shard", videos)])
    other_data = relabelled.indexed(), *arguments[1:]
    assert features.cached_features(backbone, *other_data).labels[7] == 0
    other = features.cached_features(tiny_backbone(seed=1), *arguments)
    assert np.abs(other.values - stored.values).max() > 0.01
    other_views = source, EvaluationViews(CLIP, 1), str(tmp_path)
    assert features.cached_features(backbone, *other_views).values.shape[1] == 1
    # The same weights in another precision.
    coarse = tiny_backbone(dtype="mixed_bfloat16")
    assert report.fingerprint_weights(coarse) == report.fingerprint_weights(backbone)
    rounded = features.cached_features(coarse, *arguments)
    assert 1e-4 < np.abs(rounded.values - stored.values).max() < 0.05
    some = source.select(np.array([3, 8])), *arguments[1:]
    assert features.cached_features(backbone, *some).ids == ["video_3", "video_8"]
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 6


def test_a_cache_goes_on_where_it_was_stopped(shards, tmp_path, monkeypatch):
    backbone = tiny_backbone()
    source = find_source(shards, "train_data").indexed()
    arguments = source, EvaluationViews(CLIP, 2)
    whole = features.cached_features(backbone, *arguments, str(tmp_path / "whole"))
    map_records = features.map_records

    def stopped(*arguments, **options):
        for count, video in enumerate(map_records(*arguments, **options)):
            if count == 5:
                raise KeyboardInterrupt
            yield video

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features, "map_records", stopped)
        features.cached_features(backbone, *arguments, str(tmp_path / "half"))
    seen = []

    def counted(*arguments, **options):
        for video in map_records(*arguments, **options):
            seen.append(video[2])
            yield video

    monkeypatch.setattr(features, "map_records", counted)
    half = features.cached_features(backbone, *arguments, str(tmp_path / "half"))
    assert seen == [f"video_{index}" for index in range(5, 12)]
    assert half.ids == whole.ids and half.labels.tolist() == whole.labels.tolist()
    np.testing.assert_allclose(half.values, whole.values, atol=1e-3)
