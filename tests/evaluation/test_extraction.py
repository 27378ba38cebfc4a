import contextlib
import csv
import multiprocessing
import os
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard
from small_videos import draw, write_video
from tiny_backbone import tiny_backbone

from cvrl_tf.conversion import catalogs, frames
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.workers import InProcess, WorkerPool
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import extraction
from cvrl_tf.evaluation.extraction import Records
from cvrl_tf.evaluation.feature_store import open_store
from cvrl_tf.evaluation.views import EvaluationViews, sample_views

CLIP = ClipSpec(frames=4, stride=2, size=32)


def _extract(backbone, videos, views, output):
    """The features of `videos`: records, or files and an executor for them."""
    chosen = extraction.VideoFiles(*videos) if isinstance(videos, tuple) else videos
    write = extraction.FEATURE_WRITERS[os.path.splitext(output)[1]]
    return extraction.extract(extraction.features_of(backbone, views), chosen, output, write)


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """Three intact videos, a truncated one and a file that is not a video, sorted by id."""
    directory = tmp_path_factory.mktemp("videos")
    for index, name in enumerate("ace"):
        write_video(directory / f"{name}.mp4", draw(12 + 4 * index, 40, 56))
    (directory / "b.mp4").write_bytes(b"no video")
    whole = write_video(directory / "d.mp4", draw(30, 40, 56), index_first=True)
    with open(whole, "rb+") as file:
        file.truncate(file.seek(0, 2) // 2)
    (split,) = catalogs.files(f"{directory}/*.mp4").splits.values()
    assert [entry.video_id for entry in split] == list("abcde")
    return split


def test_files_give_the_features_of_their_records(backbone, entries, tmp_path):
    output = tmp_path / "features.npz"
    views = EvaluationViews(CLIP, 2, 3)
    stored = _extract(backbone, (entries, InProcess), views, str(output))
    assert [(failure.video_id, failure.kept) for failure in stored.failures] == [
        ("b", False),
        ("d", True),
    ]
    with open(f"{output}.failures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["video_id"], row["kept"]) for row in rows] == [("b", "no"), ("d", "yes")]
    assert rows[0]["reason"].startswith("not a video that can be opened: ")
    assert [row["path"] for row in rows] == [entries[1].path, entries[3].path]
    assert rows[0]["frames_recovered"] == "0" < rows[1]["frames_recovered"] and rows[1]["reason"]
    found = np.load(output)
    assert found["ids"].tolist() == list("acde") and found["labels"].tolist() == [-1] * 4
    assert found["features"].shape == (4, 6, 16) and found["features"].dtype == np.float32
    videos = [frames.read_video(entry)[0] for entry in entries if entry.video_id != "b"]
    source = Source("x", [write_shard(tmp_path / "shard", videos)]).indexed()
    again = tmp_path / "again.npz"
    assert _extract(backbone, Records(source), views, str(again)).ids == list("acde")
    np.testing.assert_array_equal(np.load(again)["features"], found["features"])
    views = sample_views(tf.constant(list(videos[1].frames)), EvaluationViews(CLIP, 2, 3))
    np.testing.assert_allclose(
        found["features"][1], backbone(views, training=False), rtol=1e-4, atol=1e-5
    )
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("kind", ["files", "records"])
def test_it_goes_on_where_it_was_killed(backbone, entries, shards, tmp_path, monkeypatch, kind):
    def extract(name):
        output = tmp_path / name
        videos = entries, InProcess
        if kind == "records":
            videos = Records(find_source(shards, "data").indexed())
        _extract(backbone, videos, EvaluationViews(CLIP, 1), str(output))
        return np.load(output)

    whole = extract("whole.npz")
    append, done = extraction.FeatureStore.append, []

    def counted(self, *arguments):
        if len(done) == 2:
            raise SystemExit
        append(self, *arguments)
        done.append(arguments[2])

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(extraction.FeatureStore, "append", counted)
        extract("half.npz")
    assert done == whole["ids"][:2].tolist() and not (tmp_path / "half.npz").exists()
    monkeypatch.setattr(
        extraction.FeatureStore,
        "append",
        lambda self, *arguments: (done.append(arguments[2]), append(self, *arguments)),
    )
    half = extract("half.npz")
    assert done == whole["ids"].tolist()
    for name in ("ids", "labels"):
        np.testing.assert_array_equal(half[name], whole[name])
    np.testing.assert_allclose(half["features"], whole["features"], rtol=1e-5)


def test_tfrecords(backbone, tmp_path):
    videos = [make_video(0, label=3), make_video(1, label=None)]
    source = Records(Source("x", [write_shard(tmp_path / "shard", videos)]).indexed())
    for name in ("a.npz", "a.tfrecord"):
        _extract(backbone, source, EvaluationViews(CLIP, 2), str(tmp_path / name))
    expected = np.load(tmp_path / "a.npz")["features"]
    for number, serialized in enumerate(tf.data.TFRecordDataset(str(tmp_path / "a.tfrecord"))):
        features = tf.train.Example.FromString(serialized.numpy()).features.feature
        assert features["features/shape"].int64_list.value == [2, 16]
        np.testing.assert_array_equal(
            features["features"].float_list.value, expected[number].ravel()
        )
        assert features["example/id"].bytes_list.value == [f"video_{number}".encode()]
        assert features["clip/label/index"].int64_list.value == ([3], [])[number]


def test_what_cannot_be_written_is_named(backbone, entries, tmp_path):
    there = tmp_path / "there.npz"
    there.touch()
    for output, message in [
        ("features.csv", "ends in .npz or .tfrecord"),
        ("gs://bucket/features.npz", "is remote"),
        (str(there), "exists"),
    ]:
        with pytest.raises(InputError, match=message):
            extraction.check_output(output, list(extraction.FEATURE_WRITERS))
    output = str(tmp_path / "bad.npz")
    with pytest.raises(InputError, match=r"None of the 1 videos .*bad\.npz\.failures\.csv has"):
        _extract(backbone, (entries[1:2], InProcess), EvaluationViews(CLIP, 1), output)
    # Other files beside it belong to something else.
    with open_store(f"{output}.partial", {"dtype": "float32", "data": "00"}, (1, 16)):
        pass
    with pytest.raises(
        InputError, match=r"bad\.npz\.partial holds unfinished values with data=00 \(now "
    ):
        _extract(backbone, (entries[:1], InProcess), EvaluationViews(CLIP, 1), output)


def _reasons(output):
    with open(f"{output}.failures.csv", newline="") as file:
        return {row["video_id"]: row["reason"] for row in csv.DictReader(file)}


def test_whatever_a_file_brings_about_is_a_listed_failure(backbone, entries, tmp_path, monkeypatch):
    read = frames.read_needed_frames

    def failing(entry, *arguments):
        if entry.video_id == "c":
            raise IndexError("pop from an empty list")
        return read(entry, *arguments)

    monkeypatch.setattr(frames, "read_needed_frames", failing)
    output = str(tmp_path / "features.npz")
    views = EvaluationViews(CLIP, 1)
    stored = _extract(backbone, (entries, InProcess), views, output)
    assert stored.ids == list("ade")
    assert _reasons(output)["c"] == "unexpected error: IndexError: pop from an empty list"


def test_what_no_file_is_at_fault_for_ends_the_extraction(backbone, entries, tmp_path, monkeypatch):
    def failing(entry, *arguments):
        raise InputError("s3:// needs tensorflow-io.")

    monkeypatch.setattr(frames, "read_needed_frames", failing)
    with pytest.raises(InputError, match=r"^s3:// needs tensorflow-io\.$"):
        output = str(tmp_path / "a.npz")
        _extract(backbone, (entries, InProcess), EvaluationViews(CLIP, 1), output)


def test_a_video_too_long_for_a_record_is_extracted(backbone, tmp_path, monkeypatch):
    path = write_video(tmp_path / "long.mp4", draw(300, 40, 56))
    entry, views = Entry("long", path, None, None), EvaluationViews(CLIP, 2)
    whole, again = str(tmp_path / "whole.npz"), str(tmp_path / "again.npz")
    _extract(backbone, ([entry], InProcess), views, whole)
    video, _ = frames.read_video(entry)
    size = sum(len(video.frames[number]) for number in views.frame_numbers(300))
    monkeypatch.setattr(frames, "MAX_RECORD_BYTES", size)
    with pytest.raises(frames.VideoTooLongError):
        frames.read_video(entry)
    _extract(backbone, ([entry], InProcess), views, again)
    np.testing.assert_array_equal(np.load(again)["features"], np.load(whole)["features"])
    expected = backbone(sample_views(tf.constant(list(video.frames)), views), training=False)
    np.testing.assert_allclose(np.load(whole)["features"][0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_decoder_that_hangs_and_one_that_crashes_are_listed(backbone, entries, tmp_path):
    """The process that reads one file is stopped; those that read the other are shot."""
    sound, signals = [entries[0], entries[2]], {}
    bad = []
    for name, number in ("b_stuck", signal.SIGSTOP), ("d_shot", signal.SIGSEGV):
        path = write_video(tmp_path / f"{name}.mp4", draw(60, 24, 32) * 100)
        bad.append(Entry(name, path, None, None))
        signals[path] = number
    output, done = str(tmp_path / "features.npz"), threading.Event()
    thread = threading.Thread(target=_signal_readers, args=(signals, done))
    thread.start()
    try:
        videos = [sound[0], bad[0], sound[1], bad[1]], lambda: WorkerPool(2, timeout=1.5)
        stored = _extract(backbone, videos, EvaluationViews(CLIP, 1), output)
    finally:
        done.set()
        thread.join()
    assert stored.ids == ["a", "c"]
    assert _reasons(output) == {
        "b_stuck": "timeout: no frame in 1.5 s",
        "d_shot": "the decoder crashed (signal 11)",
    }
    alone = tmp_path / "alone.npz"
    _extract(backbone, (sound, InProcess), EvaluationViews(CLIP, 1), str(alone))
    np.testing.assert_allclose(
        np.load(output)["features"], np.load(alone)["features"], rtol=1e-4, atol=1e-5
    )


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
