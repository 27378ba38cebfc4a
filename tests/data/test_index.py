import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data import records, tfrecords
from cvrl_tf.data.index import index_records
from cvrl_tf.errors import InputError


@pytest.fixture
def paths(tmp_path):
    """Shards of three and of two videos."""
    return [
        write_shard(tmp_path / "a", [make_video(number, 2) for number in range(3)]),
        write_shard(tmp_path / "b", [make_video(number, 2) for number in range(3, 5)]),
    ]


def test_every_record_is_read_by_its_number(paths):
    index = index_records(paths)
    assert len(index) == 5
    assert index.shards.tolist() == [0, 0, 0, 1, 1]
    read = tf.function(index.read)
    for number in (4, 0, 2, 1, 3):
        assert read(tf.constant(number)) == records.serialize(make_video(number, 2))
    assert [index.origin(number) for number in (0, 2, 3, 4)] == [
        f"{paths[0]}, record 0",
        f"{paths[0]}, record 2",
        f"{paths[1]}, record 0",
        f"{paths[1]}, record 1",
    ]
    some = index.select(np.array([1, 4]))
    assert len(some) == 2 and some.origin(1) == f"{paths[1]}, record 1"
    assert some.read(tf.constant(1)) == records.serialize(make_video(4, 2))


def test_a_damaged_record_tells_its_problem(paths):
    index = index_records(paths)
    with open(paths[0], "r+b") as file:
        file.seek(index.offsets[1] + 50)
        file.write(b"damage")
    with pytest.raises(tf.errors.DataLossError):
        index.read(tf.constant(1))
    assert index.problem(1) == "the record is damaged: its bytes do not have the checksum stored"
    assert index.problem(0) is None and index.problem(2) is None
    with open(paths[1], "r+b") as file:
        file.truncate(100)
    assert index.problem(4) == "the file ends before it"
    (tf.io.gfile.remove(paths[1]))
    assert index.problem(3).startswith("the file cannot be read: ")


def test_content_is_told_by_the_stored_checksums(paths, tmp_path):
    fingerprint = index_records(paths).fingerprint()
    videos = [make_video(number, 2) for number in range(5)]
    # The same records in one file under another name.
    assert index_records([write_shard(tmp_path / "c", videos)]).fingerprint() == fingerprint
    assert index_records(paths[::-1]).fingerprint() != fingerprint
    # Another label in a record of the same length.
    videos[3] = dataclasses.replace(videos[3], label=1)
    assert len(records.serialize(videos[3])) == len(records.serialize(make_video(3, 2)))
    assert index_records([write_shard(tmp_path / "c", videos)]).fingerprint() != fingerprint


def test_records_of_remote_files_are_found(paths, remote_directory):
    remote = f"{remote_directory}/a"
    tf.io.gfile.copy(paths[0], remote)
    index = index_records([remote, paths[1]])
    np.testing.assert_array_equal(index.offsets, index_records(paths).offsets)
    assert index.read(tf.constant(1)) == records.serialize(make_video(1, 2))
    assert index.fingerprint() == index_records(paths).fingerprint()


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_cut_file_is_named(paths, cut):
    with open(paths[1], "r+b") as file:
        file.truncate(tf.io.gfile.stat(paths[1]).length - cut)
    with pytest.raises(InputError, match="b is not a whole TFRecord file: record [01] ends"):
        index_records(paths)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(InputError, match="holds no records"):
        tfrecords.find_records(str(tmp_path / "empty"))
