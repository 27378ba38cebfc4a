import dataclasses

import numpy as np
import simplejpeg
from small_records import make_video, write_shard

from cvrl_tf.data.labels import read_labels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.evaluation import overlap


def read(path):
    videos = find_source(path, "data").indexed()
    return videos, read_labels(videos)


def coded(video, video_id, step=1):
    """The video encoded again, mirrored where `step` is -1."""
    images = (simplejpeg.decode_jpeg(frame)[:, ::step] for frame in video.frames)
    frames = [
        simplejpeg.encode_jpeg(np.ascontiguousarray(image), 60, "RGB", "420") for image in images
    ]
    return dataclasses.replace(video, video_id=video_id, frames=frames)


def test_nearly_equal_test_videos_are_noted(tmp_path, capsys, monkeypatch):
    first, second, third = (make_video(index) for index in range(3))
    broken = dataclasses.replace(make_video(3), frames=[b"no JPEG"] * 20)
    train = read(write_shard(tmp_path / "train", [first, second, broken]))
    equal = dataclasses.replace(first, video_id="equal")  # `check` finds it
    test = read(
        write_shard(
            tmp_path / "test",
            [third, equal, coded(second, "mirrored", -1), coded(first, "coded"), broken],
        )
    )
    names = "--train_data=a", "--test_data=b"
    assert overlap.note_twins(train, test, names) == [2, 3]
    assert capsys.readouterr().err == (
        "note: 2 of 5 videos of --test_data=b are nearly equal to videos of --train_data=a (first:"
        " 'mirrored', like 'video_1', mirrored): figures are higher than on other videos;"
        " cvrl_tf.split_videos keeps such videos in one split.\n"
    )
    monkeypatch.setattr(overlap, "MAX_COMPARED", 7)
    assert overlap.note_twins(train, test, names) == []
    assert capsys.readouterr().err == ""
