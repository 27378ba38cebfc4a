import contextlib
import csv
import dataclasses
import hashlib
import io
import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_videos import draw, write_class_folders, write_video

import cvrl_tf
from cvrl_tf import files, lease
from cvrl_tf.conversion import catalogs, frames, sizes, summary
from cvrl_tf.conversion.catalogs import Catalog, Entry
from cvrl_tf.conversion.convert import convert
from cvrl_tf.conversion.frames import Settings
from cvrl_tf.conversion.job import ShardJob
from cvrl_tf.conversion.state import State
from cvrl_tf.conversion.workers import InProcess, Report, WorkerPool
from cvrl_tf.data import records, tfrecords
from cvrl_tf.errors import InputError
from cvrl_tf.inspection import indexes
from cvrl_tf.inspection.shards import InspectionJob


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Entries of seven videos of 4 to 7 frames in two classes, and the class names."""
    root = write_class_folders(tmp_path_factory.mktemp("videos"), {"dive": 3, "swim": 4})
    catalog = catalogs.folder(root)
    return catalog.splits["train"], catalog.classes


@pytest.fixture
def read(monkeypatch):
    """The ids of the videos that are decoded in this process."""
    ids, read_video = [], frames.read_video

    def reading(entry, *arguments):
        ids.append(entry.video_id)
        return read_video(entry, *arguments)

    monkeypatch.setattr(frames, "read_video", reading)
    return ids


def _convert(
    entries,
    output_dir,
    *,
    split="train",
    classes=("dive", "swim"),
    dataset="folder",
    executor=None,
    **options,
):
    """In this process, which takes no time to start, unless `executor` says otherwise."""
    catalog = Catalog(dataset, {split: entries}, classes)
    options = {"num_shards": 3, "max_failures": 1.0} | options
    return convert(catalog, str(output_dir), executor or InProcess(), **options)


def _contents(directory):
    """The bytes of all files by their path below `directory`."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def _names(directory):
    return sorted(path.name for path in directory.iterdir())


def _parsed(directory, pattern="train-*"):
    dataset = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(f"{directory}/{pattern}")))
    return list(dataset.map(records.parse).as_numpy_iterator())


def _failures(directory):
    with open(directory / summary.FAILURES_FILE, newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def _bad(directory):
    """Entries of five files: a text, an empty one, none, and two parts of a video."""
    directory.mkdir(exist_ok=True)
    (directory / "text.mp4").write_text("no video")
    (directory / "empty.mp4").touch()
    noise = list(np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8))
    for name, fraction in ("half.avi", 0.5), ("short.avi", 0.2):
        path = write_video(directory / name, noise, codec="mpeg4")
        with open(path, "rb+") as file:
            file.truncate(int(file.seek(0, io.SEEK_END) * fraction))
    names = ("text.mp4", "empty.mp4", "missing.mp4", "half.avi", "short.avi")
    return [Entry(f"dive/{name}", str(directory / name), 0, "dive") for name in names]


def test_every_video_is_in_one_shard_with_its_label_and_frames(tmp_path, videos):
    entries, classes = videos
    held = _convert(entries, tmp_path)["splits"]["train"]
    names = [f"train-{index:05d}-of-00003" for index in range(3)]
    assert _names(tmp_path) == [
        ".conversion",
        ".index",
        "dataset_info.json",
        "failures.csv",
        "labels.txt",
        *names,
    ]
    found = [InspectionJob(f"{tmp_path}/{name}", 0).run(Report()) for name in names]
    assert indexes.check({shard.path: shard.table for shard in found}) == []
    assert [len(tfrecords.find_records(str(tmp_path / name)).offsets) for name in names] == [
        3,
        2,
        2,
    ]
    assert held == {
        "videos": 7,
        "frames": (4 + 5 + 6) + (4 + 5 + 6 + 7),
        "bytes": sum((tmp_path / name).stat().st_size for name in names),
        "shards": 3,
        "videos_per_class": {"dive": 3, "swim": 4},
        "failures": {},
        "damaged": 0,
    }
    found = {video["id"].decode(): video for video in _parsed(tmp_path)}
    assert sorted(found) == sorted(entry.video_id for entry in entries)
    for video_id, video in found.items():
        class_name, number = video_id.split("/")[1].split("_")
        assert classes[video["label"]] == class_name
        pixels = [np.asarray(Image.open(io.BytesIO(jpeg)), float) for jpeg in video["frames"]]
        assert np.abs(np.stack(pixels) - draw(4 + int(number), 24, 32)).mean() < 5


def test_videos_are_shuffled_and_the_same_in_any_input_order(tmp_path, videos):
    entries, _ = videos
    for name, order in ("a", entries), ("b", entries[::-1]):
        _convert(order, tmp_path / name, num_shards=2)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")
    labels = [video["label"] for video in _parsed(tmp_path / "a")]
    assert labels not in (sorted(labels), sorted(labels, reverse=True))


def test_processes_write_the_bytes_of_one(tmp_path, videos, capsys):
    for workers, executor in ((0, InProcess()), (2, WorkerPool(2))):
        _convert([*videos[0], *_bad(tmp_path / "bad")], tmp_path / str(workers), executor=executor)
        errors = capsys.readouterr().err
        assert re.search(r"converting train: 12/12 videos after .*MB/s=\S+ failures=3\n", errors)
    assert _contents(tmp_path / "0") == _contents(tmp_path / "2")


def test_number_of_shards_comes_from_the_size(tmp_path, videos, monkeypatch, capsys):
    size = _convert(videos[0], tmp_path / "one", num_shards=1)["splits"]["train"]["bytes"]
    assert _convert(videos[0], tmp_path / "a", num_shards=None)["splits"]["train"]["shards"] == 1
    assert "converting train, first a sample for its size: 7/7 videos" in capsys.readouterr().err
    monkeypatch.setattr(sizes, "SHARD_BYTES", size / 3)
    monkeypatch.setattr(sizes, "_SAMPLE", 5)
    first = _convert(videos[0], tmp_path / "b", num_shards=None)
    assert first["splits"]["train"]["shards"] == 3
    assert _convert(videos[0], tmp_path / "c", num_shards=None) == first
    monkeypatch.setattr(sizes, "SHARD_BYTES", 1)
    many = _convert([*videos[0], *_bad(tmp_path / "bad")], tmp_path / "d", num_shards=None)
    assert len(list((tmp_path / "d").glob("train-*-of-00012"))) == 9  # three hold no video
    assert many["splits"]["train"]["shards"] == 9


def test_unlabelled_videos_have_no_class(tmp_path, videos):
    entries = [Entry(entry.video_id, entry.path, None, None, 5) for entry in videos[0]]
    info = _convert(entries, tmp_path, classes=())
    assert info["classes"] == []
    assert info["splits"]["train"]["videos_per_class"] == {}
    assert [video["label"] for video in _parsed(tmp_path)] == [-1] * 7
    assert summary.LABELS_FILE not in _names(tmp_path)
    record = next(iter(tf.data.TFRecordDataset(str(tmp_path / "train-00000-of-00003")))).numpy()
    assert b"clip/label" not in record
    context = tf.train.SequenceExample.FromString(record).context.feature
    assert context["clip/start/timestamp"].int64_list.value == [5]


def test_bad_videos_are_left_out_and_listed(tmp_path, videos):
    bad = tmp_path / "bad"
    held = _convert([*videos[0], *_bad(bad)], tmp_path / "out")["splits"]["train"]
    damage = "damaged: damaged frames: 1, damaged packets: 1"
    assert _failures(tmp_path / "out") == [
        ("train", "dive/empty.mp4", f"{bad}/empty.mp4", "empty file", "0", "no"),
        ("train", "dive/half.avi", f"{bad}/half.avi", damage, "10", "yes"),
        ("train", "dive/missing.mp4", f"{bad}/missing.mp4", "missing", "0", "no"),
        ("train", "dive/short.avi", f"{bad}/short.avi", damage, "3", "yes"),
        (
            "train",
            "dive/text.mp4",
            f"{bad}/text.mp4",
            "not a video that can be opened: Invalid data found when processing input",
            "0",
            "no",
        ),
    ]
    assert held["failures"] == {
        "empty file": 1,
        "missing": 1,
        "not a video that can be opened": 1,
    }
    assert (held["videos"], held["damaged"]) == (9, 2)
    assert held["videos_per_class"] == {"dive": 5, "swim": 4}
    assert len(_parsed(tmp_path / "out")) == 9


def test_min_frames_leaves_out_what_is_too_short(tmp_path, videos):
    bad = tmp_path / "bad"
    options = {"settings": Settings(min_frames=5)}
    held = _convert([*videos[0], *_bad(bad)], tmp_path / "out", **options)["splits"]["train"]
    assert held["failures"]["fewer frames than min_frames=5"] == 3
    assert (held["videos"], held["damaged"]) == (6, 1)
    short = next(row for row in _failures(tmp_path / "out") if row[1] == "dive/short.avi")
    assert short[3] == ("fewer frames than min_frames=5: damaged frames: 1, damaged packets: 1")
    assert short[4:] == ("3", "no")


def test_a_video_that_is_too_long_says_what_to_lower(tmp_path, videos, monkeypatch):
    whole, _ = frames.read_video(videos[0][-1])
    monkeypatch.setattr(frames, "MAX_RECORD_BYTES", sum(map(len, whole.frames)) - 1)
    _convert(videos[0], tmp_path)
    (row,) = [row for row in _failures(tmp_path) if row[1] == whole.video_id]
    assert row[3] == (
        "too long for one record of 0 MB: full after 0.6 s: lower max_seconds, fps or short_side to"
        " keep it"
    )


def test_an_id_with_a_line_break_is_listed(tmp_path, videos):
    entries = [*videos[0], dataclasses.replace(videos[0][0], video_id="dive/two\nlines")]
    _convert(entries, tmp_path)
    assert [row[1:4:2] for row in _failures(tmp_path)] == [
        ("dive/two\nlines", "a line break in its name")
    ]
    assert len(_parsed(tmp_path)) == 7


def test_whatever_a_video_brings_about_does_not_end_the_run(tmp_path, videos, monkeypatch):
    read_video = frames.read_video

    def failing(entry, *arguments):
        if entry.video_id == "swim/swim_1":
            raise MemoryError("too much")
        return read_video(entry, *arguments)

    monkeypatch.setattr(frames, "read_video", failing)
    held = _convert(videos[0], tmp_path)["splits"]["train"]
    assert held["failures"] == {"unexpected error": 1}
    assert _failures(tmp_path)[0][3] == "unexpected error: MemoryError: too much"


@pytest.mark.parametrize(
    ("max_failures", "allowed"),
    [(3, True), (2, False), (0.25, True), (0.24, False), (0, False), (1.0, True)],
)
def test_too_many_failures_are_an_error_at_the_end(tmp_path, videos, max_failures, allowed):
    entries, output = [*videos[0], *_bad(tmp_path / "bad")], tmp_path / "out"
    options = {"max_failures": max_failures}
    if allowed:
        _convert(entries, output, **options)
    else:
        message = (
            r"3 of the 12 videos of split 'train' could not be converted \(empty file: 1, missing:"
            rf" 1, not a .*: 1\), more than max_failures={max_failures}: {output}/failures.csv"
        )
        for _ in range(2):  # and it stays one when all is there
            with pytest.raises(InputError, match=message):
                _convert(entries, output, **options)
        assert _convert(entries, output)["splits"]["train"]["videos"] == 9
    assert len(_failures(output)) == 5
    assert len(_parsed(output)) == 9


def test_no_video_at_all_is_an_error(tmp_path):
    entries = _bad(tmp_path / "bad")[:3]
    with pytest.raises(InputError) as caught:
        _convert(entries, tmp_path / "out", max_failures=1.0)
    assert str(caught.value) == (
        "None of the 3 videos of split 'train' could be converted (empty file: 1, missing: 1, not a"
        f" video that can be opened: 1): {tmp_path}/out/failures.csv lists them. Fix what it names"
        " and convert into another output_dir."
    )
    assert not list((tmp_path / "out").glob("train-*"))
    assert len(_failures(tmp_path / "out")) == 3


@pytest.mark.slow
def test_a_hanging_and_a_crashing_video_are_listed(tmp_path, videos):
    """The worker that reads one file is stopped; workers that read the other are killed."""
    entries, signals = list(videos[0]), {}
    for name, number in ("stuck", signal.SIGSTOP), ("shot", signal.SIGSEGV):
        path = write_video(tmp_path / f"{name}.mp4", draw(60, 24, 32) * 100)
        entries.append(Entry(name, path, 0, "dive"))
        signals[path] = number
    done = threading.Event()
    thread = threading.Thread(target=_signal_readers, args=(signals, done))
    thread.start()
    try:
        info = _convert(entries, tmp_path / "out", executor=WorkerPool(2, timeout=1.5))
    finally:
        done.set()
        thread.join()
    assert info["splits"]["train"]["videos"] == 7
    shot, stuck = _failures(tmp_path / "out")
    crash = "the decoder crashed (signal 11)"
    assert shot == ("train", "shot", str(tmp_path / "shot.mp4"), crash, "0", "no")
    hang = "timeout: no frame in 1.5 s"
    assert stuck == ("train", "stuck", str(tmp_path / "stuck.mp4"), hang, "0", "no")
    # The result is that of two files that cannot be read.
    found = sorted(video["id"].decode() for video in _parsed(tmp_path / "out"))
    assert found == [entry.video_id for entry in videos[0]]
    assert not list((tmp_path / "out" / ".conversion").glob("*incidents*"))


def _signal_readers(signals, done):
    """Sends each child process that has one of these files open the signal for it, once."""
    seen = set()
    while not done.wait(0.001):
        for child in multiprocessing.active_children():
            with contextlib.suppress(OSError):
                for number in os.listdir(f"/proc/{child.pid}/fd"):
                    path = os.readlink(f"/proc/{child.pid}/fd/{number}")
                    if path in signals and child.pid not in seen:
                        seen.add(child.pid)
                        os.kill(child.pid, signals[path])


def test_incidents_outlive_the_run(tmp_path, videos, read):
    first = ShardJob(str(tmp_path), "train-00000-of-00001", videos[0], Settings(), {})
    (tmp_path / ".conversion").mkdir()
    held_job = first.after(2, "the decoder crashed (signal 11)", False)
    assert not held_job.incidents[videos[0][2].video_id].final
    again = ShardJob(
        str(tmp_path),
        "train-00000-of-00001",
        videos[0],
        Settings(),
        State(str(tmp_path)).incidents("train-00000-of-00001"),
    )
    assert again == held_job
    again.after(2, "the decoder crashed (signal 6)", False)
    held = _convert(videos[0], tmp_path, num_shards=1)["splits"]["train"]
    assert held["failures"] == {"the decoder crashed (signal 6)": 1}
    assert videos[0][2].video_id not in read
    assert _names(tmp_path / ".conversion") == ["lock", "train-00000-of-00001.json", "train.json"]


def _stop_at(monkeypatch, number):
    """Has the run interrupted at its `number`th video."""
    read, count = frames.read_video, iter(range(100))

    def interrupted(*arguments):
        if next(count) == number:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(frames, "read_video", interrupted)


def test_the_same_call_goes_on_and_ends_in_the_same_bytes(tmp_path, videos, monkeypatch, read):
    entries = [*videos[0], *_bad(tmp_path / "bad")]
    _convert(entries, tmp_path / "whole")
    output = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _stop_at(patch, 5)
        _convert(entries, output)
    assert _names(output) == [".conversion", "train-00000-of-00003"]
    finished = output / "train-00000-of-00003"
    before = finished.stat()
    # Files that a killed run leaves.
    for name in (".conversion/train-00001-of-00003.shard.tmp-1", "dataset_info.json.tmp-1"):
        (output / name).write_bytes(b"half")
    (output / "train-00001-of-00003").write_bytes(b"named, but without a report")
    del read[:]
    _convert(entries, output)
    assert len(read) == 8  # not the four of the finished shard
    assert finished.stat().st_mtime_ns == before.st_mtime_ns
    assert _contents(output) == _contents(tmp_path / "whole")


def test_a_complete_directory_is_left_alone(tmp_path, videos, read, capsys):
    info = _convert(videos[0], tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    del read[:]
    capsys.readouterr()
    assert _convert(videos[0], tmp_path, num_shards=None) == info
    assert read == []
    errors = capsys.readouterr().err
    assert errors == f"{tmp_path} holds all 3 shards of split 'train': nothing to do\n"
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    lock = tmp_path / ".conversion" / "lock"
    del before[lock], after[lock]
    assert after == before


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_shard_that_is_gone_or_cut_is_made_again(tmp_path, videos, read, harm):
    _convert(videos[0], tmp_path)
    before = _contents(tmp_path)
    harm(tmp_path / "train-00001-of-00003")
    del read[:]
    _convert(videos[0], tmp_path)
    assert len(read) == 2
    assert _contents(tmp_path) == before


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": Settings(quality=50)}, "quality is 90 there and 50 here"),
        (
            {"settings": Settings(short_side=20, fps=5.0)},
            "fps is None there and 5.0 here; short_side is 256 there and 20 here",
        ),
        ({"num_shards": 4}, "number of shards is 3 there and 4 here"),
        ({"dataset": "ucf101"}, "dataset is 'folder' there and 'ucf101' here"),
        (
            {"classes": ["dive", "jump"]},
            r"classes is \(2\) dive, swim there and \(2\) dive, jump here",
        ),
        (
            {"entries": slice(1, None)},
            "number of videos is 7 there and 6 here; video ids differ; paths differ; labels differ",
        ),
    ],
)
def test_another_conversion_is_refused(
    tmp_path, videos, monkeypatch, read, complete, change, message
):
    if complete:
        _convert(videos[0], tmp_path)
    else:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            _stop_at(patch, 4)
            _convert(videos[0], tmp_path)
    before = _contents(tmp_path)
    del read[:]
    options = {"entries": slice(None), **change}
    entries = videos[0][options.pop("entries")]
    message = f"{tmp_path} holds split 'train' of another conversion: {message}. Give what"
    with pytest.raises(InputError, match=message):
        _convert(entries, tmp_path, **options)
    assert read == []
    assert _contents(tmp_path) == before


def test_another_version_is_told(tmp_path, videos, monkeypatch):
    _convert(videos[0], tmp_path)
    monkeypatch.setattr(cvrl_tf, "__version__", "9.9")
    with pytest.raises(InputError, match="version is '0.* there and '9.9' here"):
        _convert(videos[0], tmp_path)


def test_labels_and_info_tell_what_was_written(tmp_path, videos):
    entries, classes = videos
    settings = Settings(short_side=20, quality=80, fps=5.0, max_seconds=0.5, min_frames=2)
    catalog = Catalog("pool", {"train": entries[:5], "test": entries[5:]}, classes)
    info = convert(catalog, str(tmp_path / "new" / "out"), InProcess(), settings=settings)
    output = tmp_path / "new" / "out"
    assert (output / summary.LABELS_FILE).read_text() == "dive\nswim\n"
    assert files.read_json(str(output / summary.INFO_FILE)) == info
    assert (output / summary.FAILURES_FILE).read_text() == (
        "split,video_id,path,reason,frames_recovered,kept\n"
    )
    sizes = {
        split: (output / f"{split}-00000-of-00001").stat().st_size for split in ("train", "test")
    }
    assert info == {
        "version": cvrl_tf.__version__,
        "dataset": "pool",
        "parameters": {
            "short_side": 20,
            "quality": 80,
            "fps": 5.0,
            "max_seconds": 0.5,
            "min_frames": 2,
        },
        "classes": ["dive", "swim"],
        "splits": {
            "test": {
                "videos": 2,
                "frames": 3 + 3,
                "bytes": sizes["test"],
                "shards": 1,
                "videos_per_class": {"swim": 2},
                "failures": {},
                "damaged": 0,
            },
            "train": {
                "videos": 5,
                "frames": 2 + 3 + 3 + 2 + 3,
                "bytes": sizes["train"],
                "shards": 1,
                "videos_per_class": {"dive": 3, "swim": 2},
                "failures": {},
                "damaged": 0,
            },
        },
    }
    frame = _parsed(output, "test-*")[0]["frames"][0]
    assert tf.io.extract_jpeg_shape(frame).numpy().tolist() == [20, 27, 3]


def test_a_second_split_joins_the_first(tmp_path, videos):
    entries, _ = videos
    for split, part in ("train", entries[:4]), ("test", [*entries[4:], *_bad(tmp_path / "bad")]):
        info = _convert(part, tmp_path / "out", split=split)
    assert {split: held["videos"] for split, held in info["splits"].items()} == {
        "train": 4,
        "test": 5,
    }
    assert {row[0] for row in _failures(tmp_path / "out")} == {"test"}
    splits = {"test": [*entries[4:], *_bad(tmp_path / "bad")], "train": entries[:4]}
    catalog = Catalog("folder", splits, ["dive", "swim"])
    convert(catalog, str(tmp_path / "at once"), InProcess(), num_shards=3, max_failures=1.0)
    assert _contents(tmp_path / "out") == _contents(tmp_path / "at once")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["dive", "jump"]}, r"classes is \(2\) dive, swim there and \(2\) dive, jump"),
        ({"settings": Settings(quality=50)}, r"quality is 90 there and 50 here"),
        ({"dataset": "ucf101"}, r"dataset is 'folder' there and 'ucf101' here"),
    ],
)
def test_a_second_split_must_go_with_the_first(tmp_path, videos, read, change, message):
    entries, _ = videos
    _convert(entries[:4], tmp_path)
    before = _contents(tmp_path)
    del read[:]
    with pytest.raises(InputError, match=f"holds split 'train' of another conversion: {message}"):
        _convert(entries[4:], tmp_path, split="test", **change)
    assert read == []
    assert _contents(tmp_path) == before


def test_finished_splits_are_listed_when_a_later_one_stops(tmp_path, videos, monkeypatch):
    _stop_at(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        splits = {"train": videos[0][:4], "test": videos[0][4:]}
        convert(Catalog("folder", splits, videos[1]), str(tmp_path), InProcess(), num_shards=1)
    assert list(files.read_json(str(tmp_path / summary.INFO_FILE))["splits"]) == ["train"]


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        (
            {"test": slice(0, 1), "train": slice(1, 7)},
            {},
            r"already holds train-00003-of-00010, which this tool did not write there",
        ),
        ({"val": slice(0, 3)}, {"num_shards": 4}, r"3 videos for 4 shards of split 'val'"),
        ({"val": slice(0, 0)}, {}, r"0 videos for 1 shards of split 'val'"),
        ({"a/b": slice(0, 3)}, {}, r"split 'a/b': expected letters, digits and underscores"),
    ],
)
def test_refusals_come_before_any_work(tmp_path, videos, read, splits, options, message):
    (tmp_path / "train-00003-of-00010").touch()
    splits = {name: videos[0][part] for name, part in splits.items()}
    with pytest.raises(InputError, match=message):
        convert(Catalog("folder", splits, videos[1]), str(tmp_path), InProcess(), **options)
    assert read == []
    assert set(_names(tmp_path)) <= {"train-00003-of-00010", ".conversion"}


def test_a_video_listed_twice_is_refused(tmp_path, videos, read):
    with pytest.raises(InputError, match=r"2 videos more than once \(first: dive/dive_0\)"):
        _convert(videos[0][:2] * 2, tmp_path)
    assert read == []


def test_files_of_another_make_are_refused(tmp_path, videos, read):
    (tmp_path / summary.INFO_FILE).write_text("{}")
    with pytest.raises(InputError, match="already holds dataset_info.json, which this tool did"):
        _convert(videos[0], tmp_path)
    (tmp_path / ".conversion" / "train.json").write_text("{}")
    with pytest.raises(InputError, match=r"train.json is not as this version writes it"):
        _convert(videos[0], tmp_path)
    assert read == []


def test_two_runs_do_not_meet(tmp_path, videos, read):
    state = State(str(tmp_path))
    with (
        state.locked(),
        pytest.raises(InputError, match=rf"Another process \({os.getpid()} on .*\) is converting"),
    ):
        _convert(videos[0], tmp_path)
    assert read == []
    _convert(videos[0], tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path, videos, read):
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "out"
    with pytest.raises(InputError, match=f"Cannot write to output_dir={output}"):
        _convert(videos[0], output)
    assert read == []


def test_a_full_disk_leaves_finished_shards_and_goes_on_later(tmp_path, videos):
    """Files may not pass 40 kB: the first shard is small, the second is not."""
    large = []
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 255, (20, 48, 64, 3), np.uint8)
        path = write_video(tmp_path / f"noise_{index}.mp4", list(noise))
        large.append(Entry(f"noise_{index}", path, 0, "dive"))
    # Sorted by hash: large and small files are in different shards.
    entries = sorted(
        [*videos[0][:4], *large],
        key=lambda entry: hashlib.sha256(entry.video_id.encode()).digest(),
    )
    small = {index % 8 for index, entry in enumerate(entries) if "noise" not in entry.video_id}
    _convert(entries, tmp_path / "whole", num_shards=8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        for workers, executor in ((0, InProcess()), (1, WorkerPool(1))):
            output = tmp_path / f"out{workers}"
            message = rf"^Cannot write to output_dir={output} \(.*File too large\): check .* kept.$"
            with pytest.raises(InputError, match=message):
                _convert(entries, output, num_shards=8, executor=executor)
            left = _names(output)
            assert all(int(name[6:11]) in small for name in left if name.startswith("train"))
            assert not list(output.rglob("*.tmp-*"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    _convert(entries, tmp_path / "out1", num_shards=8)
    assert _contents(tmp_path / "out1") == _contents(tmp_path / "whole")


@pytest.mark.slow
def test_killed_at_any_moment_the_result_is_the_same(tmp_path):
    """SIGKILL to all processes of a run, and again to the run that resumes."""
    root = str(tmp_path / "videos")
    (tmp_path / "videos" / "dive").mkdir(parents=True)
    for index in range(13):  # each takes some tenths of a second
        pixels = draw(10, 96, 128) * 40
        write_video(tmp_path / "videos" / "dive" / f"{index}.mp4", pixels)
    (tmp_path / "videos" / "dive" / "empty.mp4").touch()
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import sys
            from cvrl_tf.conversion import catalogs, convert, workers
            if __name__ == "__main__":
                catalog = catalogs.folder({root!r})
                convert.convert(catalog, sys.argv[1], workers.WorkerPool(2), num_shards=7)
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": ":".join([os.getcwd(), *sys.path])}

    def start(output):
        return subprocess.Popen(
            [sys.executable, program, output],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    catalog = catalogs.folder(root)
    _convert(catalog.splits["train"], tmp_path / "whole", classes=catalog.classes, num_shards=7)
    output = tmp_path / "out"
    draws = random.Random(0)
    finished = {}
    for _ in range(5):
        run = start(output)
        # When this many shards are finished, and a little later.
        wanted = min(len(finished) + draws.randrange(2), 5)
        while len(list(output.glob(".conversion/train-*.json"))) < wanted or not output.exists():
            assert run.poll() is None
            time.sleep(0.001)
        time.sleep(draws.uniform(0, 0.2))
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        for path, changed in finished.items():
            assert path.stat().st_mtime_ns == changed, path
        finished = {
            output / report.stem: (output / report.stem).stat().st_mtime_ns
            for report in output.glob(".conversion/train-*-of-00007.json")
        }
    run = start(output)
    _, errors = run.communicate()
    assert run.returncode == 0, errors
    assert _contents(output) == _contents(tmp_path / "whole")
    for path, changed in finished.items():
        assert path.stat().st_mtime_ns == changed, path


def _remote_contents(directory):
    """The bytes of the files below a remote directory by their path in it."""
    return {
        f"{folder.removeprefix(directory).strip('/')}/{name}".strip("/"): tf.io.gfile.GFile(
            f"{folder}/{name}", "rb"
        ).read()
        for folder, _, names in tf.io.gfile.walk(directory)
        for name in names
    }


class _During(InProcess):
    """Calls a function before the first job."""

    def __init__(self, call):
        super().__init__()
        self._call = call

    def run(self, jobs, on_progress):
        self._call()
        super().run(jobs, on_progress)


def test_two_conversions_cannot_mix_in_a_bucket(videos, tmp_path, remote_directory, monkeypatch):
    """The second is refused; a lease that a killed one has left is respected until its expiry."""
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    entries, _ = videos
    expected = _convert(entries, tmp_path)

    def second():
        with pytest.raises(
            InputError,
            match=r"Another process \(\d+ on .*\) is converting into output_dir=ram://.*: it holds"
            r" the lease .*/.conversion/lease until 20..-..-.. ..:..:.. UTC and renews it\.",
        ):
            _convert(entries[1:], remote_directory)

    assert _convert(entries, remote_directory, executor=_During(second)) == expected
    local = _contents(tmp_path)
    assert _remote_contents(remote_directory) == local

    other = f"{remote_directory}/left"
    tf.io.gfile.makedirs(f"{other}/.conversion")
    killed = {"holder": "7 on other", "token": "x", "expires": time.time() + 60, "until": ""}
    files.write_json(f"{other}/.conversion/lease", killed)
    with pytest.raises(InputError, match="7 on other"):
        _convert(entries, other)
    files.write_json(f"{other}/.conversion/lease", killed | {"expires": time.time() - 1})
    _convert(entries, other)
    assert _remote_contents(other) == local


def test_a_conversion_that_lost_its_lease_ends_and_is_resumed(
    videos, tmp_path, remote_directory, monkeypatch
):
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(lease, "SECONDS", 0.5)
    entries, _ = videos
    path = f"{remote_directory}/.conversion/lease"

    def lose():
        there = files.read_json(path)
        files.write_json(path, there | {"token": "another", "expires": time.time() + 0.5})
        time.sleep(0.6)

    with pytest.raises(InputError, match="This process lost its lease ram://.*: it could not be"):
        _convert(entries, remote_directory, executor=_During(lose))
    assert _convert(entries, remote_directory) == _convert(entries, tmp_path)
    assert _remote_contents(remote_directory) == _contents(tmp_path)
