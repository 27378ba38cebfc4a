"""The command, in this process; its files are decoded here too, except in one test."""

import csv
import pathlib
import re

import numpy as np
import pytest
import small_classifier
import tensorflow as tf
from small_records import make_video
from small_videos import draw, write_video

from cvrl_tf import predict
from cvrl_tf.conversion import frames
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.workers import InProcess
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classifier, extraction, prediction_page
from cvrl_tf.evaluation.views import sample_views
from cvrl_tf.training import run_config, weights
from cvrl_tf.training.config import PretrainConfig


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    return small_classifier.write_classifier(tmp_path_factory.mktemp("runs") / "finetuned")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two sound videos in folders, one that is cut off, one that is not a video."""
    directory = tmp_path_factory.mktemp("videos")
    (directory / "deep").mkdir()
    write_video(directory / "a.mp4", draw(20, 40, 56))
    write_video(directory / "deep" / "b.mp4", draw(24, 64, 40))
    (directory / "c.mp4").write_bytes(b"no video")
    whole = pathlib.Path(write_video(directory / "d.mp4", draw(30, 40, 56), index_first=True))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return directory


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr("cvrl_tf.cli.videos.workers.WorkerPool", lambda *_: InProcess())


def _rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _expected(run, paths):
    """Mean over the views of the softmax of each file, from its frames."""
    found = classifier.load(run)
    rows = []
    for path in paths:
        video, _ = frames.read_video(Entry("x", str(path), None, None))
        clips = sample_views(tf.constant(list(video.frames)), found.views)
        rows.append(found.probabilities(clips).numpy().mean(axis=0))
    return np.stack(rows)


@pytest.mark.parametrize("frozen", [False, True])
def test_video_files_are_classified(videos, tmp_path, capfd, in_process, frozen):
    run = small_classifier.write_classifier(tmp_path / "run", frozen)
    output, page = tmp_path / "p.csv", tmp_path / "p.html"
    flags = [f"--model_dir={run}", f"--files={videos}/**/*.mp4", f"--output={output}"]
    assert not predict.COMMAND.call(*flags, f"--html={page}")
    rows = _rows(output)
    assert list(rows[0]) == ["id", "predicted", "dive", "surf", "id (class)"]
    assert [row["id"] for row in rows] == ["a", "d", "deep/b"]
    found = np.array([[float(row[name]) for name in list(row)[2:]] for row in rows])
    expected = _expected(run, [videos / "a.mp4", videos / "d.mp4", videos / "deep" / "b.mp4"])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    names = [small_classifier.CLASS_NAMES[label] for label in expected.argmax(axis=1)]
    assert [row["predicted"] for row in rows] == names
    failures = _rows(f"{output}.failures.csv")
    assert [(row["video_id"], row["kept"]) for row in failures] == [("c", "no"), ("d", "yes")]
    printed = capfd.readouterr()
    assert printed.out.splitlines()[0] == f"classifier: run, step 6 ({run}/checkpoints/ckpt-6)"
    assert printed.out.splitlines()[1].startswith("views: 2 clips x 1 crop, 4 frames at stride 2")
    assert printed.out.splitlines()[2].startswith(f"predicted: 3 videos: {names[0]} ")
    assert printed.out.splitlines()[3:] == [
        f"written: {output}, {page}",
        f"1 video skipped, 1 damaged but used: {output}.failures.csv",
    ]
    assert f"skipped: {videos}/c.mp4: not a video that can be opened: " in printed.err
    text = page.read_text()
    assert "<title>Predictions, run, step 6</title>" in text and text.count('class="tile"') == 3
    assert sorted(re.findall(r"^\.(video\d) ", text, re.M)) == ["video0", "video1", "video2"]
    assert not (tmp_path / "p.csv.partial").exists()


def test_records_are_classified_with_other_views(finetuned, tmp_path, shards):
    output, page = tmp_path / "p.csv", tmp_path / "p.html"
    flags = [f"--model_dir={finetuned}/checkpoints/ckpt-6", f"--data={shards}"]
    predict.COMMAND.call(
        *flags, f"--output={output}", f"--html={page}", "--num_clips=1", "--num_crops=3"
    )
    rows = _rows(output)
    assert [row["id"] for row in rows] == [f"video_{number}" for number in range(12)]
    found = classifier.load(finetuned)
    views = extraction.EvaluationViews(found.views.clip, 1, 3)
    clips = sample_views(tf.constant(list(make_video(7).frames)), views)
    expected = found.probabilities(clips).numpy().mean(axis=0)
    np.testing.assert_allclose(
        [float(rows[7][name]) for name in ("dive", "surf")], expected[:2], atol=1e-5
    )
    assert page.read_text().count('class="tile"') == 12


def test_it_resumes_after_a_kill(finetuned, videos, tmp_path, in_process, monkeypatch):
    """Killed after the first video, and again while the page is made."""
    output = tmp_path / "p.csv"
    flags = [f"--model_dir={finetuned}", f"--files={videos}/**/*.mp4", f"--output={output}"]
    flags.append(f"--html={tmp_path}/p.html")
    predict.COMMAND.call(*flags[:2], f"--output={tmp_path}/whole.csv")
    append, done = extraction.FeatureStore.append, []

    def counted(self, *arguments):
        if len(done) == 1:
            raise SystemExit
        append(self, *arguments)
        done.append(arguments[2])

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(extraction.FeatureStore, "append", counted)
        predict.COMMAND.call(*flags)
    assert done == ["a"] and not output.exists()
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(prediction_page, "render", lambda *_: (_ for _ in ()).throw(SystemExit))
        predict.COMMAND.call(*flags)
    assert not output.exists() and (tmp_path / "p.csv.partial").exists()
    # Another classifier does not continue with these values, and leaves them.
    other = small_classifier.write_classifier(tmp_path / "other", frozen=True)
    with pytest.raises(InputError, match=r"p\.csv\.partial holds unfinished values with weights="):
        predict.COMMAND.call(f"--model_dir={other}", *flags[1:])
    predict.COMMAND.call(*flags)
    assert output.read_text() == (tmp_path / "whole.csv").read_text()


def test_files_are_decoded_in_processes(finetuned, videos, tmp_path):
    output = tmp_path / "p.csv"
    predict.COMMAND.call(
        f"--model_dir={finetuned}", f"--files={videos}/a.mp4", f"--output={output}", "--workers=1"
    )
    (row,) = _rows(output)
    expected = _expected(finetuned, [videos / "a.mp4"])[0]
    np.testing.assert_allclose([float(row["dive"]), float(row["surf"])], expected[:2], atol=1e-5)


def test_what_cannot_be_predicted_is_one_sentence(finetuned, videos, tmp_path, in_process):
    pretrained = tmp_path / "pretrained"
    config = PretrainConfig(train_data="x", num_frames=4, crop_size=32, backbone="r3d_small")
    run_config.prepare(str(pretrained), config)
    weights.save_imported(str(pretrained), config.build_backbone(), None, step=7)
    inside = pretrained / "evaluations" / "linear_fast_ckpt-7"
    small_classifier.write_classifier(inside)
    (tmp_path / "knn").mkdir()
    (tmp_path / "knn" / "results.json").write_text("{}")
    (tmp_path / "there.csv").write_text("precious")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "c.mp4").write_bytes(b"no video")
    model, files_, output = (
        f"--model_dir={finetuned}",
        f"--files={videos}/*.mp4",
        f"--output={tmp_path}/p.csv",
    )
    for flags, message in [
        ([files_, output], "--model_dir is missing"),
        ([model, output], "Found none of --data and --files"),
        ([model, files_], "--output is missing"),
        ([model, files_, f"--output={tmp_path}/p.npz"], "expected a name that ends in .csv, which"),
        ([model, files_, f"--output={tmp_path}/there.csv"], "there.csv exists: name a new file."),
        ([model, files_, f"--output={tmp_path}/no/p.csv"], "there is no directory .*/no; make it"),
        ([model, files_, output, "--html=/no/p.html"], "--html=/no/p.html cannot be written"),
        (
            [f"--model_dir={pretrained}", files_, output],
            rf"pretrained is not a classifier: its weights were not .*linear_eval, here {inside}\.",
        ),
        ([f"--model_dir={tmp_path}/none", files_, output], "none does not exist: expected a"),
        ([f"--model_dir={tmp_path}/knn", files_, output], "knn holds a result, but no classifier"),
        ([model, f"--files={tmp_path}/none/*.mp4", output], r"\*.mp4 matches no file: expected"),
        ([model, f"--files={tmp_path}/bad/*", output], "None of the 1 videos can be decoded"),
    ]:
        with pytest.raises(InputError, match=message):
            predict.COMMAND.call(*flags)
    assert (tmp_path / "there.csv").read_text() == "precious"
    assert not (tmp_path / "p.csv").exists() and not (tmp_path / "p.csv.partial").exists()


def test_a_run_that_was_not_tested_has_the_names_of_its_data(tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("dive\nsurf\n")
    run = small_classifier.write_classifier(
        tmp_path / "run", train_data=f"{tmp_path}/train-*", tested=False
    )
    found = classifier.load(run)
    assert found.class_names == ["dive", "surf", "label 2"]
    assert (found.views.num_clips, found.views.num_crops, found.views.clip.size) == (10, 3, 32)
    assert (
        f"note: {run} has no results.json of a test: views are 10 clips" in capsys.readouterr().err
    )


def test_of_many_videos_some_are_shown():
    rows = prediction_page.choose(1000)
    assert len(rows) == prediction_page.SHOWN == len(set(rows.tolist())) and rows[-1] < 1000
    np.testing.assert_array_equal(rows, prediction_page.choose(1000))
    np.testing.assert_array_equal(prediction_page.choose(3), [0, 1, 2])
