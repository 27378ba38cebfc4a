"""Index files: what readers know of shards without reading them."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.conversion.workers import Report
from cvrl_tf.data import checks, index_file, labels, lookup, records, tfrecords
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.index import index_records
from cvrl_tf.inspection import indexes
from cvrl_tf.inspection.shards import InspectionJob

CLIP = ClipSpec(2, 1, 32)


def write_index(*paths):
    """Writes the index of shards, as an inspection does; returns its path."""
    (path,) = indexes.write({path: InspectionJob(path, 1).run(Report()).table for path in paths})
    return path


@pytest.fixture
def paths(tmp_path):
    """Shards of three videos and of two, one unlabelled, and one whose frames come first."""
    videos = [make_video(number, 2 + number, label=number) for number in range(4)]
    videos[1] = dataclasses.replace(videos[1], label=None, label_name=None, video_id="späť")
    whole = records.serialize(make_video(4, 3, label=7))
    example = tf.train.SequenceExample.FromString(whole)
    context = tf.train.SequenceExample(context=example.context).SerializeToString()
    frames = tf.train.SequenceExample(feature_lists=example.feature_lists).SerializeToString()
    second = str(tmp_path / "train-00001-of-00002")
    with tf.io.TFRecordWriter(second) as writer:
        writer.write(records.serialize(videos[3]))
        writer.write(frames + context)
    return [write_shard(tmp_path / "train-00000-of-00002", videos[:3]), second]


def _read(paths):
    videos = lookup.Source("x", paths).indexed()
    return videos, labels.read_labels(videos)


def test_an_index_replaces_the_search(paths, tmp_path, monkeypatch, capsys):
    plain, plain_labels = _read(paths)
    assert plain.index.tables == {}
    path = write_index(*paths)
    assert path == str(tmp_path / ".index" / "train.npz")
    assert lookup.find_shards(f"{tmp_path}/*") == paths
    assert lookup.find_shards(f"{tmp_path}/**/*") == paths

    def refuse(*arguments):
        raise AssertionError("a shard is read")

    for module, name in ((tfrecords, "find_records"), (tfrecords, "read_head")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(records, "first_record", refuse)
    videos, found = _read(paths)
    for column in ("shards", "offsets", "places", "lengths", "checksums"):
        expected, column = getattr(plain.index, column), getattr(videos.index, column)
        np.testing.assert_array_equal(column, expected)
        assert column.dtype == expected.dtype
    assert videos.index.fingerprint() == plain.index.fingerprint()
    assert found.labels.tolist() == plain_labels.labels.tolist() == [0, -1, 2, 3, 7]
    assert list(found.ids) == list(plain_labels.ids)
    assert found.ids[1] == "späť" and found.ids[4] == "video_4"
    np.testing.assert_array_equal(found.contents, plain_labels.contents)
    some = labels.read_labels(videos.select(np.array([4, 1])))
    assert (some.labels.tolist(), list(some.ids)) == ([7, -1], ["video_4", "späť"])
    checks.check_shards(videos.source, CLIP)
    assert capsys.readouterr().err == ""
    summary = videos.index.tables[paths[0]].summary(2)
    assert summary == records.RecordSummary(4, 40, 48, 2)


def test_the_same_shards_give_the_same_bytes(paths):
    path = write_index(*paths)
    with open(path, "rb") as file:
        content = file.read()
    modified = os.stat(path).st_mtime_ns
    assert write_index(*reversed(paths)) == path
    assert os.stat(path).st_mtime_ns == modified
    os.remove(path)
    write_index(paths[1])
    write_index(paths[0])  # what it lists of others stays
    with open(path, "rb") as file:
        assert file.read() == content


@pytest.mark.parametrize("change", ["size", "content"])
def test_an_index_of_another_shard_is_named_and_not_used(paths, tmp_path, capsys, change):
    path = write_index(*paths)
    videos = [make_video(number, 2 + number, label=number) for number in range(3)]
    videos[1] = dataclasses.replace(videos[1], label=None, label_name=None, video_id="späť")
    if change == "size":
        del videos[1]
    else:  # other labels in records of the same sizes
        videos[2] = dataclasses.replace(videos[2], label=5)
    size = os.path.getsize(paths[0])
    write_shard(paths[0], videos)
    assert (os.path.getsize(paths[0]) == size) == (change == "content")
    found = labels.read_labels(lookup.Source("x", paths).indexed())
    assert found.labels.tolist()[-3:] == ([2, 3, 7] if change == "size" else [5, 3, 7])
    error = capsys.readouterr().err
    assert error.startswith(
        f"note: the index {path} is of other shards: 1 of 2 do not have the size and the last"
        f" record that it lists (first: {paths[0]}): "
    )
    assert error.endswith("--write_index makes it again.\n")
    table = InspectionJob(paths[0], 1).run(Report()).table
    (problem,) = indexes.check({paths[0]: table})
    place = ", record 2" if change == "content" else f", {table.size} bytes, listed {size}"
    assert str(problem) == (
        f"{path}: 1 of 1 shards are not as listed (first: train-00000-of-00002{place}); readers"
        " find the records without it; --write_index makes it again"
    )
    write_index(*paths)
    assert indexes.check({paths[0]: table}) == []
    index_records(paths)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.9])
def test_a_damaged_index_is_named_and_not_used(paths, capsys, place):
    path = write_index(*paths)
    content = bytearray(pathlib.Path(path).read_bytes())
    first = int(place * len(content))
    content[first : first + 200] = bytes(byte ^ 85 for byte in content[first : first + 200])
    with open(path, "wb") as file:
        file.write(content)
    assert len(index_records(paths)) == 5
    error = capsys.readouterr().err
    assert error.startswith(f"note: the index {path} cannot be used (") and error.count("\n") == 1
    (problem,) = indexes.check({paths[0]: None})
    assert "the index cannot be used (" in str(problem)


def test_damaged_records_stay_in_the_index(paths):
    """A damaged record has its place, and no label; a shard that is not whole is not listed."""
    index = index_records(paths)
    with open(paths[0], "r+b") as file:
        file.seek(int(index.offsets[1]) + 50)
        file.write(b"damage")
    with open(paths[1], "r+b") as file:
        file.truncate(os.path.getsize(paths[1]) - 3)
    path = write_index(*paths)
    assert list(index_file.read(path)) == ["train-00000-of-00002"]
    videos, found = _read(paths[:1])
    assert found.labels.tolist() == [0, records.UNREADABLE, 2]
    assert "damaged" in videos.index.problem(1)
