import dataclasses

import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.conversion.workers import Report
from cvrl_tf.inspection.shards import InspectionJob


def _inspect(path, frames_per_video=0):
    result = InspectionJob(path, frames_per_video).run(Report())
    problems = [(problem.record, problem.video_id, problem.text) for problem in result.problems]
    return result.videos, problems


def test_good_records(tmp_path):
    path = write_shard(tmp_path / "s", [make_video(0, 5), make_video(1, 7, 64, 32, None)])
    videos, problems = _inspect(path)
    assert problems == []
    assert [(video.record, video.video_id, video.num_frames) for video in videos] == [
        (0, "video_0", 5),
        (1, "video_1", 7),
    ]
    assert [(video.height, video.width, video.label) for video in videos] == [
        (40, 48, 0),
        (64, 32, None),
    ]
    assert [video.seconds for video in videos] == pytest.approx([0.2, 0.28])
    assert all(video.decodes for video in videos)


def _with_frame(video, index, frame):
    frames = list(video.frames)
    frames[index] = frame
    return dataclasses.replace(video, frames=frames)


def _zeroed(frame):
    middle = len(frame) // 2
    return frame[:middle] + bytes(200) + frame[middle + 200 :]


def _png(_):
    return tf.io.encode_png(tf.zeros([40, 48, 3], tf.uint8)).numpy()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda frame: frame[: len(frame) // 2], "Premature end of JPEG file"),
        (_zeroed, "Corrupt JPEG data"),
        (lambda frame: b"", "not a JPEG image"),
        (_png, "not a JPEG image"),
    ],
)
def test_a_frame_that_does_not_decode(tmp_path, damage, reason):
    video = make_video(1, 5)
    path = write_shard(tmp_path / "s", [_with_frame(video, 3, damage(video.frames[3]))])
    [found], [(record, video_id, text)] = _inspect(path)
    assert (record, video_id, found.decodes) == (0, "video_1", False)
    assert text.startswith("1 of 5 frames cannot be decoded (first: frame 3, ") and reason in text


def test_only_a_sample_is_decoded(tmp_path):
    video = make_video(1, 5)
    path = write_shard(tmp_path / "s", [_with_frame(video, 3, video.frames[3][:-500])])
    assert _inspect(path, frames_per_video=3)[1] == []  # 0, 2 and 4
    assert len(_inspect(path, frames_per_video=4)[1]) == 1  # 0, 1, 3 and 4


def test_sizes_that_differ(tmp_path):
    wide = make_video(1, 4, width=64)
    mixed = _with_frame(_with_frame(make_video(0, 4), 1, wide.frames[1]), 2, wide.frames[2])
    stated = dataclasses.replace(make_video(2, 4), height=41)
    assert _inspect(write_shard(tmp_path / "s", [mixed, stated]))[1] == [
        (
            0,
            "video_0",
            "2 of 4 frames do not have the size that the record states, 48x40 (first: frame 1,"
            " 64x40)",
        ),
        (
            1,
            "video_2",
            "4 of 4 frames do not have the size that the record states, 48x41 (first: frame 0,"
            " 48x40)",
        ),
    ]


def test_goes_on_after_bad_records(tmp_path):
    path = tmp_path / "s"
    write_shard(path, [make_video(0, 3)])
    first = path.read_bytes()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"no example")
    other = path.read_bytes()
    damaged = bytearray(first)
    damaged[len(first) // 2] ^= 1
    path.write_bytes(bytes(damaged) + other + first)
    videos, problems = _inspect(str(path))
    assert [video.record for video in videos] == [2]
    assert problems[0][:2] == (0, None) and "record is damaged" in problems[0][2]
    assert problems[1][:2] == (1, None) and "not a tf.train.SequenceExample" in problems[1][2]


def test_files_without_records(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert _inspect(str(tmp_path / "empty")) == ([], [(None, None, "the file holds no records")])
    [(_, _, text)] = _inspect(str(tmp_path / "gone"))[1]
    assert text.startswith("the file cannot be read (")


def test_a_record_at_which_a_process_died_is_left_out(tmp_path):
    path = write_shard(tmp_path / "s", [make_video(0, 3), make_video(1, 3)])
    messages = []
    job = InspectionJob(path, 0).after(0, "the decoder crashed (signal 11)", final=False)
    result = job.run(Report(lambda *message: messages.append(message)))
    assert [video.video_id for video in result.videos] == ["video_1"]
    assert [str(problem) for problem in result.problems] == [
        f"{path}, record 0: the decoder crashed (signal 11)"
    ]
    size = tf.io.gfile.stat(path).length
    assert messages == [("start", 1), ("decoded",), ("done", 1, size, 1)]
