import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from cvrl_tf import compiler, files
from cvrl_tf.data import parts
from cvrl_tf.data.labels import read_labels
from cvrl_tf.errors import InputError
from cvrl_tf.models import build_projection_head
from cvrl_tf.training import metrics, pretrain, run_config, weights
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer
from cvrl_tf.training.loop import LoopOptions
from cvrl_tf.training.pretrain import Evaluation, Execution


def test_pretrain_writes_what_it_says(config, tmp_path, one_replica):
    directory = str(tmp_path / "run")
    options = LoopOptions(save_every_steps=4, log_every_steps=2, flagfile="--x\n")
    pretrain.pretrain(
        config,
        directory,
        options,
        evaluation=Evaluation(lambda backbone: {"size": backbone.output_shape[-1]}, 2.0),
        strategy=one_replica,
    )
    rows = metrics.read_metrics(directory)
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert [row["epoch"] for row in rows] == pytest.approx([2 / 3, 4 / 3, 2.0])
    assert set(rows[0]) == {
        "step",
        "epoch",
        "loss",
        "contrast_accuracy",
        "contrast_entropy",
        "positive_similarity",
        "negative_similarity",
        "feature_std",
        "gradient_norm",
        "learning_rate",
        "skipped_steps",
        "videos_per_second",
        "input_wait",
        "bad_records",
    }
    assert [row.get("size") for row in rows] == [None, None, 512]
    assert all(0 < row["input_wait"] < 1 for row in rows)
    # Six steps, two of warm-up: the rate of the sixth step is that after five.
    assert rows[-1]["learning_rate"] == pytest.approx(0.001 * (1 + np.cos(np.pi * 5 / 6)), rel=1e-5)
    (events,) = (tmp_path / "run").glob("events.out.tfevents.*")
    tags = {
        value.tag
        for record in tf.data.TFRecordDataset(str(events)).as_numpy_iterator()
        for value in event_pb2.Event.FromString(record).summary.value
    }
    assert tags == {*rows[0], *rows[2], "clip_pairs", "interval"} - {"step"}
    picture = tf.io.decode_png(tf.io.read_file(os.path.join(directory, "clip_pairs.png")))
    assert picture.shape == (6 * (2 * 34 + 4) - 6, 4 * 34 - 2, 3)
    assert sorted(os.listdir(os.path.join(directory, "checkpoints"))) == [
        "checkpoint",
        "ckpt-4.data-00000-of-00001",
        "ckpt-4.index",
        "ckpt-6.data-00000-of-00001",
        "ckpt-6.index",
    ]
    backbone, step = weights.load_backbone(directory)
    initial = config.build_backbone()
    assert step == 6
    kernel = "res4_0_a_conv"
    change = backbone.get_layer(kernel).kernel.numpy() - initial.get_layer(kernel).kernel.numpy()
    assert 0 < np.abs(change).max() < 1


def test_a_stopped_run_resumes_to_the_same_weights(config, tmp_path, one_replica, interrupted_at):
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    arguments = {
        "options": LoopOptions(save_every_steps=2, log_every_steps=1),
        "strategy": one_replica,
    }
    pretrain.pretrain(config, whole, **arguments)

    with interrupted_at(4):
        pretrain.pretrain(config, stopped, **arguments)
    assert [row["step"] for row in metrics.read_metrics(stopped)] == [1, 2, 3]
    pretrain.pretrain(config, stopped, execution=Execution(augment_on="host"), **arguments)

    rows, expected = metrics.read_metrics(stopped), metrics.read_metrics(whole)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in rows] == [row["loss"] for row in expected]
    for one, two in zip(
        weights.load_backbone(whole)[0].variables,
        weights.load_backbone(stopped)[0].variables,
        strict=True,
    ):
        np.testing.assert_array_equal(one.numpy(), two.numpy())

    # Other flags are refused, or named and taken.
    longer = dataclasses.replace(config, epochs=3.0)
    with pytest.raises(InputError, match=r"epochs=2.0 \(now 3.0\): resume it .*, or give override"):
        pretrain.pretrain(longer, whole, **arguments)
    options = dataclasses.replace(arguments["options"], override=True)
    pretrain.pretrain(longer, whole, options, strategy=one_replica)
    assert metrics.read_metrics(whole)[-1]["step"] == 9
    assert run_config.load_config(whole) == longer


def test_some_of_the_videos(config, tmp_path, one_replica):
    ids = tmp_path / "ids.txt"
    ids.write_text("video_7\nvideo_1\nvideo_10\n")
    some = dataclasses.replace(config, train_ids=str(ids), batch_size=2)
    videos = pretrain._checked_videos(some, one_replica, Execution())
    assert sorted(read_labels(videos).ids) == ["video_1", "video_10", "video_7"]
    with pytest.raises(InputError, match=r"^batch_size=4 is more than the 3 videos of "):
        four = dataclasses.replace(some, batch_size=4)
        pretrain._checked_videos(four, one_replica, Execution())
    ids.write_text("video_1\nvideo_99\n")
    with pytest.raises(
        InputError, match=r"1 of 2 ids of the list are not in .*, the first is 'vid"
    ):
        pretrain.pretrain(some, str(tmp_path / "none"), strategy=one_replica)
    assert not (tmp_path / "none").exists()


def test_directories_with_characters_of_patterns(config, tmp_path, one_replica):
    """A run is made, resumed, and used as the start of another one."""
    directory = str(tmp_path / "a [v1]" / r"b\c")
    config = dataclasses.replace(config, steps=2, warmup_epochs=0.0)
    options = LoopOptions(save_every_steps=1, keep_checkpoints=1)
    pretrain.pretrain(config, directory, options=options, strategy=one_replica)
    assert sorted(os.listdir(os.path.join(directory, "checkpoints"))) == [
        "checkpoint",
        "ckpt-2.data-00000-of-00001",
        "ckpt-2.index",
    ]
    before = files.read_text(os.path.join(directory, "metrics.jsonl"))
    pretrain.pretrain(config, directory, options=options, strategy=one_replica)  # all is done
    assert files.read_text(os.path.join(directory, "metrics.jsonl")) == before
    for path in (directory, os.path.join(directory, "checkpoints", "ckpt-2")):
        backbone, step = weights.load_backbone(path)
        assert step == 2
    started = dataclasses.replace(config, init_checkpoint=directory)
    fresh = started.build_backbone()
    said = weights.initialize({"backbone": fresh, "head": build_projection_head(512)}, started)
    assert said == f"initial weights: backbone and head of {directory}/checkpoints/ckpt-2"
    np.testing.assert_array_equal(fresh.weights[0], backbone.weights[0])


def test_two_processes_do_not_share_a_directory(config, tmp_path, one_replica):
    directory = tmp_path / "run"
    directory.mkdir()
    run_config.prepare(str(directory), config)
    message = rf"Another process \({os.getpid()} on .*\) is training in {directory}: wait for it"
    with (
        files.locked(str(directory / "lock"), "training"),
        pytest.raises(InputError, match=message),
    ):
        pretrain.pretrain(config, str(directory), strategy=one_replica)
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "lock"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 16}, r"^batch_size=16 is more than the 12 videos"),
        ({"accumulate": 3}, r"evenly over 1 devices and accumulate=3: give a multiple of 3"),
        ({"epochs": 0.1}, r"^epochs=0.1 of 12 videos is less than one step"),
        ({"warmup_epochs": 2.0}, r"^warmup_epochs=2.0 is 6 steps, not fewer than the 6 steps of"),
        ({"crop_size": 64}, r"frames of 48x40 pixels, smaller than crop_size=64"),
        ({"train_data": "/nowhere/*"}, r"--train_data=/nowhere/\* matches no file"),
        ({"init_checkpoint": "/nowhere"}, r"/nowhere does not exist: expected"),
    ],
)
def test_what_cannot_be_trained_is_named_before_anything_is_written(
    config, tmp_path, one_replica, change, message
):
    with pytest.raises(InputError, match=message):
        pretrain.pretrain(
            dataclasses.replace(config, **change), str(tmp_path / "run"), strategy=one_replica
        )
    assert not (tmp_path / "run").exists()


def test_an_uneven_batch_is_named(config, tmp_path, two_replicas):
    uneven = dataclasses.replace(config, batch_size=5)
    with pytest.raises(InputError, match=r"^batch_size=5 does not divide evenly over 2 devices"):
        pretrain.pretrain(uneven, str(tmp_path / "run"), strategy=two_replicas)


@pytest.mark.slow
@pytest.mark.parametrize("augment_on", ["device", "device_without_xla"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_fifty_steps_of_two_replicas_with_colours_on_the_device(
    config, two_replicas, tmp_path, precision, augment_on
):
    """Neither hangs nor fails, whatever the colours are computed by."""
    long = dataclasses.replace(config, precision=precision, steps=50, warmup_epochs=0.0)
    directory = str(tmp_path / "run")
    options = LoopOptions(log_every_steps=1)
    execution = Execution(augment_on=augment_on)
    pretrain.pretrain(long, directory, options, execution, strategy=two_replicas)
    rows = metrics.read_metrics(directory)
    assert [row["step"] for row in rows] == list(range(1, 51))
    assert np.isfinite([row["loss"] for row in rows]).all()


def test_colours_change_on_the_device_if_it_is_a_gpu(one_replica, monkeypatch, capsys):
    assert Execution().place_colors(one_replica) == "host"
    monkeypatch.setattr(pretrain, "on_gpus", lambda strategy: True)
    assert Execution().place_colors(one_replica) == "device"
    assert Execution(augment_on="host").place_colors(one_replica) == "host"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(compiler, "problem", lambda device: "libdevice not found")
    assert Execution().place_colors(one_replica) == "device_without_xla"
    assert capsys.readouterr().err == (
        "note: XLA is not used on the device (libdevice not found): colours and batch"
        " normalisation are computed there without it, more slowly.\n"
    )


@pytest.mark.parametrize(
    ("place", "bytes_of_a_part", "expected"),
    [
        ("host", 1e9, [[0, 1], [2, 3]]),  # the two micro-batches
        ("host", 2 * 4 * 32 * 32 * 3 * 4, [[0], [1], [2], [3]]),  # float32
        ("device", 2 * 4 * 32 * 32 * 3 * 4, [[0, 1], [2, 3]]),  # uint8
        ("device", 2 * 4 * 32 * 32 * 3, [[0], [1], [2], [3]]),
    ],
)
def test_a_step_gets_its_batch_in_parts(
    config, tmp_path, one_replica, monkeypatch, place, bytes_of_a_part, expected
):
    found = []

    def step(trainer, *batch):
        found.append([part.positions.numpy().tolist() for part in batch])
        return {name: tf.constant(0.0) for name in ("loss", "gradient_norm", "skipped")}

    monkeypatch.setattr(ContrastiveTrainer, "step", step)
    monkeypatch.setattr(parts, "PART_BYTES", bytes_of_a_part)
    config = dataclasses.replace(config, accumulate=2, steps=1, warmup_epochs=0.0)
    execution = Execution(augment_on=place)
    pretrain.pretrain(config, str(tmp_path), execution=execution, strategy=one_replica)
    assert found == [expected]
