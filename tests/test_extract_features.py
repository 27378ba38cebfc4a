"""Labels of video files by their folders."""

import numpy as np
import pytest
import tensorflow as tf
from small_videos import write_class_folders

from cvrl_tf import extract_features
from cvrl_tf.conversion import workers
from cvrl_tf.errors import InputError

SMALL = "--backbone=color_histogram", "--num_frames=2", "--crop_size=32", "--num_clips=1"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_class_folders(tmp_path_factory.mktemp("videos"), {"swim": 2, "dive": 1})


@pytest.fixture
def one_process(monkeypatch):
    monkeypatch.setattr(workers, "WorkerPool", lambda *arguments: workers.InProcess())


def test_labels_are_those_of_the_folders(videos, tmp_path, one_process):
    files = f"--files={videos}/*/*.mp4"
    output = str(tmp_path / "features.npz")
    extract_features.COMMAND.call(*SMALL, files, "--labels=folder", f"--output={output}")
    stored = np.load(output)
    assert stored["ids"].tolist() == ["dive/dive_0", "swim/swim_0", "swim/swim_1"]
    assert stored["labels"].tolist() == [0, 1, 1]
    assert stored["class_names"].tolist() == ["dive", "swim"]

    output = str(tmp_path / "features.tfrecord")
    extract_features.COMMAND.call(*SMALL, files, "--labels=folder", f"--output={output}")
    examples = [
        tf.train.Example.FromString(one.numpy()).features.feature
        for one in tf.data.TFRecordDataset(output)
    ]
    assert [one["clip/label/index"].int64_list.value[0] for one in examples] == [0, 1, 1]
    assert [one["clip/label/text"].bytes_list.value[0] for one in examples] == [
        *(b"dive", b"swim", b"swim")
    ]

    output = str(tmp_path / "unlabelled.npz")
    extract_features.COMMAND.call(*SMALL, files, f"--output={output}")
    stored = np.load(output)
    assert stored["labels"].tolist() == [-1, -1, -1] and "class_names" not in stored


def test_labels_that_cannot_be_are_refused(videos, shards, tmp_path, one_process):
    output = f"--output={tmp_path}/features.npz"
    with pytest.raises(
        InputError, match="All 2 videos are in folders named 'swim', such as .*swim_0.mp4: expected"
    ):
        extract_features.COMMAND.call(
            *SMALL, f"--files={videos}/swim/*.mp4", "--labels=folder", output
        )
    with pytest.raises(InputError, match="Found --labels=folder and --data"):
        extract_features.COMMAND.call(*SMALL, f"--data={shards}", "--labels=folder", output)
