import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data import subset
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.labels import RecordLabels
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification, report, views
from cvrl_tf.evaluation.classification import DataChoice
from cvrl_tf.evaluation.inference import Computation
from cvrl_tf.evaluation.overlap import Overlap
from cvrl_tf.evaluation.report import Checkpoint
from cvrl_tf.evaluation.views import EvaluationViews

CLIP = ClipSpec(frames=4, stride=2, size=32)


def _task(shards, train_ids="", test_ids=""):
    """A task of which the videos to train on and to test on are the same."""
    train = DataChoice(shards, "train_data", CLIP, train_ids)
    test = DataChoice(shards, "test_data", CLIP, test_ids)
    return classification.read_task(train, test, allow_overlap=True)


def _labels(values, ids):
    return RecordLabels(np.array(values), ids, np.zeros(len(ids), np.int64))


def test_predictions_are_the_mean_of_the_softmax_over_views(shards, monkeypatch):
    """Two clips x three crops of each video; the mean of logits would be another."""
    monkeypatch.setattr("cvrl_tf.evaluation.inference.BATCH_PIXELS", 4 * 4 * 32 * 32)
    weights = tf.constant([[30.0, -20.0, 10.0], [-10.0, 30.0, 0.0], [5.0, 5.0, -30.0]])

    def softmax(clips):
        assert clips.shape[1:] == (4, 32, 32, 3)
        return tf.nn.softmax(tf.reduce_mean(clips, axis=[1, 2, 3]) @ weights)

    predicted = classification.predict(
        Computation(softmax, ()), _task(shards).test, EvaluationViews(CLIP, 2, 3)
    )
    assert predicted.shape == (12, 3)
    for number in (0, 5, 11):
        frames = tf.constant(list(make_video(number).frames))
        clips = views.sample_views(frames, EvaluationViews(CLIP, 2, 3)).numpy()
        logits = clips.mean(axis=(1, 2, 3)) @ weights.numpy()
        softmaxes = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(predicted[number], softmaxes.mean(axis=0), atol=1e-5)


def test_the_mean_of_the_softmax_by_hand(tmp_path):
    """A black clip and a white one: logits 0, 0 and ln 3, 0; their mean would give 0.634."""
    frames = [tf.io.encode_jpeg(np.full((32, 32, 3), 255 * (i > 3), "uint8")) for i in range(8)]
    video = dataclasses.replace(
        make_video(0, 8, 32, 32), frames=[frame.numpy() for frame in frames]
    )
    source = Source("x", [write_shard(tmp_path / "shard", [video])])
    data = classification.LabelledData(source.indexed(), _labels([0], ["a"]))

    def softmax(clips):
        white = tf.reduce_mean(clips, axis=[1, 2, 3])[:, 0]
        return tf.nn.softmax(tf.stack([white * np.log(3.0), 0.0 * white], axis=1))

    predicted = classification.predict(
        Computation(softmax, ()), data, EvaluationViews(ClipSpec(4, 1, 32), 2)
    )
    np.testing.assert_allclose(predicted, [[(0.5 + 0.75) / 2, (0.5 + 0.25) / 2]], atol=1e-5)


def test_the_task_has_the_classes_of_the_training_labels(shards, tmp_path):
    task = _task(shards)
    assert task.num_classes == 2 and task.class_names == ["label 0", "label 1"]
    ids = tmp_path / "ids.txt"
    subset.write_ids(str(ids), ["video_7", "video_2"])
    few = _task(shards, train_ids=str(ids))
    assert list(few.train.labels.ids) == ["video_2", "video_7"]
    assert few.train.labels.labels.tolist() == [0, 1]
    assert few.train.videos.index.origin(1).endswith("train-00001-of-00002, record 1")
    assert len(few.test.videos) == 12
    held_out = _task(shards, test_ids=str(ids))
    assert list(held_out.test.labels.ids) == ["video_2", "video_7"]
    assert len(held_out.train.videos) == 12
    described = held_out.test.describe()
    assert (described.videos, described.ids_file) == (2, str(ids))
    softmax = Computation(lambda clips: tf.reduce_mean(clips, axis=[1, 2, 3]), ())
    every, some = (
        classification.predict(softmax, x.test, EvaluationViews(CLIP, 1)) for x in (few, held_out)
    )
    np.testing.assert_allclose(some, every[[2, 7]], atol=1e-6)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 0], [0, 0], "has 1 class, expected two or more"),
        (
            [0, 1],
            [0, 2],
            "1 of 2 records of .*test are of classes that .*train has no record of: 2",
        ),
        ([0, None], [0, 1], "1 of 2 records of .*train have no label, the first is 'video_1'"),
    ],
)
def test_data_that_cannot_be_learnt_are_named(tmp_path, train, test, message):
    paths = [
        write_shard(tmp_path / name, [make_video(i, label=x) for i, x in enumerate(labels)])
        for name, labels in (("train", train), ("test", test))
    ]
    with pytest.raises(InputError, match=message):
        classification.read_task(*(DataChoice(path, "x", CLIP) for path in paths))


def test_videos_smaller_than_the_clip_are_refused_or_enlarged(shards, capsys):
    choice = DataChoice(shards, "train_data", ClipSpec(4, 2, 48))
    with pytest.raises(InputError, match=r"48x40 pixels, smaller than crop_size=48"):
        choice.read()
    assert len(dataclasses.replace(choice, enlarge=True).read().videos) == 12
    assert capsys.readouterr().err == (
        "note: the first videos of 2 of 2 shards have frames smaller than 48 pixels (48x40): they"
        " are enlarged.\n"
    )


def test_a_task_counts_test_videos_that_are_training_videos(shards, tmp_path, capsys):
    """Of four test videos one has the id of a training video, one the frames of another."""
    copy = dataclasses.replace(make_video(5, label=1), video_id="copy", path="/elsewhere/copy.mp4")
    videos = [make_video(20, label=0), make_video(3, label=1), copy, make_video(21, label=1)]
    test = DataChoice(write_shard(tmp_path / "test", videos), "test_data", CLIP)
    train = DataChoice(shards, "train_data", CLIP)
    assert classification.read_task(train, test).overlap == Overlap(ids=1, contents=1)
    names = f"videos of --test_data={test.name} are also in --train_data={shards}"
    assert capsys.readouterr().err == (
        f"note: 1 of 4 {names}, by their ids (first: 'video_3'): figures are higher than on other"
        " videos.\n"
        f"note: 1 of 4 {names}, by their frames, under other ids (first: 'copy'): figures are"
        " higher than on other videos.\n"
    )
    # Only what is used counts.
    ids = tmp_path / "ids.txt"
    subset.write_ids(str(ids), ["video_0", "video_1"])
    few = classification.read_task(dataclasses.replace(train, ids_file=str(ids)), test)
    assert few.overlap == Overlap() and capsys.readouterr().err == ""


def test_a_test_on_training_videos_only_is_refused(shards):
    choices = DataChoice(shards, "train_data", CLIP), DataChoice(shards, "eval_data", CLIP)
    with pytest.raises(InputError) as caught:
        classification.read_task(*choices)
    assert str(caught.value) == (
        f"All 12 videos of --eval_data={shards} are also in --train_data={shards} (12 by id, 0 by"
        " content under another id): the figures would not hold for other videos. Give test videos"
        " that are not trained on, or --allow_overlap."
    )
    assert classification.read_task(*choices, allow_overlap=True).overlap == Overlap(12, 0)


def test_the_result_and_its_picture(shards, tmp_path):
    task = _task(shards)
    probabilities = np.tile([[0.6, 0.4]], (12, 1))  # class 0 for all: half are right
    described = classification.describe(
        task,
        probabilities,
        Checkpoint("ckpt-3", 3, "00"),
        EvaluationViews(CLIP, 10, 3),
        protocol="finetune",
        settings={"dropout": 0.5},
        wall_seconds=12.345,
    )
    names = ["results.json", "predictions.csv", "confusion.png"]
    assert report.write(str(tmp_path), described) == [f"{tmp_path}/{name}" for name in names]
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert rows[0] == "id,true,predicted,label 0,label 1" and len(rows) == 13
    assert rows[2] == "video_1,label 1,label 0,0.6,0.4"
    result = json.loads((tmp_path / report.RESULTS_FILE).read_text())
    assert result["figures"]["top1"]["value"] == result["figures"]["mean_class_accuracy"]["value"]
    assert result["figures"]["top1"]["value"] == 0.5 and "top5" not in result["figures"]
    assert (result["train"]["videos"], result["test"]["classes"]) == (12, 2)
    assert result["baselines"] == {"chance": 0.5, "majority_class": 0.5}
    assert result["class_names"] == ["label 0", "label 1"]
    assert result["confusion"] == [[6, 0], [6, 0]]
    assert result["overlap"] == {"ids": 12, "contents": 0}
    assert (result["settings"], result["wall_seconds"]) == ({"dropout": 0.5}, 12.35)
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
