import itertools

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video

from cvrl_tf.data import augment, clips, pipeline, records, sampling, stream
from cvrl_tf.data.augment import Augmentation
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.data.stream import Order, Share

CLIP = ClipSpec(frames=4, stride=2, size=32)
VIEWS = ViewsSpec(CLIP)
RELEASED = augment.PRESETS["released"]
EPOCH_SEED = tf.constant([5, 6], tf.int32)


def _batches(pattern, count, batch_size=4, seed=1, share=stream.WHOLE):
    videos = find_source(pattern, "train_data").indexed()
    dataset = pipeline.pretraining_batches(videos, VIEWS, batch_size, Order(seed), share)
    return list(dataset.take(count))


def _views_of(batch):
    return np.stack(batch.views, axis=1)


def test_clip_span():
    assert CLIP.span == 7
    assert ClipSpec(16, 2, 224).span == 31


def test_sampled_clips_are_frames_of_the_video_at_the_stride():
    video = make_video(0, num_frames=20)
    record = records.parse(tf.constant(records.serialize(video)))
    sample = pipeline.sample_clips(record, VIEWS, EPOCH_SEED)
    for view in sample["frames"].numpy():
        positions = [list(video.frames).index(frame) for frame in view]
        assert np.diff(positions).tolist() == [2, 2, 2]


def test_sampling_goes_round_in_a_short_video():
    video = make_video(0, num_frames=3)
    record = records.parse(tf.constant(records.serialize(video)))
    sample = pipeline.sample_clips(record, VIEWS, EPOCH_SEED)
    for view in sample["frames"].numpy():
        positions = [list(video.frames).index(frame) for frame in view]
        assert (np.diff(positions) % 3).tolist() == [2, 2, 2]


def test_seeds_differ_between_records_without_ids():
    seeds = set()
    for index in range(5):
        record = records.parse(tf.constant(records.serialize(make_video(index))))
        record["id"] = tf.constant("")
        sample = pipeline.sample_clips(record, VIEWS, EPOCH_SEED)
        seeds.add(tuple(sample["seed"].numpy()))
    assert len(seeds) == 5


def test_decoding_a_window_equals_decoding_all_and_cutting():
    frames = tf.constant(list(make_video(0, num_frames=2).frames))
    window = tf.constant([8, 16, 20, 24])
    whole = tf.stack([tf.io.decode_jpeg(frame) for frame in frames])
    decoded = clips.decode_and_crop(frames, window)
    # At the border of a window its halved chroma has no neighbours to be smoothed with.
    np.testing.assert_array_equal(decoded[:, 2:-2, 2:-2], whole[:, 10:26, 18:38])


def _views(record, spec, epoch_seed):
    """The two augmented views of a record, (2, T, S, S, 3)."""
    sample = pipeline.sample_clips(record, spec, epoch_seed)
    return np.stack([augment.apply(*view) for view in pipeline.crop_views(sample, spec)])


def test_views_are_clips_in_range():
    record = records.parse(tf.constant(records.serialize(make_video(0))))
    views = _views(record, VIEWS, EPOCH_SEED)
    assert views.shape == (2, 4, 32, 32, 3)
    assert views.dtype == np.float32
    assert 0.0 <= views.min() < views.max() <= 1.0
    assert np.abs(views[0] - views[1]).mean() > 0.01


def test_crops_are_windows_of_the_frames_resized_and_flipped():
    video = make_video(0)
    record = records.parse(tf.constant(records.serialize(video)))
    flips = set()
    for epoch in range(8):
        sample = pipeline.sample_clips(record, VIEWS, tf.constant([epoch, 0]))
        for index, view in enumerate(pipeline.crop_views(sample, VIEWS)):
            seed = sampling.fold(sample["seed"], index)
            window = augment.crop_window(RELEASED, 40, 48, seed)
            pixels = clips.decode_and_crop(sample["frames"][index], window)
            expected = np.floor(tf.image.resize(pixels, [32, 32]))
            flipped = bool(augment.random_flip(RELEASED, seed))
            flips.add(flipped)
            np.testing.assert_array_equal(view.clip, expected[:, :, ::-1] if flipped else expected)
    assert flips == {False, True}


def test_a_batch_is_augmented_as_its_clips_are():
    shard = [make_video(index) for index in range(3)]
    samples = [
        pipeline.crop_views(
            pipeline.sample_clips(
                records.parse(tf.constant(records.serialize(video))), VIEWS, EPOCH_SEED
            ),
            VIEWS,
        )[0]
        for video in shard
    ]
    batch = tf.nest.map_structure(lambda *values: tf.stack(values), *samples)
    result = pipeline.augment_batch(batch)
    for clip, sample in zip(result, samples, strict=True):
        np.testing.assert_allclose(clip, augment.apply(*sample), rtol=0, atol=1e-6)


@pytest.mark.parametrize("preset", augment.PRESETS)
def test_frames_of_a_still_video_stay_identical_where_a_preset_is_consistent(preset):
    spec = ViewsSpec(CLIP, augmentation=augment.PRESETS[preset])
    record = records.parse(tf.constant(records.serialize(make_video(0, num_frames=1))))
    differing = 0
    for epoch in range(3):
        for view in _views(record, spec, tf.constant([epoch, 0])):
            differing += np.abs(view - view[:1]).mean(axis=(1, 2, 3))[1:].min() > 0.01
            if preset != "inconsistent":
                np.testing.assert_allclose(view, np.repeat(view[:1], 4, axis=0), atol=1e-6)
    assert differing == (6 if preset == "inconsistent" else 0)


def test_inconsistent_frames_have_draws_of_their_own():
    spec = ViewsSpec(CLIP, augmentation=augment.PRESETS["inconsistent"])
    record = records.parse(tf.constant(records.serialize(make_video(0))))
    flips = set()
    for epoch in range(3):
        sample = pipeline.sample_clips(record, spec, tf.constant([epoch, 0]))
        for index, view in enumerate(pipeline.crop_views(sample, spec)):
            for number, frame in enumerate(sample["frames"][index]):
                seed = sampling.fold(sample["seed"], index, sampling.Purpose.FRAME, number)
                alone = clips.crop_clip(frame[None], CLIP.size, seed, RELEASED)
                np.testing.assert_array_equal(view.clip[number], alone[0])
                drawn = augment.draw(RELEASED, index, seed)
                for found, expected in zip(view.parameters, drawn, strict=True):
                    np.testing.assert_array_equal(found[number], expected)
                flips.add((index, epoch, bool(augment.random_flip(RELEASED, seed))))
    # Both kinds in most clips: 3 epochs, 2 views.
    assert len(flips) > 8


def test_a_batch_of_inconsistent_clips_is_augmented_as_they_are():
    spec = ViewsSpec(CLIP, augmentation=augment.PRESETS["inconsistent"])
    cropped = []
    for index in range(2):
        record = records.parse(tf.constant(records.serialize(make_video(index))))
        cropped.append(
            pipeline.crop_views(pipeline.sample_clips(record, spec, EPOCH_SEED), spec)[1]
        )
    batch = tf.nest.map_structure(lambda *values: tf.stack(values), *cropped)
    for compiled in (True, False):
        result = pipeline.augment_batch(batch, compiled)
        for clip, view in zip(result, cropped, strict=True):
            np.testing.assert_allclose(clip, augment.apply(*view), rtol=0, atol=2e-6)


def test_the_two_views_draw_independently():
    # One view setting, one frame: equal draws would give equal views, and an easy, empty task.
    alike = Augmentation(blur_probability=(0.1, 0.1), solarize_probability=(0.2, 0.2))
    same = ViewsSpec(CLIP, augmentation=alike)
    record = records.parse(tf.constant(records.serialize(make_video(0, num_frames=1))))
    for epoch in range(8):
        views = _views(record, same, tf.constant([epoch, 0]))
        assert np.abs(views[0] - views[1]).mean() > 0.02


def test_the_same_seed_gives_the_same_batches(shards):
    first, again, other = _batches(shards, 4), _batches(shards, 4), _batches(shards, 4, seed=2)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(_views_of(one), _views_of(two))
        np.testing.assert_array_equal(one.positions, two.positions)
    assert np.abs(_views_of(first[0]) - _views_of(other[0])).mean() > 0.01


def test_a_stream_goes_on_where_another_stopped(shards):
    # 12 videos: the third batch of five straddles the epochs.
    whole = _batches(shards, 6, batch_size=5)
    rest = _batches(shards, 3, batch_size=5, share=Share(first=15))
    for one, two in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(_views_of(one), _views_of(two))
        np.testing.assert_array_equal(one.positions, two.positions)
    assert rest[0].positions.numpy().tolist() == [15, 16, 17, 18, 19]


def test_two_workers_share_the_batches_of_one(shards):
    whole = _batches(shards, 3, batch_size=6)
    parts = [_batches(shards, 3, batch_size=3, share=Share(index, 2)) for index in range(2)]
    for batch, even, odd in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(_views_of(batch)[0::2], _views_of(even))
        np.testing.assert_array_equal(_views_of(batch)[1::2], _views_of(odd))
        np.testing.assert_array_equal(batch.positions[1::2], odd.positions)


def test_a_batch_tells_the_intervals(shards):
    far = ViewsSpec(CLIP, sampling.IntervalDistribution("increasing", 500.0))
    videos = find_source(shards, "train_data").indexed()
    (batch,) = pipeline.pretraining_batches(videos, far, 12, Order(1)).take(1)
    assert batch.intervals.numpy().tolist() == [[13]] * 12
    (batch,) = _batches(shards, 1, batch_size=12)
    assert len(set(batch.intervals.numpy().ravel().tolist())) > 3
    assert batch.intervals.numpy().min() >= 0 and batch.intervals.numpy().max() <= 13


def test_augmentation_changes_from_epoch_to_epoch(shards):
    first, second = map(_views_of, _batches(shards, 2, batch_size=12))
    distances = [
        np.abs(one - two).mean() for one, two in itertools.product(first[:, 0], second[:, 0])
    ]
    assert min(distances) > 1e-3


def test_global_seed_does_not_matter_and_is_not_touched(shards):
    tf.random.set_seed(1)
    first = _batches(shards, 1, batch_size=12)
    tf.random.set_seed(2)
    again = _batches(shards, 1, batch_size=12)
    np.testing.assert_array_equal(_views_of(first[0]), _views_of(again[0]))


def test_views_and_intervals_are_those_that_are_asked_for():
    record = records.parse(tf.constant(records.serialize(make_video(0))))
    spec = ViewsSpec(CLIP, sampling.IntervalDistribution("increasing", 500.0))
    for epoch in range(5):
        sample = pipeline.sample_clips(record, spec, tf.constant([epoch, 0]))
        starts = [int(tf.where(record["frames"] == frames[0])[0, 0]) for frames in sample["frames"]]
        assert sorted(starts) == [0, 13]  # 14 starts: the longest interval
    always, never = (
        ViewsSpec(
            CLIP,
            augmentation=Augmentation(blur_probability=(0.0, 0.0), solarize_probability=solarize),
        )
        for solarize in ((1.0, 0.0), (0.0, 1.0))
    )
    one, two = (_views(record, which, EPOCH_SEED) for which in (always, never))
    # Same seeds: the views differ by solarisation alone.
    np.testing.assert_allclose(one[0], np.where(two[0] < 0.5, two[0], 1 - two[0]), atol=1e-6)
    np.testing.assert_allclose(two[1], np.where(one[1] < 0.5, one[1], 1 - one[1]), atol=1e-6)


def test_four_views_begin_with_the_two_that_there_would_be(shards):
    four = ViewsSpec(CLIP, number=4)
    videos = find_source(shards, "train_data").indexed()
    for augmented in (True, False):
        (batch,) = pipeline.pretraining_batches(
            videos, four, 6, Order(1), augmented=augmented
        ).take(1)
        assert len(batch.views) == 4 and batch.intervals.shape == (6, 3)
        views = batch.views if augmented else [pipeline.augment_batch(x) for x in batch.views]
        (pair,) = _batches(shards, 1, batch_size=6)
        for view, expected in zip(views, pair.views, strict=False):
            np.testing.assert_allclose(view, expected, rtol=0, atol=2e-6)
        for one, two in itertools.combinations(views, 2):
            assert np.abs(one - two).mean(axis=(1, 2, 3, 4)).min() > 0.01


def test_all_views_but_the_first_have_the_colours_of_the_second():
    parameters = [augment.draw(RELEASED, view, tf.constant([9, 4])) for view in range(4)]
    for later in parameters[2:]:
        for value, expected in zip(later, parameters[1], strict=True):
            np.testing.assert_array_equal(value, expected)
    colors = Augmentation(blur_probability=(1.0, 0.0), solarize_probability=(0.0, 1.0))
    spec = ViewsSpec(CLIP, augmentation=colors, number=3)
    record = records.parse(tf.constant(records.serialize(make_video(0))))
    cropped = pipeline.crop_views(pipeline.sample_clips(record, spec, EPOCH_SEED), spec)
    assert [bool(view.parameters.sigma > 0) for view in cropped] == [True, False, False]
    assert [bool(view.parameters.solarize) for view in cropped] == [False, True, True]


def test_labelled_clips_are_windows_of_their_videos_in_the_order_of_the_stream(shards):
    """Colours as they are, resized and flipped, the same from a later position on."""
    videos, order = find_source(shards, "train_data").indexed(), Order(1)

    def batches(first):
        return pipeline.labelled_batches(videos, CLIP, 4, order, Share(first=first)).take(3)

    flips = []
    for batch in batches(0):
        assert batch.clips.shape == (4, 4, 32, 32, 3) and batch.clips.dtype == tf.uint8
        for clip, label, position in zip(*map(np.asarray, batch), strict=True):
            number = order.video_at(position, 12)
            assert label == number % 2  # so are the fixture's
            video = make_video(number, label=label)
            epoch_seed = order.epoch_seed(position // 12)
            record = records.parse(tf.constant(records.serialize(video)))
            seed = pipeline.record_seed(record, epoch_seed)
            start = int(sampling.draw_start(20, 4, 2, seed))
            assert 0 <= start < 14
            seed = sampling.fold(seed, 0)
            crop = augment.crop_window(RELEASED, 40, 48, seed)
            top, left, height, width = crop.numpy()
            frames = tf.stack([tf.io.decode_jpeg(frame) for frame in video.frames[start::2][:4]])
            window = frames[:, top : top + height, left : left + width]
            expected = tf.image.resize(window, [32, 32]).numpy()
            flips.append(bool(augment.random_flip(RELEASED, seed)))
            if flips[-1]:
                expected = expected[:, :, ::-1]
            # A window that is decoded alone differs a little at its border.
            inner = np.abs(clip.astype(float) - expected)[:, 4:-4, 4:-4]
            assert inner.max() <= 1.0 + 1e-3
    assert 0 < sum(flips) < 12
    whole, later = list(batches(0)), list(batches(4))
    np.testing.assert_array_equal(whole[1].clips, later[0].clips)
    np.testing.assert_array_equal(whole[2].labels, later[1].labels)


def test_labelled_clips_follow_their_geometry(shards):
    videos = find_source(shards, "train_data").indexed()
    still = augment.Geometry(random_crop=False, flip_probability=0.0)
    dataset = pipeline.labelled_batches(videos, CLIP, 4, Order(1), geometry=still)
    (batch,) = dataset.take(1)
    whole = [
        tf.image.resize(tf.io.decode_jpeg(frame)[:, 4:44], [32, 32])
        for index in range(12)
        for frame in make_video(index, label=index % 3).frames
    ]
    for frame in tf.cast(batch.clips[:, 0], tf.float32):
        # One frame of one of the videos, not flipped; its border is decoded a little differently.
        nearest = min(np.abs(frame - other)[4:-4, 4:-4].max() for other in whole)
        assert nearest <= 1.0 + 1e-3
