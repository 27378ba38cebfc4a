"""The commands as a stranger runs them, in processes of their own."""

import dataclasses
import json
import re
import shutil

import keras
import numpy as np
import pytest
import small_tfds
import tensorflow as tf
from commands import run as _run
from official_network import random_weights, write_checkpoint
from small_records import make_video, write_shard
from small_videos import draw, write_video

from cvrl_tf.models import build_backbone, official
from cvrl_tf.training import weights

SMALL = [
    "--backbone=r3d_small",
    "--num_frames=4",
    "--crop_size=32",
    "--batch_size=4",
    "--epochs=2",
    "--warmup_epochs=0.5",
    "--learning_rate=0.01",
]


@pytest.fixture(scope="module")
def model_dir(shards, tmp_path_factory):
    """A run of train on the small shards."""
    directory = tmp_path_factory.mktemp("runs") / "first"
    flags = [f"--train_data={shards}", f"--model_dir={directory}", *SMALL]
    result = _run("cvrl_tf.train", *flags, fresh=True)
    assert result.returncode == 0, result.stderr
    assert f"python -m cvrl_tf.extract_features --model_dir={directory}" in result.stdout
    assert [line for line in result.stderr.splitlines() if "pre-training" not in line] == []
    return directory


def test_flags_txt_runs_the_same_again(model_dir, tmp_path):
    again = tmp_path / "again"
    result = _run("cvrl_tf.train", f"--flagfile={model_dir}/flags.txt", f"--model_dir={again}")
    assert result.returncode == 0, result.stderr
    one, two = (
        [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (model_dir, again)
    )
    assert one == two


def test_keras_json_of_the_user_changes_nothing(model_dir, tmp_path):
    settings = {
        "backend": "jax",
        "floatx": "float16",
        "image_data_format": "channels_first",
        "epsilon": 1e-3,
    }
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    options = {"fresh": True, "KERAS_HOME": str(tmp_path)}
    again, exported = tmp_path / "again", tmp_path / "export"
    flags = [f"--flagfile={model_dir}/flags.txt", f"--model_dir={again}"]
    result = _run("cvrl_tf.train", *flags, **options)
    assert result.returncode == 0, result.stderr
    one, two = (
        [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (model_dir, again)
    )
    assert one == two != []
    # Reloaded, by a process that reads this keras.json, it gives the same features.
    flags = [f"--model_dir={model_dir}", f"--output_dir={exported}"]
    result = _run("cvrl_tf.export", *flags, **options)
    assert result.returncode == 0, result.stderr


def test_knn_eval_writes_its_result(model_dir, shards, tmp_path):
    data = [f"--model_dir={model_dir}", f"--train_data={shards}", f"--test_data={shards}"]
    refused = _run("cvrl_tf.knn_eval", *data)
    _assert_one_sentence(refused, f"All 12 videos of --test_data={shards} are also in --train_data")
    data.append("--allow_overlap")
    page = tmp_path / "neighbors.html"
    flags = ["--num_neighbors=1,3", "--num_clips=2", "--logistic_regression", f"--html={page}"]
    result = _run("cvrl_tf.knn_eval", *data, *flags, fresh=True)
    assert result.returncode == 0, result.stderr
    output = model_dir / "evaluations" / "knn_ckpt-6"
    knn = json.loads((output / "results.json").read_text())
    # Tested on its own training videos: the nearest is the video itself.
    for figure in ("knn_1_top1", "recall_at_1", "logistic_regression_top1"):
        assert knn["figures"][figure]["value"] == 1.0
    assert knn["checkpoint"]["step"] == 6
    assert knn["checkpoint"]["path"] == f"{model_dir}/checkpoints/ckpt-6"
    assert (knn["train"]["videos"], knn["train"]["classes"]) == (12, 2)
    assert knn["train"]["fingerprint"] == knn["test"]["fingerprint"]
    assert knn["views"] == {"clips": 2, "crops": 1, "frames": 4, "stride": 2, "size": 32}
    assert knn["settings"] == {"num_neighbors": [1, 3], "temperature": 0.07}
    assert "knn_1_top1                               1.0000  1.0000 to 1.0000" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        f"written: {output}/results.json, {output}/predictions.csv, {output}/confusion.png, {page}"
    )
    assert f"\nknn: first, step 6 ({model_dir}/checkpoints/ckpt-6)\n" in f"\n{result.stdout}"
    assert "<title>Nearest neighbours, first, step 6</title>" in page.read_text()
    # Other views do not replace it.
    other = _run("cvrl_tf.knn_eval", *data, "--num_neighbors=1,3", "--num_clips=1")
    assert other.returncode == 2 and json.loads((output / "results.json").read_text()) == knn
    assert f"error: {output}/results.json holds another evaluation, with views 2 " in other.stderr
    assert page.read_text().count('class="query') == 12
    ids = tmp_path / "ids.txt"
    ids.write_text("video_9\nvideo_2\nvideo_3\n")
    data += [f"--train_ids={ids}", f"--test_ids={ids}"]
    colors = ["cvrl_tf.knn_eval", "--backbone=color_histogram", *data[1:], "--num_neighbors=1"]
    result = _run(
        *(*colors, f"--output_dir={tmp_path}/colors", "--num_frames=2", "--stride=1"),
        *("--crop_size=40", "--num_clips=1", "--num_crops=3"),
    )
    assert result.returncode == 0, result.stderr
    about = json.loads((tmp_path / "colors" / "results.json").read_text())
    checkpoint = about["checkpoint"]
    assert (checkpoint["kind"], checkpoint["path"]) == ("color_histogram", None)
    assert about["views"] == {"clips": 1, "crops": 3, "frames": 2, "stride": 1, "size": 40}
    assert result.stdout.startswith("knn: colour histogram\n")
    assert f"\ntrain  {shards} ({ids}): 3 videos, 2 classes\n" in result.stdout
    for part in ("train", "test"):
        assert (about[part]["videos"], about[part]["ids_file"]) == (3, str(ids))
    assert about["figures"]["recall_at_1"]["value"] == 1.0  # each is its own neighbour
    few = _run("cvrl_tf.knn_eval", *data, "--num_neighbors=1,4")
    assert few.returncode == 2 and few.stderr.startswith("note: 3 of 3 videos of --test_data=")
    assert "error: --train_data has 3 videos, fewer than --num_neighbors=4" in few.stderr
    _assert_one_sentence(_run(*colors), "directory: colour histogram.")
    wrong = _run("cvrl_tf.knn_eval", *data, "--num_neighbors=5,x")
    _assert_one_sentence(wrong, "--num_neighbors=5,x: expected a number above 0")


def test_training_measures_neighbours_on_the_way(shards, tmp_path):
    flags = [f"--train_data={shards}", *SMALL, "--eval_every_epochs=1", "--epochs=2"]
    run = [f"--model_dir={tmp_path}/run", f"--eval_data={shards}"]
    refused = _run("cvrl_tf.train", *run, *flags)
    _assert_one_sentence(refused, f"All 12 videos of --eval_data={shards} are also in --train_data")
    result = _run("cvrl_tf.train", *run, "--allow_overlap", *flags)
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows if "knn_top1" in row] == [3, 6]
    assert all(0.0 <= row.get("knn_top1", 0.0) <= 1.0 for row in rows)
    unlabelled = write_shard(tmp_path / "unlabelled", [make_video(0, label=None)])
    result = _run("cvrl_tf.train", f"--model_dir={tmp_path}/x", f"--eval_data={unlabelled}", *flags)
    _assert_one_sentence(result, f"1 of 1 records of {unlabelled} have no label, the first is")
    assert not (tmp_path / "x").exists()


def test_features_are_extracted(model_dir, shards, tmp_path):
    output = tmp_path / "features.npz"
    run = [f"--model_dir={model_dir}", f"--data={shards}", f"--output={output}", "--num_clips=2"]
    result = _run("cvrl_tf.extract_features", *run)
    assert result.returncode == 0, result.stderr
    described = f"r3d_small, step 6, run {model_dir}/checkpoints/ckpt-6"
    assert result.stdout == (
        f"features of {described}: (12, 2, 512) videos, views, size: {output}\n"
    )
    stored = np.load(output)
    assert stored["ids"].tolist() == [f"video_{index}" for index in range(12)]
    assert stored["labels"].tolist() == [0, 1] * 6
    _assert_one_sentence(_run("cvrl_tf.extract_features", *run), "exists: name a new file")


def test_features_are_extracted_from_files(tmp_path):
    """The bracketed name is that of one file; the directory and what is no video are failures."""
    clip = write_video(tmp_path / "My clip [dQw4w9WgXcQ].mp4", draw(12, 40, 56))
    flags = ["--backbone=r3d_small", "--num_frames=4", "--crop_size=32", "--num_clips=2"]
    (tmp_path / "broken\x1b[31m.mp4").write_bytes(b"no video")
    (tmp_path / "directory.mp4").mkdir()
    for files, name in (clip, "one.npz"), (f"{tmp_path}/*.mp4", "all.npz"):
        output = tmp_path / name
        result = _run(
            *("cvrl_tf.extract_features", *flags, f"--files={files}", f"--output={output}"),
            *("--workers=1", "--timeout=60"),
            fresh=True,
        )
        assert result.returncode == 0, result.stderr
        stored = np.load(output)
        assert stored["ids"].tolist() == ["My clip [dQw4w9WgXcQ]"]
        assert stored["features"].shape == (1, 2, 512)
    assert result.stdout.splitlines()[1:] == [
        f"2 videos skipped, 0 damaged but used: {output}.failures.csv"
    ]
    lines = [
        line for line in result.stderr.splitlines() if not line.startswith("pooled features: ")
    ]
    assert lines == [
        f"skipped: {tmp_path}/broken\\x1b[31m.mp4: not a video that can be opened: Invalid data"
        " found when processing input",
        f"skipped: {tmp_path}/directory.mp4: a directory",
    ]


def test_export_hands_the_backbone_over(model_dir, tmp_path):
    output = tmp_path / "export"
    flags = [f"--model_dir={model_dir}", f"--output_dir={output}/"]
    result = _run("cvrl_tf.export", *flags, fresh=True)
    assert result.returncode == 0, result.stderr
    first, written, verified, following = result.stdout.splitlines()
    assert first == (
        f"exporting r3d_small, step 6, run {model_dir}/checkpoints/ckpt-6, then reloading it in a"
        " fresh process"
    )
    assert written == f"written: {output}"
    assert re.fullmatch(
        r"verified: features differ from the checkpoint's by \de-\d\d of the largest", verified
    )
    assert following == f"next: the code to fine-tune and serve it: {output}/README.md"
    assert result.stderr == ""
    clips = tf.random.stateless_uniform([2, 4, 32, 32, 3], [0, 1])
    expected = weights.load_backbone(str(model_dir))[0](clips, training=False)
    exported = tf.saved_model.load(str(output / "saved_model"))
    tolerance = 1e-5 * np.max(expected)
    np.testing.assert_allclose(exported.serve(clips)["features"], expected, atol=tolerance)
    keras_file = keras.models.load_model(output / "backbone.keras")
    np.testing.assert_allclose(keras_file(clips), expected, atol=tolerance)
    before = sorted((path, path.stat().st_mtime_ns) for path in output.rglob("*"))
    again = _run("cvrl_tf.export", f"--model_dir={model_dir}", f"--output_dir={output}")
    _assert_one_sentence(again, "exists: name a new directory")
    assert sorted((path, path.stat().st_mtime_ns) for path in output.rglob("*")) == before


def test_export_reads_a_checkpoint_of_the_authors(tmp_path):
    keys = official.backbone_keys(build_backbone("r3d_small"))
    weights = random_weights({key: tuple(variable.shape) for key, variable in keys.items()})
    prefix = write_checkpoint(tmp_path / "ckpt-7", weights, global_step=7)
    output = tmp_path / "export"
    result = _run("cvrl_tf.export", f"--official={prefix}.index", f"--output_dir={output}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"exporting r3d_small, step 7, official {prefix}, then")
    exported = {
        weight.path: weight.numpy()
        for weight in keras.models.load_model(output / "backbone.keras").weights
    }
    for key, variable in keys.items():
        np.testing.assert_array_equal(exported[variable.path], weights[key])
    card = (output / "README.md").read_text()
    assert "- Checkpoint `ckpt-7`, 7 training steps." in card and f"from `{prefix}`" in card


def test_export_of_what_is_not_whole_writes_nothing(model_dir, tmp_path):
    output = f"--output_dir={tmp_path}/export"
    damaged = tmp_path / "run"
    shutil.copytree(model_dir, damaged)
    (data,) = (damaged / "checkpoints").glob("*.data-*")
    whole = data.read_bytes()
    data.write_bytes(whole[:1000])
    result = _run("cvrl_tf.export", f"--model_dir={damaged}", output)
    _assert_one_sentence(result, "ckpt-6 is damaged (")
    data.write_bytes(whole)
    config = json.loads((model_dir / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps(config | {"backbone": "r3d_50"}))
    # In a process of its own, at whose end TensorFlow would list what was not restored.
    other = _run("cvrl_tf.export", f"--model_dir={damaged}", output, fresh=True)
    _assert_one_sentence(other, "of another net")
    shutil.rmtree(damaged / "checkpoints")
    _assert_one_sentence(_run("cvrl_tf.export", f"--model_dir={damaged}", output), "no checkpoint")
    _assert_one_sentence(
        _run("cvrl_tf.export", f"--official={tmp_path}/none", output), "none cannot be read"
    )
    both = _run("cvrl_tf.export", f"--model_dir={damaged}", "--official=x", output)
    _assert_one_sentence(both, "Found --model_dir, --official of --model_dir, --init_checkpoint")
    assert list(tmp_path.iterdir()) == [damaged]


@pytest.mark.parametrize(
    "module", ["cvrl_tf.train", "cvrl_tf.knn_eval", "cvrl_tf.extract_features", "cvrl_tf.export"]
)
def test_help_fits_a_reader(module):
    result = _run(module, "--help")
    assert result.returncode == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert f"python -m {module}" in result.stdout
    assert "Traceback" not in result.stderr


def _assert_one_sentence(result, message):
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_another_configuration_in_the_same_directory_is_refused(model_dir, shards):
    before = sorted((path, path.read_bytes()) for path in model_dir.rglob("*") if path.is_file())
    flags = [*SMALL, "--seed=1", f"--train_data={shards}", f"--model_dir={model_dir}"]
    _assert_one_sentence(_run("cvrl_tf.train", *flags), "holds a run with seed=0 (now 1)")
    after = sorted((path, path.read_bytes()) for path in model_dir.rglob("*") if path.is_file())
    assert before == after


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train_data=nothing/*", "--model_dir=x"], "--train_data=nothing/* matches no file"),
        (["--train_data=nothing/*"], "--train_data is given without --model_dir"),
        (["--temperature=0"], "error: flag --temperature=0"),
        (["--backbone=r3d_18"], "should be one of <r3d_50|r3d_101|r3d_152|r3d_small>"),
    ],
)
def test_wrong_flags_of_training_are_one_sentence(tmp_path, flags, message):
    _assert_one_sentence(_run("cvrl_tf.train", *flags, cwd=tmp_path), message)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_a_run_is_refused(shards, tmp_path):
    flags = [f"--model_dir={tmp_path}", f"--train_data={shards}", f"--test_data={shards}"]
    _assert_one_sentence(_run("cvrl_tf.knn_eval", *flags), "holds no config.json")
    _assert_one_sentence(
        _run("cvrl_tf.export", f"--model_dir={tmp_path}", f"--output_dir={tmp_path}/x"),
        "holds no config.json",
    )
    _assert_one_sentence(
        _run("cvrl_tf.export", f"--output_dir={tmp_path}/x"), "Found none of --model_dir, --init_"
    )


def test_a_bad_record_in_the_middle_is_left_out_or_one_sentence(tmp_path):
    broken = make_video(8)
    broken = dataclasses.replace(broken, frames=[frame[:300] for frame in broken.frames])
    path = write_shard(tmp_path / "shard", [*map(make_video, range(8)), broken])
    flags = [f"--train_data={path}", f"--model_dir={tmp_path / 'run'}", *SMALL]
    result = _run("cvrl_tf.train", *flags)
    assert result.returncode == 0, result.stderr
    assert f"skipped: {path}, record 8: frame 0 cannot be decoded: " in result.stderr
    result = _run("cvrl_tf.train", *flags, f"--model_dir={tmp_path}/none", "--max_bad_records=0")
    assert result.returncode == 2
    assert "error: 1 records cannot be used, more than max_bad_records=0; " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_tfds_data_set_is_trained_on_and_evaluated(tmp_path, monkeypatch):
    small_tfds.prepare(tmp_path / "tfds", "small_video")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    run, data = tmp_path / "run", "tfds:small_video:1.0.0:train"
    flags = [f"--train_data={data}", f"--model_dir={run}"]
    result = _run("cvrl_tf.train", *flags, *SMALL, "--epochs=1")
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if "pre-training" not in line] == []
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 2
    result = _run(
        "cvrl_tf.knn_eval", *flags, "--test_data=tfds:small_video:test", "--num_neighbors=1"
    )
    assert result.returncode == 0, result.stderr
    knn = json.loads((run / "evaluations" / "knn_ckpt-2" / "results.json").read_text())
    assert knn["checkpoint"]["step"] == 2
    assert (knn["train"]["videos"], knn["test"]["videos"]) == (8, 4)
