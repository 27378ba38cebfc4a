"""Validation videos: given, or held out of the training videos."""

import re

import numpy as np
import pytest
import tensorflow as tf
from small_records import damage, make_video, write_shard

from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification, validation
from cvrl_tf.evaluation.classification import DataChoice
from cvrl_tf.evaluation.inference import Computation, OmittedRecords
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import Validation

CLIP = ClipSpec(4, 2, 32)


def _shard(path, numbers, labels):
    pairs = zip(numbers, labels, strict=True)
    return write_shard(path, [make_video(n, num_frames=8, label=label) for n, label in pairs])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shards: 20 training videos of two classes, 4 others, 2 of which are test videos."""
    directory = tmp_path_factory.mktemp("records")
    return {
        "train": _shard(directory / "train-0", range(20), [n % 2 for n in range(20)]),
        "other": _shard(directory / "other-0", range(20, 24), [0, 1, 0, 1]),
        "test": _shard(directory / "test-0", range(22, 24), [0, 1]),
        "foreign": _shard(directory / "foreign-0", range(30, 32), [0, 2]),
        "single": _shard(directory / "single-0", range(40, 43), [0, 0, 1]),
    }


def _task(data, train="train"):
    choices = DataChoice(data[train], "train_data", CLIP), DataChoice(data["test"], "x", CLIP)
    return classification.read_task(*choices)


def test_nothing_is_held_out_unless_asked_for(data):
    task = _task(data)
    assert validation.add(task, Validation(), CLIP, seed=0) is task


def test_a_share_of_each_class_is_held_out(data, capsys):
    task = _task(data)
    chosen = Validation(validation_fraction=0.3)
    found = validation.add(task, chosen, CLIP, seed=0)
    assert (len(found.train.videos), len(found.validation.videos)) == (14, 6)
    assert np.bincount(found.validation.labels.labels).tolist() == [3, 3]
    ids = set(found.train.labels.ids), set(found.validation.labels.ids)
    assert ids[0] | ids[1] == set(task.train.labels.ids) and not ids[0] & ids[1]
    for number in range(6):  # labels and videos fit each other
        record_id = found.validation.videos.read(number)["id"].numpy().decode()
        assert record_id == found.validation.labels.ids[number]
    assert f"validation: 6 of 20 videos of {data['train']} are held out" in capsys.readouterr().err
    again = validation.add(task, chosen, CLIP, seed=0)
    assert again.validation.labels.ids == found.validation.labels.ids


def test_groups_are_held_out_as_a_whole(data):
    chosen = Validation(validation_fraction=0.3, group_pattern=r"_1?(\d)$")
    found = validation.add(_task(data), chosen, CLIP, seed=0)
    digits = {record_id[-1] for record_id in found.validation.labels.ids}
    assert not digits & {record_id[-1] for record_id in found.train.labels.ids}
    assert len(found.validation.videos) == 2 * len(digits)


def test_other_videos_validate(data, capsys):
    chosen = Validation(validation_data=data["other"])
    task = _task(data)
    found = validation.add(task, chosen, CLIP, seed=0)
    assert found.train is task.train and len(found.validation.videos) == 4
    assert "note: 2 of 2 test videos are validation videos too, by id: " in capsys.readouterr().err
    few = validation.add(_task(data, "single"), chosen, CLIP, seed=0)
    assert len(few.validation.videos) == 4
    assert "there are more validation videos (4) than training videos (3): are" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("train", "values", "message"),
    [
        ("train", {"validation_data": "train"}, "^All 20 videos of --validation_data="),
        ("train", {"validation_data": "foreign"}, "^1 of 2 records of .* are of classes that "),
        ("train", {"validation_data": "nothing"}, "nothing"),
        ("single", {"validation_fraction": 0.3}, "^The class 'label 1' has one video, expected "),
        (
            "train",
            {"validation_fraction": 0.3, "group_pattern": r"_\d+$"},
            "^group_pattern=.* has no group in parentheses",
        ),
        (
            "train",
            {"validation_fraction": 0.3, "group_pattern": r"_g(\d+)_"},
            "^group_pattern=.* does not match 20 of 20 ids, the first is 'video_0'",
        ),
        (
            "train",
            {"validation_fraction": 0.3, "group_pattern": "(video)"},
            "^The class 'label 0' .and 1 more. has one group .10 videos., expected two or more, ",
        ),
    ],
)
def test_validation_videos_that_do_not_fit(data, train, values, message):
    values = dict(values)
    if "validation_data" in values:
        values["validation_data"] = data.get(values["validation_data"], "nothing-*")
    with pytest.raises(InputError, match=message):
        validation.add(_task(data, train), Validation(**values), CLIP, seed=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"validation_data": "x", "validation_fraction": 0.2},
            "^Found validation_data=x and validation_fraction=0.2: give one of them.$",
        ),
        ({"group_pattern": "(x)"}, r"^group_pattern=\(x\) is given without validation_fraction, "),
        ({"patience": 3}, "^patience=3 is given without validation videos: give "),
    ],
)
def test_settings_that_need_each_other(values, message):
    with pytest.raises(InputError, match=message):
        Validation(**values)


def test_records_that_cannot_be_read_are_omitted_and_named_once(data, tmp_path, capsys):
    """The accuracy is that of the others."""
    path = _shard(tmp_path / "validation-0", range(50, 55), [0, 1, 0, 1, 0])
    found = DataChoice(path, "validation_data", CLIP).read()
    views = EvaluationViews(CLIP, 2)

    def colors(clips):  # red or green, whichever is brighter
        return tf.nn.softmax(100 * tf.reduce_mean(clips, axis=[1, 2, 3])[:, :2])

    red = Computation(colors, ())
    hits = classification.predict(red, found, views).argmax(axis=1) == found.labels.labels
    assert 0 < hits.sum() < 5  # so that an accuracy of other videos or labels is another one
    damage(path, 1, 4)
    omitted = OmittedRecords(found.videos, "validation")
    expected = float(np.mean(hits[[0, 2, 3]]))
    capsys.readouterr()
    for _ in range(2):
        assert validation.accuracy(red, found, views, omitted) == expected
    reason = "the record is damaged: its bytes do not have the checksum stored"
    assert [line.split(reason)[0] for line in _notes(capsys)] == [
        f"note: validation omits {path}, record {number}: " for number in (1, 4)
    ]
    damage(path, 0, 2, 3)
    assert validation.accuracy(red, found, views, omitted) is None
    assert [re.search("record .", line)[0] for line in _notes(capsys)] == [
        f"record {number}" for number in (0, 2, 3)
    ]


def _notes(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
