import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.data import pipeline
from cvrl_tf.data.source import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.training import metrics, pretrain, run_directory
from cvrl_tf.training.contrastive import info_nce
from cvrl_tf.training.run_directory import PretrainConfig


@pytest.fixture
def config(shards):
    return PretrainConfig(
        train_data=shards,
        num_frames=4,
        crop_size=32,
        shuffle_buffer=4,
        backbone="r3d_small",
        batch_size=4,
        epochs=2.0,
        warmup_epochs=0.5,
        learning_rate=0.002,
        weight_decay=1e-2,
    )


def _batches(config, count, batch_size):
    source = find_source(config.train_data, "train_data")
    return pipeline.pretraining_batches(
        source, 12, config.view_pair, batch_size, config.shuffle_buffer, config.seed
    ).take(count)


def _train(config, strategy, num_steps, remat=False):
    """Losses and weights after some steps, by the trainer's own step."""
    with strategy.scope():
        trainer = pretrain.Trainer(config, warmup_steps=0, total_steps=1000, remat=remat)
    batches = iter(
        strategy.distribute_datasets_from_function(
            lambda context: _batches(
                config, -1, context.get_per_replica_batch_size(config.batch_size)
            )
        )
    )
    losses = [float(trainer.step(next(batches))["loss"]) for _ in range(num_steps)]
    weights = {
        variable.path: variable.numpy()
        for model in (trainer.backbone, trainer.head)
        for variable in model.variables
    }
    return losses, weights


@pytest.mark.parametrize("remat", [False, True])
def test_two_replicas_train_like_one_with_the_joint_batch(config, one_replica, two_replicas, remat):
    # After one step: later ones amplify rounding through max pooling's choice of a maximum.
    one_losses, one = _train(config, one_replica, num_steps=1)
    two_losses, two = _train(config, two_replicas, num_steps=1, remat=remat)
    np.testing.assert_allclose(two_losses, one_losses, rtol=1e-5)
    assert one.keys() == two.keys()
    for path in one:
        np.testing.assert_allclose(two[path], one[path], atol=1e-5, err_msg=path)
    moved = [path for path in one if path.endswith("moving_mean") and np.abs(one[path]).max() > 0]
    assert len(moved) == sum(path.endswith("moving_mean") for path in one)


def test_one_step_is_the_update_of_the_paper(config, one_replica):
    """Gradient of InfoNCE plus weight decay on kernels; then SGD with momentum 0.9, three steps."""
    with one_replica.scope():
        trainer = pretrain.Trainer(config, warmup_steps=0, total_steps=1000)
    expected = [variable.numpy() for variable in trainer.variables]
    momenta = [np.zeros_like(value) for value in expected]
    decayed = {variable.path for variable in trainer.variables if "kernel" in variable.path}

    @tf.function
    def loss_gradients(views):
        with tf.GradientTape() as tape:
            clips = tf.concat(views, axis=0)
            embeddings = trainer.head(trainer.backbone(clips, training=True), training=True)
            loss, _ = info_nce(embeddings[:4], embeddings[4:], config.temperature)
        return tape.gradient(loss, [variable.value for variable in trainer.variables])

    for step, views in enumerate(_batches(config, 3, 4)):
        gradients = loss_gradients(views)
        rate = 0.001 * (1 + np.cos(np.pi * step / 1000))
        for index, (variable, gradient) in enumerate(
            zip(trainer.variables, gradients, strict=True)
        ):
            gradient = gradient.numpy()
            if variable.path in decayed:
                gradient = gradient + 1e-2 * expected[index]
            momenta[index] = 0.9 * momenta[index] - rate * gradient
            expected[index] = expected[index] + momenta[index]
        trainer.step(views)
        for variable, value in zip(trainer.variables, expected, strict=True):
            np.testing.assert_allclose(
                variable.numpy(), value, atol=1e-5, err_msg=f"{step} {variable.path}"
            )


def test_augmenting_on_the_device_trains_the_same(config, one_replica):
    losses = []
    for augmented in (True, False):
        with one_replica.scope():
            trainer = pretrain.Trainer(config, warmup_steps=0, total_steps=1000)
        source = find_source(config.train_data, "train_data")
        (views,) = pipeline.pretraining_batches(
            source, 12, config.view_pair, 4, config.shuffle_buffer, config.seed, augmented=augmented
        ).take(1)
        losses.append(float(trainer.step(views)["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_weight_decay_holds_for_kernels_only(config, one_replica):
    with one_replica.scope():
        trainer = pretrain.Trainer(config, 1, 10)
    kernels = pretrain.decayed_kernels(trainer.backbone, trainer.head)
    blocks = [f"res{stage}_0_{part}" for stage in range(2, 6) for part in ("shortcut", *"abc")]
    assert {variable.path for variable in kernels} == {
        "conv1_conv/kernel",
        *(f"{block}_conv/kernel" for block in blocks),
        *(f"hidden_{index}_dense/kernel" for index in range(3)),
        "embeddings/kernel",
    }
    others = {variable.path for variable in trainer.variables} - {k.path for k in kernels}
    assert {path.rsplit("/", 1)[1] for path in others} == {"gamma", "beta", "bias"}


def test_training_lowers_the_loss_on_a_fixed_batch(config, one_replica):
    faster = dataclasses.replace(config, learning_rate=0.02)
    with one_replica.scope():
        trainer = pretrain.Trainer(faster, 0, 1000)
    (views,) = _batches(config, 1, 12)
    losses = [float(trainer.step(views)["loss"]) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_pretrain_writes_what_it_says(config, tmp_path, one_replica):
    directory = str(tmp_path / "run")
    pretrain.pretrain(
        config, directory, "--x\n", save_every_steps=4, log_every_steps=2, strategy=one_replica
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
        "learning_rate",
        "videos_per_second",
        "input_wait",
    }
    assert all(0 < row["input_wait"] < 1 for row in rows)
    # Six steps, two of warm-up: the rate of the sixth step is that after five.
    assert rows[-1]["learning_rate"] == pytest.approx(0.001 * (1 + np.cos(np.pi * 5 / 6)), rel=1e-5)
    picture = tf.io.decode_png(tf.io.read_file(os.path.join(directory, "clip_pairs.png")))
    assert picture.shape == (6 * (2 * 34 + 4) - 6, 4 * 34 - 2, 3)
    assert sorted(os.listdir(os.path.join(directory, "checkpoints"))) == [
        "checkpoint",
        "ckpt-4.data-00000-of-00001",
        "ckpt-4.index",
        "ckpt-6.data-00000-of-00001",
        "ckpt-6.index",
    ]
    backbone, step = run_directory.load_backbone(directory)
    initial = config.build_backbone()
    assert step == 6
    kernel = "res4_0_a_conv"
    change = backbone.get_layer(kernel).kernel.numpy() - initial.get_layer(kernel).kernel.numpy()
    assert 0 < np.abs(change).max() < 1


def test_a_stopped_run_goes_on_to_the_same_weights(config, tmp_path, one_replica, monkeypatch):
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    options = {"save_every_steps": 2, "log_every_steps": 1, "strategy": one_replica}
    pretrain.pretrain(config, whole, **options)

    step, calls = pretrain.Trainer.step, []

    def failing_step(self, views):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, views)

    monkeypatch.setattr(pretrain.Trainer, "step", failing_step)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(config, stopped, **options)
    monkeypatch.setattr(pretrain.Trainer, "step", step)
    assert [row["step"] for row in metrics.read_metrics(stopped)] == [1, 2, 3]
    pretrain.pretrain(config, stopped, augment_on="host", **options)

    rows, expected = metrics.read_metrics(stopped), metrics.read_metrics(whole)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in rows] == [row["loss"] for row in expected]
    for one, two in zip(
        run_directory.load_backbone(whole)[0].variables,
        run_directory.load_backbone(stopped)[0].variables,
        strict=True,
    ):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_a_finished_run_is_left_alone(config, tmp_path, one_replica):
    directory = str(tmp_path / "run")
    pretrain.pretrain(config, directory, strategy=one_replica)
    checkpoints = {
        path.name: path.read_bytes() for path in (tmp_path / "run/checkpoints").iterdir()
    }
    pretrain.pretrain(config, directory, strategy=one_replica)
    again = {path.name: path.read_bytes() for path in (tmp_path / "run/checkpoints").iterdir()}
    assert checkpoints == again
    assert len(metrics.read_metrics(directory)) == 1


def test_a_damaged_checkpoint_is_named(config, tmp_path, one_replica):
    directory = str(tmp_path / "run")
    pretrain.pretrain(config, directory, strategy=one_replica)
    data = tmp_path / "run" / "checkpoints" / "ckpt-6.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match="ckpt-6 is damaged or of another network"):
        run_directory.load_backbone(directory)
    with pytest.raises(InputError, match="ckpt-6 is damaged"):
        pretrain.pretrain(config, directory, strategy=one_replica)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 16}, r"--batch_size=16 is more than the 12 videos"),
        ({"epochs": 0.1}, r"--epochs=0.1 of 12 videos is less than one step"),
        ({"warmup_epochs": 2.0}, r"--warmup_epochs=2.0 is not less than --epochs=2.0"),
        ({"crop_size": 64}, r"frames of 48x40 pixels, smaller than --crop_size=64"),
        ({"train_data": "/nowhere/*"}, r"--train_data=/nowhere/\* matches no file"),
        ({"init_checkpoint": "/nowhere"}, r"/nowhere holds no config.json"),
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
    with pytest.raises(InputError, match=r"--batch_size=5 does not divide evenly over 2 devices"):
        pretrain.pretrain(uneven, str(tmp_path / "run"), strategy=two_replicas)


def test_a_loss_that_is_not_finite_stops_the_run(config, tmp_path, one_replica):
    wild = dataclasses.replace(config, learning_rate=1e30, warmup_epochs=0.0)
    with pytest.raises(InputError, match=r"The loss is nan at step \d: lower --learning_rate"):
        pretrain.pretrain(wild, str(tmp_path / "run"), log_every_steps=1, strategy=one_replica)


def test_bfloat16_trains_like_float32(config, one_replica):
    half = dataclasses.replace(config, precision="bfloat16")
    losses, weights = _train(half, one_replica, num_steps=3)
    exact, _ = _train(config, one_replica, num_steps=1)
    # Eight clips, differences divided by a temperature of 0.1: rounding shows.
    assert losses[0] == pytest.approx(exact[0], rel=0.15)
    assert losses[0] != exact[0]
    assert np.isfinite(losses).all()
    assert {value.dtype for path, value in weights.items() if "seed" not in path} == {
        np.dtype("float32")
    }
