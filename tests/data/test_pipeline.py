import itertools

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data import augment, pipeline, records
from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.data.source import Source, find_source
from cvrl_tf.errors import InputError

CLIP = ClipSpec(frames=4, stride=2, size=32)
EPOCH_SEED = tf.constant([5, 6], tf.int32)


def _batches(pattern, count, batch_size=4, seed=1, first_video=0, shuffle_buffer=5):
    source = find_source(pattern, "train_data")
    dataset = pipeline.pretraining_batches(
        source, 12, CLIP, batch_size, shuffle_buffer, seed, first_video
    )
    return [batch.numpy() for batch in dataset.take(count)]


def _epoch_frames(pattern, epoch_seed, shuffle_buffer=5):
    source = find_source(pattern, "train_data")
    dataset = pipeline.read_epoch(source, CLIP, shuffle_buffer, epoch_seed)
    return [sample["frames"].numpy() for sample in dataset]


def test_clip_span():
    assert CLIP.span == 7
    assert ClipSpec(16, 2, 224).span == 31


def test_sampled_clips_are_frames_of_the_video_at_the_stride():
    video = make_video(0, num_frames=20)
    record = records.parse(tf.constant(records.serialize(video)))
    sample = pipeline.sample_clips(record, CLIP, EPOCH_SEED)
    for view in sample["frames"].numpy():
        positions = [list(video.frames).index(frame) for frame in view]
        assert np.diff(positions).tolist() == [2, 2, 2]


def test_sampling_goes_round_in_a_short_video():
    video = make_video(0, num_frames=3)
    record = records.parse(tf.constant(records.serialize(video)))
    sample = pipeline.sample_clips(record, CLIP, EPOCH_SEED)
    for view in sample["frames"].numpy():
        positions = [list(video.frames).index(frame) for frame in view]
        assert (np.diff(positions) % 3).tolist() == [2, 2, 2]


def test_seeds_differ_between_records_without_ids():
    seeds = set()
    for index in range(5):
        record = records.parse(tf.constant(records.serialize(make_video(index))))
        record["id"] = tf.constant("")
        sample = pipeline.sample_clips(record, CLIP, EPOCH_SEED)
        seeds.add(tuple(sample["seed"].numpy()))
    assert len(seeds) == 5


def test_decoding_a_window_equals_decoding_all_and_cutting():
    frames = tf.constant(list(make_video(0, num_frames=2).frames))
    window = tf.constant([8, 16, 20, 24])
    whole = tf.stack([tf.io.decode_jpeg(frame) for frame in frames])
    decoded = pipeline.decode_and_crop(frames, window)
    # At the border of a window its halved chroma has no neighbours to be smoothed with.
    np.testing.assert_array_equal(decoded[:, 2:-2, 2:-2], whole[:, 10:26, 18:38])


def test_views_are_clips_in_range():
    record = records.parse(tf.constant(records.serialize(make_video(0))))
    views = pipeline.make_views(pipeline.sample_clips(record, CLIP, EPOCH_SEED), CLIP).numpy()
    assert views.shape == (2, 4, 32, 32, 3)
    assert views.dtype == np.float32
    assert 0.0 <= views.min() < views.max() <= 1.0
    assert np.abs(views[0] - views[1]).mean() > 0.01


def test_the_two_views_draw_independently(monkeypatch):
    # One view setting, one frame: equal draws would give equal views, and an easy, empty task.
    monkeypatch.setattr(augment, "VIEWS", (augment.VIEWS[1],) * 2)
    record = records.parse(tf.constant(records.serialize(make_video(0, num_frames=1))))
    for epoch in range(8):
        sample = pipeline.sample_clips(record, CLIP, tf.constant([epoch, 0]))
        views = pipeline.make_views(sample, CLIP).numpy()
        assert np.abs(views[0] - views[1]).mean() > 0.02


def test_every_video_comes_once_an_epoch_in_a_new_order(shards):
    expected = {frame for index in range(12) for frame in make_video(index, label=index % 2).frames}
    epochs = [_epoch_frames(shards, tf.constant([epoch, 0])) for epoch in range(2)]
    for epoch in epochs:
        assert len(epoch) == 12
        assert {frame for frames in epoch for frame in frames.ravel()} <= expected
    identities = [[_video_of(frames) for frames in epoch] for epoch in epochs]
    assert sorted(identities[0]) == sorted(identities[1]) == list(range(12))
    assert identities[0] != identities[1]


def _video_of(frames, _index={}):  # noqa: B006 - a cache
    if not _index:
        for index in range(12):
            for frame in make_video(index, label=index % 2).frames:
                _index[frame] = index
    return _index[frames.ravel()[0]]


def test_the_same_seed_gives_the_same_batches(shards):
    first, again, other = _batches(shards, 4), _batches(shards, 4), _batches(shards, 4, seed=2)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.abs(first[0] - other[0]).mean() > 0.01


def test_a_stream_goes_on_where_another_stopped(shards):
    # 12 videos: the third batch of five straddles the epochs.
    whole = _batches(shards, 6, batch_size=5)
    rest = _batches(shards, 3, batch_size=5, first_video=15)
    for one, two in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(one, two)


def test_augmentation_changes_from_epoch_to_epoch(shards):
    first, second = _batches(shards, 2, batch_size=12)
    distances = [
        np.abs(one - two).mean() for one, two in itertools.product(first[:, 0], second[:, 0])
    ]
    assert min(distances) > 1e-3


def test_global_seed_does_not_matter_and_is_not_touched(shards):
    tf.random.set_seed(1)
    first = _batches(shards, 1, batch_size=12, shuffle_buffer=1)
    tf.random.set_seed(2)
    again = _batches(shards, 1, batch_size=12, shuffle_buffer=1)
    np.testing.assert_array_equal(first[0], again[0])


def test_check_shards_counts(shards):
    assert pipeline.check_shards(find_source(shards, "train_data"), CLIP) == 12


def test_check_shards_refuses_small_frames(shards):
    with pytest.raises(InputError, match=r"frames of 48x40 pixels, smaller than --crop_size=64"):
        pipeline.check_shards(find_source(shards, "train_data"), ClipSpec(4, 2, 64))


def test_check_shards_refuses_clips_longer_than_the_videos(shards):
    with pytest.raises(InputError, match=r"longest has 20 frames.*--num_frames=16 at --stride=2"):
        pipeline.check_shards(find_source(shards, "train_data"), ClipSpec(16, 2, 32))


def test_check_shards_says_when_some_videos_are_short(tmp_path, capsys):
    paths = [
        write_shard(tmp_path / "a", [make_video(0, num_frames=20)]),
        write_shard(tmp_path / "b", [make_video(1, num_frames=5)]),
    ]
    assert pipeline.check_shards(Source("short", paths), CLIP) == 2
    assert capsys.readouterr().err == (
        "note: the first videos of 1 of 2 shards are shorter than a clip (5 of 7 frames): their"
        " frames are taken cyclically.\n"
    )


def test_an_empty_record_is_named_in_the_graph(tmp_path):
    example = tf.train.SequenceExample()
    example.feature_lists.feature_list["image/encoded"].feature.extend([])
    path = tmp_path / "shard"
    write_shard(path, [make_video(0)])
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(records.serialize(make_video(0)))
        writer.write(example.SerializeToString())
    dataset = pipeline.read_epoch(Source("bad", [str(path)]), CLIP, 1, EPOCH_SEED)
    with pytest.raises(tf.errors.InvalidArgumentError, match="A record has no frames"):
        list(dataset)
