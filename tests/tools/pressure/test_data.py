import pytest
import tensorflow as tf

from cvrl_tf.data.lookup import find_source
from tools.pressure import data


def test_damaged_records_are_damaged_each_in_its_way_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "VIDEOS", 10)
    whole = find_source(data.render(str(tmp_path / "whole")), "x")
    pattern = data.render(
        str(tmp_path / "bad"),
        {1: "bytes flipped", 4: "record cut to a third", 9: "no JPEGs as frames"},
    )
    videos, expected = find_source(pattern, "x").indexed(), whole.indexed()
    assert len(videos) == len(expected) == 10
    assert videos.index.origin(9) == data.origin(pattern, 9)
    problems = {number: videos.problem(number) for number in (1, 4, 9)}
    assert problems[1] == "the record is damaged: its bytes do not have the checksum stored"
    assert problems[4].startswith("the record cannot be parsed")
    assert problems[9].startswith("frame 0 cannot be decoded")
    for number in {*range(10)} - {1, 4, 9}:
        record = videos.index.read(tf.constant(number)).numpy()
        assert record == expected.index.read(tf.constant(number)).numpy()
        assert videos.problem(number) == "it can be read now"


def test_a_record_that_is_not_there_has_no_origin():
    with pytest.raises(ValueError, match="^300$"):
        data.origin("records/train-*", 300)
