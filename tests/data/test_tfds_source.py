import subprocess
import sys

import numpy as np
import pytest
import small_tfds
import tensorflow as tf
import tensorflow_datasets as tfds

from cvrl_tf.data import checks, labels, pipeline, records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.data.stream import Order, Share
from cvrl_tf.errors import InputError

CLIP = ClipSpec(frames=4, stride=2, size=32)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A directory in which TFDS has prepared a data set `small_video`, and looks."""
    directory = tmp_path_factory.mktemp("tfds")
    small_tfds.prepare(directory, "small_video")
    tfds.core.add_data_dir(directory)
    yield directory
    tfds.core.utils.file_utils.clear_registered_data_dirs()


def _examples(source):
    dataset = tf.data.TFRecordDataset(source.paths).map(source.parse)
    return {example["id"].decode(): example for example in dataset.as_numpy_iterator()}


@pytest.mark.parametrize("version", ["", ":1.0.0", ":1.*.*"])
def test_a_split_is_read_without_decoding(data_dir, version):
    source = find_source(f"tfds:small_video{version}:train", "train_data")
    assert source.paths == [
        f"{data_dir}/small_video/1.0.0/small_video-train.tfrecord-0000{index}-of-00002"
        for index in range(2)
    ]
    assert len(source.indexed()) == 8
    examples = _examples(source)
    assert sorted(examples) == [f"train {index}.avi" for index in range(8)]
    for index in range(8):
        example = examples[f"train {index}.avi"]
        assert example["label"] == index % 2
        decoded = np.stack([tf.io.decode_jpeg(frame) for frame in example["frames"]])
        expected = small_tfds.frames("train", index)
        assert decoded.shape == expected.shape
        assert np.abs(decoded.astype(int) - expected).mean() < 12  # halved chroma


def test_two_splits_are_read_as_one(data_dir):
    source = find_source("tfds:small_video:train+test", "train_data")
    assert len(source.indexed()) == 12
    assert sum(name.startswith("test") for name in _examples(source)) == 4


def test_check_shards_looks_into_them(data_dir):
    source = find_source("tfds:small_video:train", "train_data")
    assert len(checks.check_shards(source, CLIP)) == 8
    summary = records.first_record(source.paths[0], source.summarize)
    assert (summary.height, summary.width) == (40, 48)
    with pytest.raises(InputError, match=r"frames of 48x40 pixels, smaller than crop_size=64"):
        checks.check_shards(source, ClipSpec(4, 2, 64))


def test_batches_go_on_where_another_stream_stopped(data_dir):
    source = find_source("tfds:small_video:train", "train_data")

    def batches(count, first_position=0):
        dataset = pipeline.pretraining_batches(
            source.indexed(), ViewsSpec(CLIP), 3, Order(1), Share(first=first_position)
        )
        return [np.stack(batch.views, axis=1) for batch in dataset.take(count)]

    whole = batches(5)
    assert whole[0].shape == (3, 2, 4, 32, 32, 3)
    for one, two in zip(whole[3:], batches(2, first_position=9), strict=True):
        np.testing.assert_array_equal(one, two)


def test_no_warnings_of_tfds_reach_the_user(data_dir, capfd):
    source = find_source("tfds:small_video:test", "train_data")
    list(pipeline.pretraining_batches(source.indexed(), ViewsSpec(CLIP), 2, Order(1)).take(1))
    assert capfd.readouterr().err == ""


def test_a_data_set_without_labels_and_names(data_dir):
    features = {"video": tfds.features.Video((None, 40, 48, 3), encoding_format="jpeg")}
    small_tfds.prepare(data_dir, "bare_video", features=features)
    source = find_source("tfds:bare_video:train", "train_data")
    examples = _examples(source)
    assert len(examples) == 8  # ids are hashes, all different
    assert {int(example["label"]) for example in examples.values()} == {-1}
    assert [*_examples(source)] == [*examples]
    assert records.first_record(source.paths[0], source.summarize).label is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:small_video:val", r"small_video/1.0.0 has the splits train, test, found 'val'"),
        ("tfds:small_video", r"has the splits train, test, found ''"),
        ("tfds:small_video:train[:50%]", r"slices such as train\[:50%\] cannot be read"),
        ("tfds:small_video:2.0.0:train", r"no data set small_video:2.0.0 .*small_video: 1.0.0\)"),
        ("tfds:nonsense:train", r"no data set nonsense in .* itself has none: check the spelling"),
        (
            "tfds:ucf101/ucf101_1_256:2.0.0:train",
            r"not prepared in .*: run 'tfds build ucf101/ucf101_1_256:2.0.0', or set TFDS_DATA_DIR",
        ),
        ("tfds::train", r"--test_data=tfds::train: expected tfds:NAME"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(data_dir, name, message):
    with pytest.raises(InputError, match=message):
        find_source(name, "test_data")


def test_a_data_set_without_video_is_refused(data_dir):
    features = {"label": tfds.features.ClassLabel(num_classes=2), "number": np.int64}
    small_tfds.prepare(data_dir, "no_video", features=features)
    with pytest.raises(InputError, match=r"has no video: its features are label, number; expect"):
        find_source("tfds:no_video:train", "train_data")


def test_frames_stored_as_png_are_refused(data_dir, capfd):
    small_tfds.prepare(data_dir, "png_video", encoding_format="png")
    source = find_source("tfds:png_video:test", "train_data")
    with pytest.raises(
        InputError, match=r"record 0 stores its frames as PNG images, expected JPEGs"
    ):
        checks.check_shards(source, CLIP)
    assert "Not a JPEG file" not in capfd.readouterr().err  # of libjpeg


def test_the_package_is_imported_only_for_such_a_name():
    code = "import sys, cvrl_tf.train, cvrl_tf.conversion.convert\n"
    code += "print('tensorflow_datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_labels_are_read_of_whole_records(data_dir):
    source = find_source("tfds:small_video:train", "train_data")
    result = labels.read_labels(source.indexed())
    expected = [source.parse(record) for record in tf.data.TFRecordDataset(source.paths)]
    assert result.labels.tolist() == [int(record["label"]) for record in expected]
    assert list(result.ids) == [record["id"].numpy().decode() for record in expected]
