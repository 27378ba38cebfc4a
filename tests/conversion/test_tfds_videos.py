import io

import numpy as np
import pytest
import small_tfds
import tensorflow as tf
import tensorflow_datasets
from PIL import Image

from cvrl_tf.conversion import convert, tfds_videos
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.workers import WorkerPool
from cvrl_tf.data import records
from cvrl_tf.errors import InputError


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory):
    """A directory in which TFDS has prepared two data sets, and looks."""
    directory = tmp_path_factory.mktemp("tfds")
    small_tfds.prepare(directory, "jpeg_video")
    small_tfds.prepare(directory, "png_video", encoding_format="png")
    tensorflow_datasets.core.add_data_dir(directory)
    yield directory
    tensorflow_datasets.core.utils.file_utils.clear_registered_data_dirs()


def test_a_split_becomes_a_catalog(data_dir):
    catalog = tfds_videos.tfds("tfds:jpeg_video:train")
    assert catalog.classes == ["dive", "swim"]
    assert catalog.notes == ["TFDS keeps no frame rates: 25 frames per second are assumed."]
    [(split, entries)] = catalog.splits.items()
    assert (split, len(entries)) == ("train", 8)
    assert sorted((entry.video_id, entry.label, entry.label_name) for entry in entries) == [
        (f"train {index}.avi", index % 2, ("dive", "swim")[index % 2]) for index in range(8)
    ]
    firsts = [entry.path for entry in entries if entry.path.endswith("@0")]
    file = f"{data_dir}/jpeg_video/1.0.0/jpeg_video-train.tfrecord"
    assert firsts == [f"tfds:{file}-0000{index}-of-00002@0" for index in range(2)]


def test_one_split_at_a_time():
    with pytest.raises(InputError, match=r"tfds_name=tfds:jpeg_video:train\+test: expected one"):
        tfds_videos.tfds("tfds:jpeg_video:train+test")


@pytest.mark.parametrize(("name", "distance"), [("jpeg_video", 14), ("png_video", 12)])
def test_records_hold_the_frames_and_labels(tmp_path, name, distance):
    catalog = tfds_videos.tfds(f"tfds:{name}:train")
    assert catalog.dataset == f"tfds:{name}"
    convert.convert(catalog, str(tmp_path), WorkerPool(1))
    dataset = tf.data.TFRecordDataset([str(path) for path in sorted(tmp_path.glob("train-*"))])
    found = {}
    for record in dataset.map(records.parse).as_numpy_iterator():
        index = int(record["id"].split()[1][:1])
        found[index] = record["label"]
        frames = np.stack([np.asarray(Image.open(io.BytesIO(f)), int) for f in record["frames"]])
        expected = small_tfds.frames("train", index)
        assert frames.shape == expected.shape
        assert np.abs(frames - expected).mean() < distance
    assert found == {index: index % 2 for index in range(8)}


def test_a_data_set_without_names_has_ids(data_dir):
    video = tensorflow_datasets.features.Video((None, 40, 48, 3), encoding_format="jpeg")
    small_tfds.prepare(data_dir, "bare_video", features={"video": video})
    catalog = tfds_videos.tfds("tfds:bare_video:test")
    assert catalog.classes == []
    entries = catalog.splits["test"]
    assert len({entry.video_id for entry in entries}) == 4
    assert entries[0] == Entry(
        entries[0].video_id,
        f"tfds:{data_dir}/bare_video/1.0.0/bare_video-test.tfrecord-00000-of-00002@0",
        None,
        None,
    )
