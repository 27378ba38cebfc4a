import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data import parts as batch_parts
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.pipeline import LabelledBatch
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification
from cvrl_tf.evaluation.inference import Computation
from cvrl_tf.evaluation.views import EvaluationViews, sample_views
from cvrl_tf.models import build_backbone
from cvrl_tf.training import loop, metrics, run_config, supervised
from cvrl_tf.training.config import PretrainConfig, SupervisedConfig, Validation
from cvrl_tf.training.origin import load_run
from cvrl_tf.training.supervised import SupervisedTrainer

CONFIG = SupervisedConfig(
    train_data="",
    num_classes=3,
    frozen=False,
    num_frames=4,
    crop_size=32,
    backbone="r3d_small",
    batch_size=4,
    learning_rate=0.1,
    weight_decay=0.01,
)
LABELS = tf.constant([0, 2, 1, 2], tf.int64)


@pytest.fixture(scope="module")
def batch():
    """Four clips of 4 frames."""
    values = tf.random.stateless_uniform([4, 4, 32, 32, 3], [1, 2], 0, 256, tf.int32)
    return LabelledBatch(tf.cast(values, tf.uint8), LABELS, tf.range(4, dtype=tf.int64))


def _trainer(strategy, **changes):
    with strategy.scope():
        backbone = build_backbone("r3d_small")
        return SupervisedTrainer(dataclasses.replace(CONFIG, **changes), backbone, 0, 1000)


def _weights(model):
    return {variable.path: variable.numpy() for variable in model.variables}


def test_a_linear_probe_is_trained_as_by_hand_and_leaves_the_backbone(batch, one_replica):
    trainer = _trainer(one_replica, frozen=True, weight_decay=0.0)
    backbone = _weights(trainer.backbone)
    features = trainer.backbone(tf.cast(batch.clips, tf.float32) / 255.0, training=False).numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    kernel, bias = (variable.numpy() for variable in trainer.classifier.weights)
    assert kernel.shape == (512, 3) and np.abs(kernel).max() <= 0.05 and np.ptp(kernel) > 0.09
    assert bias.tolist() == [0, 0, 0]
    momenta = [0.0, 0.0]
    for step in range(3):
        logits = features @ kernel + bias
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        loss = -np.mean(np.log(probabilities[range(4), LABELS]))
        error = (probabilities - np.eye(3)[LABELS]) / 4
        gradients = [features.T @ error, error.sum(axis=0)]
        rate = 0.05 * (1 + np.cos(np.pi * step / 1000))
        momenta = [0.9 * m - rate * g for m, g in zip(momenta, gradients, strict=True)]
        figures = trainer.step(batch)
        assert float(figures["loss"]) == pytest.approx(loss, rel=1e-5)
        assert float(figures["accuracy"]) == np.mean(np.argmax(logits, 1) == LABELS)
        kernel, bias = kernel + momenta[0], bias + momenta[1]
        np.testing.assert_allclose(trainer.classifier.weights[0].numpy(), kernel, atol=1e-6)
        np.testing.assert_allclose(trainer.classifier.weights[1].numpy(), bias, atol=1e-6)
    after = _weights(trainer.backbone)  # moving statistics too
    for path in backbone:
        np.testing.assert_array_equal(after[path], backbone[path], err_msg=path)
    assert [variable.shape for variable in trainer.optimizer.momentums] == [(512, 3), (3,)]


def test_fine_tuning_trains_all_layers_and_moves_their_statistics(batch, one_replica):
    trainer = _trainer(one_replica, learning_rate=0.01)
    before = _weights(trainer.backbone) | _weights(trainer.classifier)
    losses = [float(trainer.step(batch)["loss"]) for _ in range(3)]
    after = _weights(trainer.backbone) | _weights(trainer.classifier)
    assert [path for path in before if np.array_equal(before[path], after[path])] == []
    assert losses[2] < losses[0]


def test_a_batch_in_parts_trains_the_same(batch, one_replica):
    halves = [
        LabelledBatch(*values) for values in zip(*(tf.split(x, 2) for x in batch), strict=True)
    ]
    found = []
    for parts in ([batch], halves):
        trainer = _trainer(one_replica, frozen=True)
        figures = trainer.step(*parts)
        found.append((float(figures["loss"]), float(figures["accuracy"])))
        found[-1] += tuple(weight.tobytes() for weight in _weights(trainer.classifier).values())
    assert found[0] == found[1]


def test_weight_decay_holds_for_kernels_only(batch, one_replica):
    weights = {}
    for decay in (0.0, 0.5):
        trainer = _trainer(one_replica, frozen=True, weight_decay=decay)
        before = _weights(trainer.classifier)
        trainer.step(batch)
        weights[decay] = _weights(trainer.classifier)
    # One step at learning rate 0.1: 0.1 * 0.5 of each kernel less, biases the same.
    kernel, bias = before
    np.testing.assert_allclose(
        weights[0.5][kernel], weights[0.0][kernel] - 0.05 * before[kernel], atol=1e-6
    )
    np.testing.assert_allclose(weights[0.5][bias], weights[0.0][bias], atol=1e-6)


def test_smoothed_cross_entropy_by_hand():
    logits = tf.constant([[0.0, np.log(3.0)], [0.0, 0.0]])
    labels = tf.constant([1, 0])
    # Probabilities 1/4, 3/4 and 1/2, 1/2.
    assert float(supervised.cross_entropy(logits, labels, 0.0)) == pytest.approx(
        -(np.log(3 / 4) + np.log(1 / 2)) / 2
    )
    # Targets 0.1, 0.9 at s = 0.2.
    assert float(supervised.cross_entropy(logits, labels, 0.2)) == pytest.approx(
        -(0.9 * np.log(3 / 4) + 0.1 * np.log(1 / 4) + np.log(1 / 2)) / 2
    )


def test_dropout_scales_what_it_keeps_and_does_not_depend_on_replicas():
    features = tf.random.stateless_uniform([8, 500], [0, 0], 1.0, 2.0)
    seed = tf.constant([3, 4])
    whole = supervised.dropout(features, 0.8, seed, replica=0, num_replicas=1).numpy()
    kept = whole != 0
    np.testing.assert_allclose(whole[kept], features.numpy()[kept] * 5.0, rtol=1e-6)
    assert np.mean(kept) == pytest.approx(0.2, abs=3 * np.sqrt(0.16 / 4000))
    halves = [
        supervised.dropout(features[4 * replica : 4 * replica + 4], 0.8, seed, replica, 2)
        for replica in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
    other = supervised.dropout(features, 0.8, tf.constant([3, 5]), 0, 1).numpy()
    assert np.any((other != 0) != kept)


def test_dropout_is_for_training_only(batch, one_replica):
    with_dropout, without = (
        _trainer(one_replica, frozen=True, dropout=rate) for rate in (0.9, 0.0)
    )
    pixels = tf.cast(batch.clips, tf.float32) / 255.0
    probabilities = with_dropout.probabilities(pixels).numpy()
    np.testing.assert_array_equal(probabilities, without.probabilities(pixels).numpy())
    np.testing.assert_array_equal(probabilities, with_dropout.probabilities(pixels).numpy())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    losses = [float(trainer.step(batch)["loss"]) for trainer in (with_dropout, without)]
    assert losses[0] != losses[1]


def test_two_replicas_train_like_one_with_the_joint_batch(batch, one_replica, two_replicas):
    figures, weights = [], []
    for strategy, count in ((one_replica, 1), (two_replicas, 2)):
        trainer = _trainer(strategy, dropout=0.5)
        shares = [
            LabelledBatch(*parts)
            for parts in zip(*(tf.split(part, count) for part in batch), strict=True)
        ]
        share = strategy.experimental_distribute_values_from_function(
            lambda context, shares=shares: shares[context.replica_id_in_sync_group]
        )
        figures.append({k: float(v) for k, v in trainer.step(share).items()})
        weights.append(_weights(trainer.backbone) | _weights(trainer.classifier))
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)
    for path in weights[0]:
        np.testing.assert_allclose(weights[1][path], weights[0][path], atol=1e-5, err_msg=path)


def test_the_backbone_of_a_run_is_what_other_commands_load(shards, one_replica, tmp_path):
    """Also: the same call again does not train, and another configuration is refused."""
    config = dataclasses.replace(
        CONFIG, train_data=shards, num_classes=2, epochs=1.0, warmup_epochs=0.0, learning_rate=0.01
    )
    videos = find_source(shards, "train_data").indexed()

    def train(config):
        with one_replica.scope():
            backbone = build_backbone("r3d_small")
        trainer = supervised.build_trainer(config, backbone, len(videos), one_replica)
        supervised.train(trainer, videos, str(tmp_path))
        return trainer

    trainer = train(config)
    assert int(trainer.checkpoint.step) == 3
    last = metrics.read_metrics(str(tmp_path))[-1]
    assert last["step"] == 3 and 0 <= last["accuracy"] <= 1
    backbone, origin = load_run(str(tmp_path))
    assert (origin.step, origin.config) == (3, config)
    for path, value in _weights(trainer.backbone).items():
        np.testing.assert_array_equal(_weights(backbone)[path], value)
    again = train(config)
    for path, value in _weights(trainer.classifier).items():
        np.testing.assert_array_equal(_weights(again.classifier)[path], value)
    with pytest.raises(InputError, match=r"holds a run with dropout=0.0 \(now 0.5\)"):
        train(dataclasses.replace(config, dropout=0.5))
    with pytest.raises(InputError, match="holds a run of another command"):
        run_config.prepare(str(tmp_path), PretrainConfig(train_data=shards))


@pytest.mark.parametrize(("freeze", "trained"), [("stem", "res2_0_a_conv"), ("res4", "res5_")])
def test_frozen_layers_keep_weights_and_statistics(batch, one_replica, freeze, trained):
    trainer = _trainer(one_replica, freeze=freeze, learning_rate=0.01)
    before = _weights(trainer.backbone) | _weights(trainer.classifier)
    assert np.isfinite(float(trainer.step(batch)["loss"]))
    after = _weights(trainer.backbone) | _weights(trainer.classifier)
    changed = [path for path in before if not np.array_equal(before[path], after[path])]
    frozen = ("conv1_", "res2_", "res3_", "res4_") if freeze == "res4" else ("conv1_",)
    expected = [path for path in before if not path.startswith(frozen)]
    assert changed == expected and any(path.startswith(trained) for path in changed)
    assert len(trainer.optimizer.momentums) == len(trainer.variables) < len(before) / 2 + 20


def test_the_classifier_has_a_rate_of_its_own(batch, one_replica):
    steps = {}
    for factor in (1.0, 10.0):
        trainer = _trainer(one_replica, classifier_rate=factor, weight_decay=0.1)
        before = _weights(trainer.backbone) | _weights(trainer.classifier)
        trainer.step(batch)
        after = _weights(trainer.backbone) | _weights(trainer.classifier)
        steps[factor] = {path: after[path] - before[path] for path in before}
    for path, step in steps[1.0].items():
        # Weight decay has the same rate.
        expected = step * (10.0 if path.startswith("logits/") else 1.0)
        np.testing.assert_allclose(steps[10.0][path], expected, rtol=1e-3, atol=1e-6, err_msg=path)


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [4, 7])
def test_validation_selects_the_same_weights_after_a_kill(shards, tmp_path, one_replica, killed_at):
    config = dataclasses.replace(
        CONFIG,
        train_data=shards,
        num_classes=2,
        epochs=4.0,
        warmup_epochs=0.0,
        learning_rate=0.01,
        dropout=0.2,
        validation=Validation(validation_fraction=0.5, patience=2),
    )
    videos = find_source(shards, "train_data").indexed()
    accuracies = {3: 0.5, 6: 0.75, 9: 0.25, 12: 0.75}

    def train(directory, kill=None):
        with one_replica.scope():
            backbone = build_backbone("r3d_small")
        trainer = supervised.build_trainer(config, backbone, len(videos), one_replica)
        step = trainer.step

        def killed_step(batch):
            if int(trainer.checkpoint.step.numpy()) == kill:
                raise Killed
            return step(batch)

        trainer.step = killed_step
        figures = lambda: {"validation_accuracy": accuracies[int(trainer.checkpoint.step.numpy())]}  # noqa: E731
        options = loop.LoopOptions(save_every_steps=2, log_every_steps=100)
        supervised.train(trainer, videos, str(tmp_path / directory), options, figures)
        return trainer

    whole = train("whole")
    with pytest.raises(Killed):
        train("killed", killed_at)
    resumed = train("killed")
    for trainer in (whole, resumed):
        assert int(trainer.checkpoint.step.numpy()) == 6
    for network in ("backbone", "classifier"):
        one, other = (_weights(getattr(trainer, network)) for trainer in (whole, resumed))
        for path, value in one.items():
            np.testing.assert_array_equal(other[path], value, err_msg=path)
    for directory in ("whole", "killed"):
        rows = metrics.read_metrics(str(tmp_path / directory))
        assert {row["step"]: row["validation_accuracy"] for row in rows} == accuracies
        backbone, origin = load_run(str(tmp_path / directory))
        assert origin.step == 6 and origin.config == config
        for path, value in _weights(whole.backbone).items():
            np.testing.assert_array_equal(_weights(backbone)[path], value, err_msg=path)


@pytest.mark.parametrize("frozen", [False, True])
def test_five_videos_in_batches_of_four_on_two_replicas(two_replicas, tmp_path, frozen):
    """No batch is short, neither in training, where it continues with the next epoch, nor after."""
    path = write_shard(tmp_path / "train-0", [make_video(i, label=i % 2) for i in range(5)])
    config = dataclasses.replace(
        CONFIG, train_data=path, num_classes=2, frozen=frozen, epochs=4.0, warmup_epochs=0.0
    )
    data = classification.DataChoice(path, "train_data", config.clip).read()
    with two_replicas.scope():
        backbone = build_backbone("r3d_small")
    directory = str(tmp_path / "run")
    trainer = supervised.build_trainer(config, backbone, len(data.videos), two_replicas)
    supervised.train(trainer, data.videos, directory)
    assert int(trainer.checkpoint.step.numpy()) == 5
    assert np.isfinite([row["loss"] for row in metrics.read_metrics(directory)]).all()
    for network in (trainer.backbone, trainer.classifier):
        for path, value in _weights(network).items():
            assert np.isfinite(value).all(), path
    views = EvaluationViews(config.clip, num_clips=1)
    computation = Computation(trainer.probabilities, (trainer.backbone, trainer.classifier))
    probabilities = classification.predict(computation, data, views)
    assert probabilities.shape == (5, 2)
    frames = [tf.constant(make_video(number, label=0).frames) for number in range(5)]
    clips = tf.concat([sample_views(video, views) for video in frames], axis=0)
    np.testing.assert_allclose(probabilities, trainer.probabilities(clips), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 5}, "^batch_size=5 does not divide evenly over 2 devices"),
        ({"epochs": 0.1}, "^epochs=0.1 of 12 videos is less than one step of batch_size=4"),
        ({"epochs": 5.0}, "^warmup_epochs=5.0 is 15 steps, not fewer than the 15 steps of the"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(CONFIG, **changes).check(num_videos=12, num_replicas=2)


def test_a_step_gets_its_batch_in_parts(shards, tmp_path, one_replica, monkeypatch):
    config = dataclasses.replace(
        CONFIG, train_data=shards, num_classes=2, epochs=0.34, warmup_epochs=0.0
    )
    videos = find_source(shards, "train_data").indexed()
    with one_replica.scope():
        backbone = build_backbone("r3d_small")
    trainer, found = supervised.build_trainer(config, backbone, len(videos), one_replica), []

    def step(*batch):
        found.append([part.positions.numpy().tolist() for part in batch])
        return {name: tf.constant(0.0) for name in ("loss", "gradient_norm", "skipped")}

    trainer.step = step
    monkeypatch.setattr(batch_parts, "PART_BYTES", 2 * 4 * 32 * 32 * 3)  # two clips, uint8
    supervised.train(trainer, videos, str(tmp_path))
    assert found == [[[0, 1], [2, 3]]]
