import io
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_videos import draw, write_class_folders

import cvrl_tf
from cvrl_tf import files
from cvrl_tf.conversion import catalogs, shards
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.shards import convert, write_shards
from cvrl_tf.data import records
from cvrl_tf.errors import InputError


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Entries of seven videos of 4 to 7 frames in two classes, and the class names."""
    root = write_class_folders(tmp_path_factory.mktemp("videos"), {"dive": 3, "swim": 4})
    catalog = catalogs.folder(root)
    return catalog.splits["train"], catalog.classes


@pytest.fixture
def no_decoding(monkeypatch):
    def fail(*unused):
        raise AssertionError("decoded a video before the refusal")

    monkeypatch.setattr(shards, "read_video", fail)


def _contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def _parsed(directory, pattern):
    dataset = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(f"{directory}/{pattern}")))
    return list(dataset.map(records.parse).as_numpy_iterator())


def _unreadable(directory):
    path = directory / "text.mp4"
    path.write_text("no video")
    return Entry("dive/text", str(path), 0, "dive")


def test_every_video_is_in_one_shard_with_its_label_and_frames(tmp_path, videos):
    entries, classes = videos
    statistics = write_shards(entries, str(tmp_path), "train", num_shards=3, workers=1)
    names = [f"train-{index:05d}-of-00003" for index in range(3)]
    assert sorted(os.listdir(tmp_path)) == names
    assert [records.count_records(str(tmp_path / name)) for name in names] == [3, 2, 2]
    assert statistics.videos == 7
    assert statistics.shards == 3
    assert statistics.frames == (4 + 5 + 6) + (4 + 5 + 6 + 7)
    assert statistics.bytes == sum((tmp_path / name).stat().st_size for name in names)
    assert statistics.videos_per_class == {"dive": 3, "swim": 4}

    found = {video["id"].decode(): video for video in _parsed(tmp_path, "train-*")}
    assert sorted(found) == sorted(entry.video_id for entry in entries)
    for video_id, video in found.items():
        class_name, number = video_id.split("/")[1].split("_")
        assert classes[video["label"]] == class_name
        frames = [np.asarray(Image.open(io.BytesIO(jpeg)), float) for jpeg in video["frames"]]
        assert np.abs(np.stack(frames) - draw(4 + int(number), 24, 32)).mean() < 5


def test_videos_are_shuffled_and_the_same_in_any_input_order(tmp_path, videos):
    entries, _ = videos
    for name, order in ("a", entries), ("b", entries[::-1]):
        (tmp_path / name).mkdir()
        write_shards(order, str(tmp_path / name), "train", num_shards=2, workers=1)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")
    labels = [video["label"] for video in _parsed(tmp_path / "a", "train-*")]
    assert labels not in (sorted(labels), sorted(labels, reverse=True))


def test_two_workers_write_the_bytes_of_one(tmp_path, videos, capsys):
    entries, _ = videos
    statistics = []
    for workers in (1, 2):
        directory = tmp_path / str(workers)
        directory.mkdir()
        statistics.append(write_shards(entries, str(directory), "train", 3, workers=workers))
        assert "converting train: 7/7 videos" in capsys.readouterr().err
    assert statistics[0] == statistics[1]
    assert _contents(tmp_path / "1") == _contents(tmp_path / "2")


def test_number_of_shards_comes_from_the_number_of_videos(tmp_path, videos, monkeypatch):
    monkeypatch.setattr(shards, "VIDEOS_PER_SHARD", 3)
    assert write_shards(videos[0], str(tmp_path), "val", workers=1).shards == 3
    assert len(list(tmp_path.glob("val-*-of-00003"))) == 3


def test_unlabelled_videos_have_no_class(tmp_path, videos):
    entry = Entry("only", videos[0][0].path, None, None)
    assert write_shards([entry], str(tmp_path), "train", workers=1).videos_per_class == {}
    assert _parsed(tmp_path, "train-*")[0]["label"] == -1


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_video_ends_the_run_and_leaves_only_whole_shards(tmp_path, videos, workers):
    output = tmp_path / "out"
    entries = [*videos[0], _unreadable(tmp_path)]
    with pytest.raises(InputError, match=r"text.mp4 cannot be opened as a video"):
        convert(
            {"train": entries}, videos[1], str(output), dataset="x", num_shards=4, workers=workers
        )
    left = sorted(path.name for path in output.iterdir())
    assert len(left) < 4
    assert all(name.startswith("train-0") for name in left)
    assert all(records.count_records(str(output / name)) == 2 for name in left)


def test_an_interrupt_leaves_only_whole_shards(tmp_path, videos, monkeypatch):
    read, count = shards.read_video, iter(range(100))

    def interrupted(*arguments):
        if next(count) == 4:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(shards, "read_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shards(videos[0], str(tmp_path), "train", num_shards=3, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000-of-00003"]


def test_a_killed_worker_ends_the_run(tmp_path, videos):
    def kill_first_worker():
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(children[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_first_worker)
    killer.start()
    with pytest.raises(InputError, match="A worker process was killed.*fewer --workers"):
        write_shards(videos[0], str(tmp_path), "train", num_shards=2, workers=2)
    killer.join()
    assert not multiprocessing.active_children()
    assert not list(tmp_path.glob(".tmp-*"))


def test_leftovers_of_a_killed_run_go(tmp_path, videos):
    (tmp_path / ".tmp-train-00000-of-00009-123").write_bytes(b"half a shard")
    write_shards(videos[0], str(tmp_path), "train", num_shards=1, workers=1)
    assert os.listdir(tmp_path) == ["train-00000-of-00001"]


def test_labels_and_info_tell_what_was_written(tmp_path, videos):
    entries, classes = videos
    info = convert(
        {"train": entries[:5], "test": entries[5:]},
        classes,
        str(tmp_path / "new" / "out"),
        dataset="pool",
        short_side=20,
        quality=80,
        workers=1,
    )
    output = tmp_path / "new" / "out"
    assert (output / shards.LABELS_FILE).read_text() == "dive\nswim\n"
    assert files.read_json(str(output / shards.INFO_FILE)) == info
    sizes = {
        split: (output / f"{split}-00000-of-00001").stat().st_size for split in ("train", "test")
    }
    assert info == {
        "version": cvrl_tf.__version__,
        "dataset": "pool",
        "parameters": {"short_side": 20, "quality": 80},
        "classes": ["dive", "swim"],
        "splits": {
            "train": {
                "videos": 5,
                "frames": 4 + 5 + 6 + 4 + 5,
                "bytes": sizes["train"],
                "shards": 1,
                "videos_per_class": {"dive": 3, "swim": 2},
            },
            "test": {
                "videos": 2,
                "frames": 6 + 7,
                "bytes": sizes["test"],
                "shards": 1,
                "videos_per_class": {"swim": 2},
            },
        },
    }
    frame = _parsed(output, "test-*")[0]["frames"][0]
    assert tf.io.extract_jpeg_shape(frame).numpy().tolist() == [20, 27, 3]


def test_a_second_split_joins_the_first(tmp_path, videos):
    entries, classes = videos
    for split, part in ("train", entries[:5]), ("test", entries[5:]):
        info = convert({split: part}, classes, str(tmp_path), dataset="folder", workers=1)
    assert list(info["splits"]) == ["train", "test"]
    assert [held["videos"] for held in info["splits"].values()] == [5, 2]
    assert files.read_json(str(tmp_path / shards.INFO_FILE)) == info


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["dive", "jump"]}, r"classes \(2\) dive, swim, this .* \(2\) dive, jump"),
        ({"quality": 50}, r"parameters short_side=256 quality=90, this .*quality=50"),
        ({"short_side": 128}, r"parameters short_side=256 quality=90, this .*short_side=128"),
        ({"dataset": "ucf101"}, r"dataset 'folder', this conversion has 'ucf101'"),
    ],
)
def test_a_second_split_must_go_with_the_first(tmp_path, videos, change, message):
    entries, classes = videos
    output = tmp_path / "out"
    arguments = {"classes": classes, "dataset": "folder", "workers": 1}
    convert({"train": entries[:1]}, output_dir=str(output), **arguments)
    before = _contents(output)
    with pytest.raises(InputError, match=message):
        convert({"test": entries[5:]}, output_dir=str(output), **(arguments | change))
    assert _contents(output) == before


def test_finished_splits_are_listed_when_a_later_one_fails(tmp_path, videos):
    splits = {"train": videos[0], "test": [_unreadable(tmp_path)]}
    with pytest.raises(InputError, match="text.mp4"):
        convert(splits, videos[1], str(tmp_path / "out"), dataset="folder", workers=1)
    assert list(files.read_json(str(tmp_path / "out" / shards.INFO_FILE))["splits"]) == ["train"]


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        (
            {"test": slice(0, 1), "train": slice(1, 7)},
            {},
            r"already holds 1 shards of split 'train'",
        ),
        ({"val": slice(0, 3)}, {"num_shards": 4}, r"3 videos for 4 shards of split 'val'"),
        ({"val": slice(0, 0)}, {}, r"0 videos for 1 shards of split 'val'"),
        ({"a/b": slice(0, 3)}, {}, r"split 'a/b': expected letters, digits and underscores"),
    ],
)
def test_refusals_come_before_any_work(tmp_path, videos, no_decoding, splits, options, message):
    (tmp_path / "train-00003-of-00010").touch()
    splits = {name: videos[0][part] for name, part in splits.items()}
    with pytest.raises(InputError, match=message):
        convert(splits, videos[1], str(tmp_path), dataset="folder", workers=1, **options)
    assert os.listdir(tmp_path) == ["train-00003-of-00010"]


def test_a_video_listed_twice_is_refused(tmp_path, videos, no_decoding):
    with pytest.raises(InputError, match=r"2 videos more than once \(first: dive/dive_0\)"):
        write_shards(videos[0][:2] * 2, str(tmp_path), "train", workers=1)


def test_an_info_file_of_another_make_is_refused(tmp_path, videos, no_decoding):
    for content in ("not JSON", "{}"):
        (tmp_path / shards.INFO_FILE).write_text(content)
        with pytest.raises(InputError, match=r"dataset_info.json is not as a conversion writes it"):
            convert({"train": videos[0]}, videos[1], str(tmp_path), dataset="folder", workers=1)


def test_a_directory_that_cannot_be_made_is_named(tmp_path, videos, no_decoding):
    (tmp_path / "file").touch()
    output = str(tmp_path / "file" / "out")
    with pytest.raises(InputError, match=f"Cannot write to --output_dir={output}"):
        convert({"train": videos[0]}, videos[1], output, dataset="folder", workers=1)


def test_a_full_disk_is_named(tmp_path, videos, monkeypatch):
    def write(*unused):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", write)
    with pytest.raises(InputError, match=f"--output_dir={tmp_path} .No space left on device"):
        convert({"train": videos[0]}, videos[1], str(tmp_path), dataset="folder", workers=1)
    assert os.listdir(tmp_path) == []
