import struct

import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data import records, tfrecords


@pytest.fixture
def shard(tmp_path):
    """A shard of four videos, its records, and the offset of each."""
    videos = [make_video(index, num_frames=2) for index in range(4)]
    path = write_shard(tmp_path / "shard", videos)
    serialized = [records.serialize(video) for video in videos]
    offsets = [sum(len(record) + 16 for record in serialized[:index]) for index in range(4)]
    return path, serialized, offsets


def _flip(path, position):
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 4]))


def test_reads_what_tensorflow_wrote(shard):
    path, serialized, offsets = shard
    found = list(tfrecords.read_shard(path))
    assert [record.serialized for record in found] == serialized
    assert [record.offset for record in found] == offsets
    assert [(record.number, record.problem) for record in found] == [(n, None) for n in range(4)]
    assert next(tfrecords.read_shard(path, offsets[2])).serialized == serialized[2]


def test_goes_on_after_a_damaged_record(shard):
    path, serialized, offsets = shard
    _flip(path, offsets[1] + 500)
    found = list(tfrecords.read_shard(path))
    assert [record.serialized for record in found] == [serialized[0], None, *serialized[2:]]
    assert found[1].problem == "the record is damaged: its bytes do not have the checksum stored"
    with pytest.raises(tf.errors.DataLossError):  # TensorFlow agrees
        list(tf.data.TFRecordDataset(path))


def test_stops_after_a_damaged_length_and_tells_what_is_lost(shard):
    path, serialized, offsets = shard
    size = offsets[3] + len(serialized[3]) + 16
    _flip(path, offsets[2])
    found = list(tfrecords.read_shard(path))
    assert [record.serialized for record in found] == [*serialized[:2], None]
    assert found[2].problem == (
        "the record's length is damaged, or this is not a TFRecord file:"
        f" the last {size - offsets[2]} of {size} bytes cannot be reached"
    )


@pytest.mark.parametrize("left", [5, 12, 40])
def test_stops_where_the_file_is_cut_off(shard, left):
    path, serialized, offsets = shard
    with open(path, "r+b") as file:
        file.truncate(offsets[3] + left)
    found = list(tfrecords.read_shard(path))
    assert [record.serialized for record in found] == [*serialized[:3], None]
    if left < 12:
        assert found[3].problem.startswith("the file is cut off in the record's length: the last 5")
    else:
        end = offsets[3] + len(serialized[3]) + 16
        assert found[3].problem == (
            f"the file is cut off: the record ends at byte {end}, the file at {offsets[3] + left}"
        )


def test_a_text_file_is_not_read_into_memory(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"some text")
    [found] = tfrecords.read_shard(str(path))
    assert "this is not a TFRecord file" in found.problem
