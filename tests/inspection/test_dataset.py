import dataclasses
import json
import re

import numpy as np
import pytest
import simplejpeg
from permissions import nobody
from small_records import make_video, write_shard

from cvrl_tf.errors import InputError
from cvrl_tf.inspection import dataset, tables

CLASSES = ["class_0", "class_1"]


@pytest.fixture
def directory(tmp_path):
    """What a conversion writes: two shards of two videos for training, one of one for testing."""
    splits = {
        "train": [[make_video(0, 3), make_video(1, 4, label=1)], [make_video(2, 5), make_video(3)]],
        "test": [[make_video(4, 6, 56, 32, label=1)]],
    }
    info = {"classes": CLASSES, "splits": {}}
    for split, shards in splits.items():
        size = 0
        for index, videos in enumerate(shards):
            path = tmp_path / f"{split}-{index:05d}-of-{len(shards):05d}"
            write_shard(path, videos)
            size += path.stat().st_size
        names = [video.label_name for videos in shards for video in videos]
        info["splits"][split] = {
            "videos": len(names),
            "frames": sum(len(video.frames) for videos in shards for video in videos),
            "bytes": size,
            "shards": len(shards),
            "videos_per_class": {name: names.count(name) for name in sorted(set(names))},
        }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "labels.txt").write_text("class_0\nclass_1\n")
    return tmp_path


def _inspect(directory, pattern=None):
    paths = dataset.find_shards(str(pattern or directory))
    return dataset.inspect(paths, workers=0)


def _problems(directory, pattern=None):
    found = _inspect(directory, pattern).problems
    return [str(problem).replace(f"{directory}/", "") for problem in found]


def test_a_whole_data_set(directory):
    found = _inspect(directory)
    assert found.problems == [] and found.failures == []
    assert found.classes == {0: "class_0", 1: "class_1"}
    header, train, test = tables.summary_table(found)
    assert header[:5] == ["split", "shards", "videos", "classes", "frames"]
    assert train[:5] == ["train", "2", "4", "2", "32"]
    assert train[6:] == ["3 / 4 / 20", "0.1 / 0.2 / 0.8", "25"]  # the median of 3, 4, 5, 20
    assert test[:5] == ["test", "1", "1", "1", "6"]
    assert tables.size_table(found, rows_per_split=5)[1:] == [
        ["train", "48x40", "4", "100.0 %"],
        ["test", "32x56", "1", "100.0 %"],
    ]
    assert tables.videos_per_class(found) == [("class_0", [3, 0]), ("class_1", [1, 1])]


def test_what_lies_beside_the_shards_is_no_shard(directory):
    assert _problems(directory, f"{directory}/*") == []
    with pytest.raises(InputError, match="nothing/x matches no file"):
        dataset.find_shards("nothing/x")
    with pytest.raises(InputError, match=r"labels.txt matches 1 names, but no shard: expected"):
        dataset.find_shards(f"{directory}/labels.txt")


def test_part_of_a_split_is_not_compared_with_the_counts(directory):
    assert _problems(directory, f"{directory}/train-00001*") == []


def test_a_missing_shard(directory):
    (directory / "train-00001-of-00002").unlink()
    assert _problems(directory)[:2] == [
        "train-*: 1 of 2 shards are missing (first: train-00001-of-00002)",
        "dataset_info.json: split 'train' has 2 videos in its shards, 4 are listed",
    ]


def test_no_shard_where_all_of_its_videos_failed(directory):
    write_shard(directory / "test-00001-of-00003", [make_video(4, 6, 56, 32, label=1)])
    (directory / "test-00000-of-00001").unlink()
    assert _problems(directory) == []


def test_shards_of_two_conversions(directory):
    write_shard(directory / "train-00000-of-00001", [make_video(8)])
    assert _problems(directory) == ["train-*: shards of several conversions, of 1 and 2 shards"]


def test_labels_that_do_not_agree(directory):
    wrong = [
        make_video(0, 3, label=2),
        dataclasses.replace(make_video(1, 4), label_name="class_1"),
    ]
    write_shard(directory / "train-00000-of-00002", wrong)
    assert _problems(directory)[:2] == [
        "train-00000-of-00002, record 0 (video_0): the label is 2, expected 0 to 1",
        "train-00000-of-00002, record 1 (video_1): the label 0 is named 'class_1', expected"
        " 'class_0'",
    ]
    (directory / "labels.txt").unlink()
    (directory / "dataset_info.json").unlink()
    assert _problems(directory) == [
        "train-00001-of-00002, record 0 (video_2): the label 0 is named 'class_0', expected"
        " 'class_1'",
        "train-00001-of-00002, record 1 (video_3): the label 0 is named 'class_0', expected"
        " 'class_1'",
    ]


def test_class_names_that_do_not_agree(directory):
    (directory / "labels.txt").write_text("class_0\nclass_1\nclass_2\n")
    assert _problems(directory) == ["labels.txt: its 3 classes are not the 2 of dataset_info.json"]


def test_an_id_twice(directory):
    again = dataclasses.replace(make_video(7, 4, label=1), video_id="video_0")
    write_shard(directory / "train-00001-of-00002", [again, make_video(3)])
    assert _problems(directory)[0].startswith("dataset_info.json: split 'train' has 31 frames")
    assert _problems(directory)[-1] == (
        "train-00001-of-00002, record 0 (video_0): the id is also that of record 0 of"
        " train-00000-of-00002"
    )


def test_one_video_in_two_splits(directory):
    # Another video of the same id is no problem: splits may be converted from two directories.
    namesake = dataclasses.replace(make_video(4, 6, 56, 32, label=1), video_id="video_0")
    write_shard(directory / "test-00000-of-00001", [namesake, make_video(1, 4, label=1)])
    assert _problems(directory)[-1] == (
        "test-00000-of-00001, record 1 (video_1): the same video is record 1 of"
        " train-00000-of-00002: in split 'test' and in 'train'"
    )


def test_counts_that_do_not_agree(directory):
    info = json.loads((directory / "dataset_info.json").read_text())
    info["splits"]["train"] |= {"frames": 33, "videos_per_class": {"class_0": 3, "class_1": 2}}
    del info["splits"]["test"]
    (directory / "dataset_info.json").write_text(json.dumps(info))
    assert _problems(directory) == [
        "dataset_info.json: split 'train' has 32 frames in its shards, 33 are listed",
        "dataset_info.json: split 'train' has 1 classes with other counts than listed (first:"
        " 'class_1', 1 videos, listed 2)",
        "dataset_info.json: split 'test' is not listed, but 1 shards are there",
    ]
    (directory / "dataset_info.json").write_text("{")
    assert _problems(directory) == ["dataset_info.json: the file is not as a conversion writes it"]


def test_failures_are_read_whatever_their_columns(directory):
    (directory / "failures.csv").write_text(
        'split,video_id,path,reason\ntrain,a,"/v/a, b.mp4",empty\ntrain,b,/v/b.mp4,cut,7\nval,c\n'
    )
    assert _inspect(directory).failures == [
        {"split": "train", "video_id": "a", "path": "/v/a, b.mp4", "reason": "empty"},
        {"split": "train", "video_id": "b", "path": "/v/b.mp4", "reason": "cut", "more": "7"},
        {"split": "val", "video_id": "c", "path": "", "reason": ""},
    ]


def test_processes_find_the_same(directory):
    paths = dataset.find_shards(str(directory))
    assert dataset.inspect(paths, workers=2) == dataset.inspect(paths, workers=0)


@pytest.mark.parametrize("name", ["dataset_info.json", "labels.txt", "failures.csv"])
def test_what_lies_beside_the_shards_and_cannot_be_read_is_a_problem(directory, name):
    (directory / name).unlink(missing_ok=True)
    (directory / name).mkdir()
    assert any(
        re.fullmatch(rf"{name}: the file cannot be read \(.*directory.*\)", problem)
        for problem in _problems(directory)
    )


def test_what_may_not_be_read_is_a_problem():
    with nobody() as directory:
        write_shard(directory / "train-00000-of-00002", [make_video(0, 3)])
        write_shard(directory / "train-00001-of-00002", [make_video(1, 3)])
        for name in ("train-00001-of-00002", "labels.txt"):
            (directory / name).touch()
            (directory / name).chmod(0)
        assert _problems(directory) == [
            "train-00001-of-00002: the file cannot be read (Permission denied)",
            "labels.txt: the file cannot be read (Permission denied)",
        ]


def test_a_directory_with_brackets_is_found(directory):
    other = directory.parent / "records [v1]"
    directory.rename(other)
    assert _problems(other) == _problems(other, other / "*-of-*") == []
    other.rename(directory)


def test_nearly_equal_videos_of_two_splits_are_noted_but_no_problem(tmp_path, monkeypatch):
    video = make_video(1)
    frames = [
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(simplejpeg.decode_jpeg(frame)[:, ::-1]), 60, "RGB", "420"
        )
        for frame in video.frames
    ]
    mirrored = dataclasses.replace(video, video_id="mirrored", frames=frames)
    write_shard(tmp_path / "train-00000-of-00001", [make_video(0), video])
    write_shard(tmp_path / "test-00000-of-00001", [make_video(2), mirrored])
    found = _inspect(tmp_path)
    assert found.problems == []
    assert found.notes == [
        "1 of 2 videos of split 'test' are nearly equal to videos of 'train' (first: 'mirrored',"
        " like 'video_1', mirrored); cvrl_tf.split_videos keeps such videos in one split."
    ]
    monkeypatch.setattr(dataset.twins, "MAX_VIDEOS", 3)
    assert _inspect(tmp_path).notes == [
        "Splits 'train' and 'test' were not searched for nearly equal videos: they have more than"
        " 3 videos."
    ]
