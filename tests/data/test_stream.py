import hashlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from small_records import make_video, write_shard

from cvrl_tf.data import records, stream
from cvrl_tf.data.index import index_records
from cvrl_tf.data.stream import Order, Share

VIDEOS = 7
ORDER = Order(3)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stream")
    videos = [make_video(number, 2) for number in range(VIDEOS)]
    return index_records(
        [write_shard(directory / "a", videos[:4]), write_shard(directory / "b", videos[4:])]
    )


def _sample(serialized, epoch_seed):
    return records.parse(serialized) | {"seed": epoch_seed}


def _ids(sample):
    pixels = tf.io.decode_jpeg(sample["frames"][0])
    return tf.where(tf.shape(pixels)[0] > 0, sample["id"], "")


def _read(index, count, share=stream.WHOLE, order=ORDER):
    dataset = stream.read_stream(index, order, _sample, _ids, share)
    pairs = [
        (record_id.decode(), int(p)) for record_id, p in dataset.take(count).as_numpy_iterator()
    ]
    return [int(record_id.removeprefix("video_")) for record_id, _ in pairs], [p for _, p in pairs]


@pytest.mark.parametrize("version", [stream.ARRAY_ORDER, stream.INDEX_ORDER])
def test_every_video_comes_once_an_epoch_in_a_new_order(index, version):
    order = Order(3, version)
    numbers, positions = _read(index, 3 * VIDEOS, order=order)
    assert positions == list(range(3 * VIDEOS))
    epochs = [numbers[first : first + VIDEOS] for first in (0, VIDEOS, 2 * VIDEOS)]
    assert all(sorted(epoch) == list(range(VIDEOS)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    assert numbers == [order.video_at(p, VIDEOS) for p in positions]
    assert numbers != _read(index, 3 * VIDEOS, order=Order(4, version))[0]


@pytest.mark.parametrize(
    ("version", "orders", "digest"),
    [
        (
            stream.ARRAY_ORDER,
            {
                1: [[0], [0]],
                2: [[1, 0], [0, 1]],
                3: [[0, 2, 1], [1, 0, 2]],
                10: [[5, 1, 8, 9, 3, 2, 4, 6, 0, 7], [0, 3, 2, 9, 1, 6, 5, 4, 8, 7]],
            },
            "d6401fa596c2a082",
        ),
        (
            stream.INDEX_ORDER,
            {
                1: [[0], [0]],
                2: [[1, 0], [0, 1]],
                3: [[1, 2, 0], [2, 1, 0]],
                10: [[6, 4, 7, 8, 3, 9, 5, 0, 2, 1], [2, 5, 8, 1, 6, 4, 3, 0, 9, 7]],
            },
            "efb8a5edb5cfd8ff",
        ),
    ],
)
def test_the_order_is_fixed(version, orders, digest):
    """Of every run of this seed, on any machine and with any version of TensorFlow."""
    order = Order(0, version)
    for size, expected in orders.items():
        places = np.arange(size)
        assert [order.of_epoch(epoch, size)(places).numpy().tolist() for epoch in (0, 1)] == (
            expected
        )
        assert order.video_at(2 * size - 1, size) == expected[1][-1]
    numbers = Order(7, version).of_epoch(3, 366_016)(np.arange(366_016)).numpy()
    np.testing.assert_array_equal(np.sort(numbers), np.arange(366_016))
    assert hashlib.sha256(numbers.astype("<i8").tobytes()).hexdigest()[:16] == digest


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 3000),
    epoch=st.integers(0, 1000),
    seed=st.integers(0, 2**31 - 1),
    version=st.sampled_from([stream.ARRAY_ORDER, stream.INDEX_ORDER]),
)
def test_the_order_of_any_epoch_is_a_permutation(size, epoch, seed, version):
    numbers = Order(seed, version).of_epoch(epoch, size)
    np.testing.assert_array_equal(np.sort(numbers(np.arange(size))), np.arange(size))
    assert int(numbers(tf.constant(size - 1, tf.int64))) == numbers(np.arange(size))[-1]


def test_videos_meet_in_batches_of_successive_epochs_as_often_as_by_chance():
    """TensorFlow's own number of rounds lets some pairs of seeds meet five times as often."""
    size, batch = 366_016, 64
    places = np.arange(size)
    for seed in (0, 1):
        first, second = (Order(seed).of_epoch(epoch, size)(places).numpy() for epoch in (0, 1))
        batch_of = np.empty(size, np.int64)
        batch_of[second] = places // batch
        together = np.sort(batch_of[first].reshape(-1, batch), axis=1)
        pairs = np.sum(together[:, 1:] == together[:, :-1])
        expected = size * (batch - 1) / 2 * (batch - 1) / size
        assert abs(pairs - expected) < 6 * expected**0.5


@settings(max_examples=6, deadline=None)
@given(
    first=st.integers(0, 3 * VIDEOS),
    count=st.integers(1, 9),
    version=st.sampled_from([stream.ARRAY_ORDER, stream.INDEX_ORDER]),
)
def test_shares_make_up_the_stream_from_any_position(index, first, count, version):
    order = Order(3, version)
    expected = [order.video_at(p, VIDEOS) for p in range(first, first + 2 * VIDEOS)]
    found = {}
    for share in (Share(number, count, first) for number in range(count)):
        numbers, positions = _read(index, 2 * VIDEOS // count + 1, share, order)
        assert {position % count for position in positions} == {share.index}
        found |= dict(zip(positions, numbers, strict=True))
    assert [found[p] for p in range(first, first + 2 * VIDEOS // count * count)] == (
        expected[: 2 * VIDEOS // count * count]
    )


def test_bad_records_leave_gaps(tmp_path):
    """A damaged record, one that is none, and one whose picture cannot be decoded."""
    videos = [make_video(number, 2) for number in range(VIDEOS)]
    videos[5].frames[0] = b"\xff\xd8 no picture"
    path = tmp_path / "shard"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, video in enumerate(videos):
            writer.write(b"no example" if number == 2 else records.serialize(video))
    index = index_records([str(path)])
    content = bytearray(path.read_bytes())
    content[index.offsets[4] + 40] ^= 255
    path.write_bytes(content)

    gaps = stream.Gaps(Share(first=3))
    missing, numbers = [], []
    dataset = stream.read_stream(index, ORDER, _sample, _ids, Share(first=3)).batch(3)
    for ids, positions in dataset.take(3).as_numpy_iterator():
        missing += gaps.missing(positions)
        numbers += [int(record_id[6:]) for record_id in ids]
    end = gaps.next_position
    assert [ORDER.video_at(p, VIDEOS) for p in missing] == (
        [n for p in range(3, end) if (n := ORDER.video_at(p, VIDEOS)) in (2, 4, 5)]
    )
    assert set(numbers) == {0, 1, 3, 6}
    assert len(missing) == end - 3 - 9


def test_records_that_vanish_end_the_stream_with_an_error(tmp_path):
    path = write_shard(tmp_path / "shard", [make_video(number, 2) for number in range(3)])
    iterator = iter(stream.read_stream(index_records([path]), Order(0), _sample, _ids))
    next(iterator)
    tf.io.gfile.remove(path)
    with pytest.raises(tf.errors.InvalidArgumentError, match="No record of a whole epoch"):
        for _ in range(1000):  # some are read ahead
            next(iterator)


def test_no_readable_record_is_an_error(tmp_path):
    path = tmp_path / "shard"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"no example")
    with pytest.raises(tf.errors.InvalidArgumentError):
        stream.read_stream(index_records([str(path)]), Order(0), _sample, _ids)


def test_gaps_of_a_share():
    gaps = stream.Gaps(Share(1, 3, 10))  # positions 10, 13, 16, ...
    assert gaps.missing(np.array([10, 13])) == []
    assert gaps.missing(np.array([19, 22, 28])) == [16, 25]
    assert gaps.next_position == 31
    starts = [stream.Gaps(Share(2, 4, first)).next_position for first in range(8)]
    assert starts == [2, 2, 2, 6, 6, 6, 6, 10]


def test_gaps_are_what_is_left_out_of_any_batches():
    rng = np.random.default_rng(0)
    kept = np.flatnonzero(rng.random(200) < 0.8)
    gaps, missing = stream.Gaps(), []
    for first in range(0, len(kept), 7):
        missing += gaps.missing(kept[first : first + 7])
    assert missing == sorted(set(range(kept[-1])) - set(kept.tolist()))
