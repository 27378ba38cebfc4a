import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data import records
from cvrl_tf.data.source import Source


@pytest.fixture
def videos(tmp_path):
    """Two videos, then a record of no frames, one of no JPEGs, and one that is no example."""
    paths = [write_shard(tmp_path / "a", [make_video(0, 2, label=1), make_video(1, 3)])]
    whole = tf.train.SequenceExample.FromString(records.serialize(make_video(2, 1)))
    frameless = tf.train.SequenceExample(context=whole.context)
    frameless.feature_lists.feature_list[records.FRAMES_KEY].Clear()
    broken = make_video(3, 2)
    broken.frames[1] = b"no picture"
    paths.append(str(tmp_path / "b"))
    with tf.io.TFRecordWriter(paths[1]) as writer:
        for record in (frameless.SerializeToString(), records.serialize(broken), b"no example"):
            writer.write(record)
    return Source("some data", paths).indexed()


def test_videos_are_read_by_their_numbers(videos):
    assert len(videos) == 5 and videos.name == "some data"
    first, second = (videos.read(tf.constant(number)) for number in (0, 1))
    assert (first["id"], first["label"], len(first["frames"])) == (b"video_0", 1, 2)
    assert (second["id"], len(second["frames"])) == (b"video_1", 3)
    read = tf.function(videos.read)
    assert read(tf.constant(1))["id"] == b"video_1"


def test_some_of_the_videos(videos):
    some = videos.select(np.array([1, 3]))
    assert len(some) == 2 and some.source is videos.source
    assert some.read(tf.constant(0))["id"] == b"video_1"
    assert some.index.fingerprint() != videos.index.fingerprint()


def test_why_a_record_could_not_be_used(videos):
    assert videos.problem(0) == "it can be read now"
    assert videos.problem(2) == "the record has no frames"
    assert videos.problem(3).startswith("frame 1 cannot be decoded: ")
    assert videos.problem(4).startswith("the record cannot be parsed: ")
    with open(videos.index.paths[0], "r+b") as file:
        file.seek(50)
        file.write(b"damage")
    assert videos.problem(0) == "the record is damaged: its bytes do not have the checksum stored"
