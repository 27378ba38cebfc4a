"""Two devices compute what one computes, in the order of the videos, also after a stop."""

import numpy as np
import pytest
import tensorflow as tf
from small_records import damage, make_video, write_shard
from tiny_backbone import tiny_backbone

from cvrl_tf import extract_features, knn_eval
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.source import Source
from cvrl_tf.evaluation import features, inference
from cvrl_tf.evaluation.features import FrozenFeatures
from cvrl_tf.evaluation.inference import Computation, OmittedRecords, map_records
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import NetworkConfig
from cvrl_tf.training.origin import Origin

CLIP = ClipSpec(frames=4, stride=2, size=32)
PAPER = EvaluationViews(CLIP, num_clips=10, num_crops=3)


@pytest.fixture
def two_backbones(two_replicas):
    """Equal networks: on one device, and on two."""
    one = tiny_backbone()
    with two_replicas.scope():
        two = tiny_backbone(seed=1)
    two.set_weights(one.get_weights())
    return one, two


@pytest.mark.parametrize("batch_views", [7, 64])
def test_thirty_views_are_split_over_two_devices(shards, two_backbones, monkeypatch, batch_views):
    """Batches of 14 or 128 views cross videos, and the last one is smaller."""
    monkeypatch.setattr(inference, "BATCH_VIEWS", batch_views)
    source = find_source(shards, "train_data").indexed().select(np.arange(11, 0, -1))
    devices = []
    found = []
    for backbone in two_backbones:
        inner = FrozenFeatures(backbone)

        def function(clips, inner=inner):
            devices.append(tf.zeros([]).device[-5:])
            return inner(clips)

        computation = Computation(function, (backbone,))
        found.append(list(map_records(computation, source, PAPER, "testing")))
    one, two = found
    assert devices == ["", "CPU:0", "CPU:1"]
    assert [video.id for video in two] == [f"video_{number}" for number in range(11, 0, -1)]
    for expected, video in zip(one, two, strict=True):
        assert video[1:] == expected[1:] and video.values.shape == (30, 16)
        np.testing.assert_allclose(video.values, expected.values, atol=1e-5)
    assert np.abs(two[0].values - two[1].values).max() > 1e-3


def test_one_view_and_bad_records_on_two_devices(tmp_path, two_backbones, capsys):
    """Bad records are omitted as on one device; a single clip leaves nothing to the second."""
    videos = [make_video(number, label=0) for number in range(4)]
    path = write_shard(tmp_path / "train-0", videos)
    damage(path, 1, 3)
    source = Source("some data", [path]).indexed()
    views = EvaluationViews(CLIP, 1)
    one, two = (
        list(
            map_records(
                FrozenFeatures(backbone).computation,
                videos,
                views,
                "features",
                omitted=OmittedRecords(videos, "the test"),
            )
        )
        for backbone in two_backbones
        for videos in (source,)
    )
    assert [(video.number, video.id) for video in two] == [(0, "video_0"), (2, "video_2")]
    np.testing.assert_allclose([v.values for v in two], [v.values for v in one], atol=1e-5)
    assert capsys.readouterr().err.count("note: the test omits") == 4
    single = map_records(
        FrozenFeatures(two_backbones[1]).computation, source.select(np.array([2])), views, "one"
    )
    np.testing.assert_allclose([v.values for v in single], [one[1].values], atol=1e-5)


def test_a_cache_of_one_device_is_resumed_on_two(shards, two_backbones, tmp_path, monkeypatch):
    """The features do not depend on the devices, so their number is not part of the identity."""
    source = find_source(shards, "train_data").indexed()
    views = EvaluationViews(CLIP, 2)
    one, two = two_backbones
    whole = features.cached_features(one, source, views, str(tmp_path / "whole"))
    resumed = str(tmp_path / "resumed")

    def stopped(*arguments, **options):
        for video in map_records(*arguments, **options):
            if video.number == 5:
                raise KeyboardInterrupt
            yield video

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features, "map_records", stopped)
        features.cached_features(one, source, views, resumed)
    found = features.cached_features(two, source, views, resumed)
    assert found.ids == whole.ids and found.labels.tolist() == whole.labels.tolist()
    np.testing.assert_array_equal(found.values[:5], whole.values[:5])
    np.testing.assert_allclose(found.values, whole.values, atol=1e-3)  # float16


def test_commands_compute_on_all_devices(shards, tmp_path, two_replicas, one_replica, monkeypatch):
    """Features and neighbours, by the commands, on two devices as on one."""
    clips = ["--backbone=r3d_small", "--num_frames=4", "--crop_size=32", "--num_clips=3"]
    data = [f"--train_data={shards}", f"--test_data={shards}", "--allow_overlap"]
    origin = Origin(NetworkConfig(), "", 0, kind="random")
    for flags in (extract_features.backbone_flags, knn_eval.backbone_flags):
        monkeypatch.setattr(flags, "load", lambda *unused, **options: (tiny_backbone(), origin))
    stored, shares = [], []
    for strategy in (one_replica, two_replicas):
        name = type(strategy).__name__
        for command in (extract_features, knn_eval):
            monkeypatch.setattr(command, "local_strategy", lambda strategy=strategy: strategy)
        output = tmp_path / f"{name}.npz"
        extract_features.COMMAND.call(*clips, f"--data={shards}", f"--output={output}")
        stored.append(np.load(output))
        directory = tmp_path / name
        knn = ["--num_neighbors=5", f"--output_dir={directory}"]
        knn_eval.COMMAND.call(*clips, *data, *knn)
        shares.append((directory / "predictions.csv").read_text())
    one, two = stored
    assert two["ids"].tolist() == one["ids"].tolist() and two["features"].shape[:2] == (12, 3)
    np.testing.assert_allclose(two["features"], one["features"], atol=1e-5)
    assert [line.split(",")[:3] for line in shares[0].splitlines()] == [
        line.split(",")[:3] for line in shares[1].splitlines()
    ]
