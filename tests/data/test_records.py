import pytest
import tensorflow as tf
from small_records import make_video

from cvrl_tf.data import records
from cvrl_tf.errors import InputError


def test_record_has_the_layout_other_readers_expect():
    video = make_video(3, num_frames=4, label=1)
    example = tf.train.SequenceExample.FromString(records.serialize(video))
    context = example.context.feature
    assert context["clip/label/index"].int64_list.value == [1]
    assert context["clip/label/text"].bytes_list.value == [b"class_1"]
    assert context["clip/label/string"].bytes_list.value == [b"class_1"]
    assert context["clip/start/timestamp"].int64_list.value == [0]
    assert context["clip/end/timestamp"].int64_list.value == [160_000]
    assert context["image/frame_rate"].float_list.value == [25.0]
    assert context["image/height"].int64_list.value == [40]
    assert context["image/width"].int64_list.value == [48]
    assert context["image/channels"].int64_list.value == [3]
    assert context["image/format"].bytes_list.value == [b"JPEG"]
    assert context["image/colorspace"].bytes_list.value == [b"RGB"]
    assert context["example/id"].bytes_list.value == [b"video_3"]
    assert context["clip/media_id"].bytes_list.value == [b"video_3"]
    assert context["clip/data_path"].bytes_list.value == [b"/videos/video_3.mp4"]
    assert context["video/filename"].bytes_list.value == [b"video_3.mp4"]
    lists = example.feature_lists.feature_list
    assert [feature.bytes_list.value[0] for feature in lists["image/encoded"].feature] == list(
        video.frames
    )
    assert [f.int64_list.value[0] for f in lists["image/timestamp"].feature] == [
        0,
        40_000,
        80_000,
        120_000,
    ]


@pytest.mark.parametrize("sizes", [[1], [0, 127, 128, 16383, 16384], [3_000_000, 5]])
def test_serialize_writes_what_protocol_buffers_write(sizes):
    frames = [bytes([index]) * size for index, size in enumerate(sizes)]
    times = list(range(len(frames)))
    serialized = records.serialize(records.Video("a", frames, times, 25.0, 2, 3, "/a.mp4"))
    example = tf.train.SequenceExample.FromString(serialized)
    found = example.feature_lists.feature_list["image/encoded"].feature
    assert [feature.bytes_list.value[0] for feature in found] == frames
    assert example.SerializeToString(deterministic=True) == serialized


# What other readers ask of a record: context features, then feature lists.
READERS = {
    "the authors' input": (
        {"clip/label/index": tf.io.VarLenFeature(tf.int64)},
        {"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string)},
    ),
    "DMVR": (
        {
            "clip/label/index": tf.io.VarLenFeature(tf.int64),
            "clip/label/text": tf.io.VarLenFeature(tf.string),
        },
        {"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string)},
    ),
    "MediaSequence": (
        {
            "clip/label/index": tf.io.FixedLenFeature([1], tf.int64),
            "clip/label/string": tf.io.FixedLenFeature([1], tf.string),
            "clip/data_path": tf.io.FixedLenFeature([], tf.string),
            "clip/media_id": tf.io.FixedLenFeature([], tf.string),
            "clip/start/timestamp": tf.io.FixedLenFeature([], tf.int64),
            "clip/end/timestamp": tf.io.FixedLenFeature([], tf.int64),
            "example/id": tf.io.FixedLenFeature([], tf.string),
            "image/format": tf.io.FixedLenFeature([], tf.string),
            "image/channels": tf.io.FixedLenFeature([], tf.int64),
            "image/colorspace": tf.io.FixedLenFeature([], tf.string),
            "image/height": tf.io.FixedLenFeature([], tf.int64),
            "image/width": tf.io.FixedLenFeature([], tf.int64),
            "image/frame_rate": tf.io.FixedLenFeature([], tf.float32),
        },
        {
            "image/encoded": tf.io.FixedLenSequenceFeature([], tf.string),
            "image/timestamp": tf.io.FixedLenSequenceFeature([], tf.int64),
        },
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_records_are_read_by_the_feature_specs_of_other_readers(reader):
    video = make_video(3, num_frames=5, label=1)
    context, lists = tf.io.parse_single_sequence_example(records.serialize(video), *READERS[reader])
    assert [frame.numpy() for frame in lists["image/encoded"]] == list(video.frames)
    label = (
        tf.sparse.to_dense(context["clip/label/index"])
        if reader != "MediaSequence"
        else (context["clip/label/index"])
    )
    assert label.numpy().tolist() == [1]
    if reader == "DMVR":
        assert tf.sparse.to_dense(context["clip/label/text"]).numpy().tolist() == [b"class_1"]
    if reader == "MediaSequence":
        assert lists["image/timestamp"].numpy().tolist() == list(video.timestamps)
        assert context["clip/label/string"].numpy().tolist() == [b"class_1"]
        assert (int(context["image/height"]), int(context["image/width"])) == (40, 48)
        # Five frames of 40 ms.
        assert int(context["clip/end/timestamp"]) - int(context["clip/start/timestamp"]) == 200_000


def test_unlabelled_record_has_no_label_keys():
    example = tf.train.SequenceExample.FromString(records.serialize(make_video(0, label=None)))
    assert not [key for key in example.context.feature if "label" in key]


def test_serialize_refuses_frames_without_timestamps():
    video = make_video(0, num_frames=2)
    broken = records.Video(**{**vars(video), "timestamps": [0]})
    with pytest.raises(ValueError, match="2 frames and 1 timestamps"):
        records.serialize(broken)


def test_parse_returns_frames_label_and_id():
    video = make_video(2, num_frames=3, label=5)
    parsed = records.parse(tf.constant(records.serialize(video)))
    assert parsed["frames"].numpy().tolist() == list(video.frames)
    assert int(parsed["label"]) == 5
    assert parsed["id"].numpy() == b"video_2"


def test_parse_marks_unlabelled_records():
    parsed = records.parse(tf.constant(records.serialize(make_video(2, label=None))))
    assert int(parsed["label"]) == -1


def test_summarize_tells_size_and_label():
    summary = records.summarize(records.serialize(make_video(0, 7, label=3)), "here")
    assert summary == records.RecordSummary(num_frames=7, height=40, width=48, label=3)


def test_summarize_names_what_is_wrong():
    with pytest.raises(InputError, match=r"here is not a tf.train.SequenceExample"):
        records.summarize(b"no protocol buffer", "here")
    example = tf.train.SequenceExample()
    example.feature_lists.feature_list["frames"].feature.add().bytes_list.value.append(b"x")
    with pytest.raises(
        InputError, match=r"no frames in .* 'image/encoded' \(found the keys frames"
    ):
        records.summarize(example.SerializeToString(), "here")
    example.feature_lists.feature_list["image/encoded"].feature.add().bytes_list.value.append(b"x")
    with pytest.raises(InputError, match="first frame is not a JPEG"):
        records.summarize(example.SerializeToString(), "here")


def test_first_record_names_a_file_that_is_no_tfrecord(tmp_path):
    (tmp_path / "text").write_bytes(b"these are not records " * 10)
    with pytest.raises(InputError, match="first record is damaged, or it is not a TFRecord file"):
        records.first_record(str(tmp_path / "text"))


def test_deserialize_is_the_inverse_of_serialize():
    for label in (4, None):
        video = make_video(1, num_frames=3, label=label)
        assert records.deserialize(records.serialize(video)) == (video, [])


def _damaged(damage):
    example = tf.train.SequenceExample.FromString(records.serialize(make_video(1, num_frames=3)))
    damage(example.context.feature, example.feature_lists.feature_list)
    return records.deserialize(example.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "problems"),
    [
        (
            lambda context, lists: [context.pop("image/height"), context.pop("clip/media_id")],
            ["the key 'clip/media_id' is missing", "the key 'image/height' is missing"],
        ),
        (
            lambda context, lists: context.pop("clip/label/string"),
            ["the key 'clip/label/string' is missing"],
        ),
        (
            lambda context, lists: context["image/width"].bytes_list.value.append(b"48"),
            ["'image/width' holds bytes_list, expected int64_list"],
        ),
        (
            lambda context, lists: context["image/width"].int64_list.value.append(3),
            ["'image/width' holds 2 values, expected one"],
        ),
        (
            lambda context, lists: context["image/format"].bytes_list.value.__setitem__(0, b"PNG"),
            ["'image/format' is b'PNG', expected b'JPEG'"],
        ),
        (
            lambda context, lists: context["clip/media_id"].bytes_list.value.__setitem__(0, b"x"),
            ["'example/id' is b'video_1' but 'clip/media_id' is b'x'"],
        ),
        (
            lambda context, lists: lists.pop("image/timestamp"),
            ["the feature list 'image/timestamp' is missing"],
        ),
        (
            lambda context, lists: lists["image/timestamp"].feature.pop(),
            ["3 frames but 2 timestamps"],
        ),
        (
            lambda context, lists: lists["image/timestamp"].feature.reverse(),
            ["the timestamp of frame 1, 40000, is before that of the frame in front of it, 80000"],
        ),
        (
            lambda context, lists: lists["image/encoded"].feature[1].bytes_list.value.append(b"x"),
            [
                "'image/encoded' of frame 1 holds 2 values, expected one",
                "1 frames but 3 timestamps",
            ],
        ),
    ],
)
def test_deserialize_tells_what_is_not_in_the_layout(damage, problems):
    assert _damaged(damage)[1] == problems


def test_deserialize_refuses_other_bytes():
    with pytest.raises(ValueError, match="not a tf.train.SequenceExample"):
        records.deserialize(b"no record")
