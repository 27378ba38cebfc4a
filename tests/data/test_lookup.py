"""The files that a name means, and what is said of names that mean none."""

import os

import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data import lookup
from cvrl_tf.data.index import index_records
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError


def _names(paths):
    return [os.path.basename(path) for path in paths]


@pytest.fixture
def converted(tmp_path):
    """A directory as a conversion leaves it, with empty shards."""
    directory = tmp_path / "records"
    (directory / ".conversion").mkdir(parents=True)
    (directory / "folder").mkdir()
    shards = ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"]
    for name in (*shards, "labels.txt", "dataset_info.json", "failures.csv", ".hidden"):
        (directory / name).write_bytes(b"")
    return directory


def test_patterns_and_paths_with_commas_between_them(tmp_path):
    for name in ("b-1", "a-0", "a-1", "c,d"):
        (tmp_path / name).write_bytes(b"")
    found = lookup.find_shards(f"{tmp_path}/a-*, {tmp_path}/b-*,{tmp_path}/a-0", "train_data")
    assert _names(found) == ["a-0", "a-1", "b-1"]
    assert lookup.find_shards(f"{tmp_path}/c,d") == [f"{tmp_path}/c,d"]


def test_a_pattern_matches_shards_only(converted):
    found = lookup.find_shards(f"{converted}/*", "train_data")
    assert _names(found) == [
        "test-00000-of-00001",
        "train-00000-of-00002",
        "train-00001-of-00002",
    ]


@pytest.mark.parametrize("end", ["", "/"])
def test_a_directory_is_answered_with_its_splits(converted, end):
    with pytest.raises(InputError) as error:
        lookup.find_source(f"{converted}{end}", "train_data")
    assert str(error.value) == (
        f"--train_data={converted}{end} is a directory: expected the shards of one split, that is"
        f" --train_data='{converted}/test-*' or --train_data='{converted}/train-*'."
    )
    with pytest.raises(InputError, match=r"folder is a directory without shards in it \("):
        lookup.find_shards(f"{converted}/folder", "data")


def test_each_part_that_matches_nothing_is_named(converted):
    with pytest.raises(InputError) as error:
        lookup.find_shards(f"{converted}/train-*,{converted}/tset-*", "test_data")
    assert str(error.value) == (
        f"--test_data={converted}/tset-* matches no file: expected TFRecord files or a glob pattern"
        " of them, such as 'records/train-*' (quoted); python -m cvrl_tf.make_tfrecords makes them."
    )
    with pytest.raises(InputError, match="labels.txt matches 1 names, but no shard: expected"):
        lookup.find_shards(f"{converted}/labels.txt", "data")
    with pytest.raises(InputError, match=r"write \[\[\] for \[\.$"):
        lookup.find_shards(f"{converted}/train[v1]-*", "data")


@pytest.mark.parametrize("name", ["a [v1]", r"c\d", "e*f", "g?h"])
def test_names_that_exist_are_taken_literally(tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    (tmp_path / "a v").mkdir()  # what the pattern "a [v1]" matches
    (tmp_path / "a v" / "train-0").write_bytes(b"")
    for shard in ("train-0", "train-[1]"):
        write_shard(directory / shard, [make_video(0, 2)])
    assert _names(lookup.find_shards(f"{directory}/train-*")) == ["train-0", "train-[1]"]
    assert lookup.find_shards(f"{directory}/train-[1]") == [f"{directory}/train-[1]"]
    videos = lookup.find_source(f"{directory}/train-*", "train_data").indexed()
    assert videos.read(tf.constant(1))["id"] == b"video_0"
    assert videos.index.repeated().tolist() == [1]


def test_remote_patterns(remote_directory):
    for name in ("train-0", "train-1", ".hidden", "labels.txt"):
        with tf.io.gfile.GFile(f"{remote_directory}/{name}", "wb") as file:
            file.write(b"")
    assert _names(lookup.find_shards(f"{remote_directory}/*")) == ["train-0", "train-1"]


@pytest.mark.parametrize(
    ("compression", "content"),
    [("GZIP", b"\x1f\x8b"), ("ZLIB", b"\x78\x9c"), ("ZLIB", b"\x78\x5e")],
)
def test_compressed_shards_are_named_as_such(tmp_path, compression, content):
    path = str(tmp_path / "shard")
    if content == b"\x78\x5e":
        (tmp_path / "shard").write_bytes(content + bytes(20))
    else:
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression)) as writer:
            writer.write(b"record")
        assert (tmp_path / "shard").read_bytes()[:2] == content
    with pytest.raises(InputError) as error:
        Source("x", [path]).indexed()
    assert str(error.value) == (
        f"{path} is compressed ({compression}), which cannot be read in random order: expected an"
        " uncompressed TFRecord file; decompress it, or write it again without compression."
    )


def test_a_shard_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    path = write_shard(tmp_path / "shard", [make_video(0, 2)])

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("cvrl_tf.data.tfrecords.open_at_places", refuse)
    with pytest.raises(InputError, match=rf"^{path} cannot be read \(Permission denied\): give"):
        index_records([path])
    with pytest.raises(InputError, match=r"gone cannot be read \(.*No such file"):
        index_records([str(tmp_path / "gone")])
