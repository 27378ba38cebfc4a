import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data import labels, records
from cvrl_tf.data.labels import UNLABELLED, UNREADABLE, RecordLabels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError


def _labels(*values):
    ids = [f"v{number}" for number in range(len(values))]
    return RecordLabels(np.array(values), ids, np.zeros(len(values), np.int64))


def test_labels_are_read_in_the_order_of_the_index(shards):
    source = find_source(shards, "train_data")
    result = labels.read_labels(source.indexed())
    assert result.labels.tolist() == [index % 2 for index in range(6)] * 2
    assert list(result.ids) == [f"video_{index}" for index in range(12)]


def test_frames_are_not_read(tmp_path):
    path = tmp_path / "shard"
    write_shard(path, [make_video(0, label=3), make_video(1, label=None)])
    source = Source("cut", [str(path)])
    videos = source.indexed()
    content = bytearray(path.read_bytes())
    for offset in videos.index.offsets:  # all but the first bytes
        content[offset + 2000 : offset + 2500] = bytes(500)
    path.write_bytes(content)
    result = labels.read_labels(videos)
    assert result.labels.tolist() == [3, UNLABELLED]
    assert list(result.ids) == ["video_0", "video_1"]


def test_contents_are_those_of_the_frames(tmp_path):
    """Whatever the id, the label and the path; videos with the same first frame differ."""
    video = make_video(1, num_frames=20, label=1)
    copy = dataclasses.replace(video, video_id="a longer id", label=0, path="/other/path/x.mp4")
    black = tf.io.encode_jpeg(np.zeros((40, 48, 3), np.uint8)).numpy()
    faded = [
        dataclasses.replace(other, frames=[black, *other.frames[1:]])
        for other in map(make_video, (2, 3))
    ]
    path = write_shard(tmp_path / "shard", [video, copy, make_video(4), *faded])
    one, same, *others = labels.read_labels(Source("x", [path]).indexed()).contents.tolist()
    assert one == same > 0 and len({one, *others}) == 4 and 0 not in others
    # Where only whole records have labels and ids, such as those of TFDS.
    whole = Source("x", [path], label_and_id=None)
    one, same, *others = labels.read_labels(whole.indexed()).contents.tolist()
    assert one == same > 0 and one not in others


def test_other_writers_and_damaged_records(tmp_path, monkeypatch):
    """Frames before the context, a context longer than the bytes read, and no example at all."""
    whole = records.serialize(make_video(4, label=5))
    example = tf.train.SequenceExample.FromString(whole)
    context = tf.train.SequenceExample(context=example.context).SerializeToString()
    frames = tf.train.SequenceExample(feature_lists=example.feature_lists).SerializeToString()
    assert records.label_and_id(context) == (5, "video_4")
    assert records.label_and_id(context[:-1]) is None and records.label_and_id(frames) is None
    path = str(tmp_path / "shard")
    with tf.io.TFRecordWriter(path) as writer:
        for record in (frames + context, b"\x0a\x05no it is not", whole):
            writer.write(record)
    source = Source("other", [path])
    monkeypatch.setattr(records, "HEAD_BYTES", 60)
    result = labels.read_labels(source.indexed())
    assert result.labels.tolist() == [5, UNREADABLE, 5]
    assert records.content_key(frames + context) == 0 < records.content_key(whole)


def test_the_number_of_classes_is_that_of_the_training_labels():
    train = _labels(0, 2, 4, UNREADABLE)
    assert labels.check_classes("a", train, "b", _labels(4, 0, UNREADABLE)) == 5


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (_labels(0, 1), _labels(0, UNLABELLED), "1 of 2 records of b have no label.*'v1'"),
        (_labels(UNLABELLED, 1), _labels(0), "1 of 2 records of a have no label.*'v0'"),
        (_labels(3, 3), _labels(3), "a has 1 class, expected two"),
        (
            _labels(0, 1, 4),
            _labels(0, 3, 3, 7),
            "3 of 4 records of b are of classes that a has no record of: 3, 7, where the training"
            " records have 0, 1, 4;",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_named(train, test, message):
    with pytest.raises(InputError, match=message):
        labels.check_classes("a", train, "b", test)
