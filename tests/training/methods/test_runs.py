"""Runs of the methods, from their configuration to their weights."""

import dataclasses
import json

import numpy as np
import pytest

from cvrl_tf import export
from cvrl_tf.cli import backbone
from cvrl_tf.errors import InputError
from cvrl_tf.training import config as configurations
from cvrl_tf.training import metrics, weights
from cvrl_tf.training.loop import LoopOptions
from cvrl_tf.training.methods import build_method
from cvrl_tf.training.origin import load_run
from cvrl_tf.training.pretrain import pretrain


@pytest.fixture
def config(tiny, shards):
    return dataclasses.replace(
        tiny, train_data=shards, steps=4, warmup_epochs=0.0, anneal_momentum=True
    )


def _equal(one, two):
    return all(
        np.array_equal(a.numpy(), b.numpy())
        for a, b in zip(one.variables, two.variables, strict=True)
    )


@pytest.mark.parametrize("loss", ["infonce", "byol"])
def test_a_stopped_run_resumes_to_the_same_weights(
    config, tmp_path, one_replica, interrupted_at, loss
):
    config = dataclasses.replace(config, loss=loss)
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    options = LoopOptions(save_every_steps=2, log_every_steps=1)
    pretrain(config, whole, options, strategy=one_replica)
    with interrupted_at(4):
        pretrain(config, stopped, options, strategy=one_replica)
    pretrain(config, stopped, options, strategy=one_replica)
    rows, expected = metrics.read_metrics(stopped), metrics.read_metrics(whole)
    assert [row["loss"] for row in rows] == [row["loss"] for row in expected]
    for which in ("online", "momentum"):
        assert _equal(load_run(stopped, which=which)[0], load_run(whole, which=which)[0])


def test_a_run_gives_its_weights_and_their_average(config, tmp_path, one_replica):
    directory = str(tmp_path / "run")
    pretrain(config, directory, strategy=one_replica)
    online, origin = load_run(directory)
    average, momentum = load_run(directory, which="momentum")
    assert (origin.kind, origin.name) == ("run", "ckpt-4")
    assert (momentum.kind, momentum.name) == ("momentum", "ckpt-4_momentum")
    assert momentum.step == 4 and momentum.model_dir == directory
    initial = config.build_backbone()
    kernels = [np.array(network.get_layer("conv").kernel) for network in (initial, online, average)]
    moved = np.abs(kernels[1] - kernels[0]).max(), np.abs(kernels[2] - kernels[0]).max()
    assert 0 < moved[1] < moved[0]

    (flags, *_) = export.COMMAND.parse(f"--model_dir={directory}", "--weights=momentum")
    loaded, chosen = backbone.load(flags)
    assert chosen == momentum and _equal(loaded, average)
    (flags, *_) = export.COMMAND.parse("--inflate=x.keras", "--weights=momentum")
    with pytest.raises(InputError, match=r"^Found --weights=momentum with --inflate, which has no"):
        backbone.load(flags)

    # Another run starts from the trained weights, and its average from a copy of them.
    started = dataclasses.replace(config, init_checkpoint=directory)
    method = build_method(started)
    said = weights.initialize(method.trained, started)
    assert said == (
        f"initial weights: backbone and head and predictor of {directory}/checkpoints/ckpt-4"
    )
    method.start()
    assert _equal(method.backbone, online)
    assert _equal(method.untrained["momentum_backbone"], online)

    message = r"holds a run of another method \(anneal_momentum=True \(now False\), momentum_encod"
    other = dataclasses.replace(config, momentum_encoder=0.0, anneal_momentum=False)
    for override in (False, True):
        with pytest.raises(InputError, match=message):
            pretrain(other, directory, LoopOptions(override=override), strategy=one_replica)


def test_a_run_without_an_average_says_so(config, tmp_path, one_replica):
    directory = str(tmp_path / "run")
    plain = dataclasses.replace(config, momentum_encoder=0.0, anneal_momentum=False, steps=1)
    pretrain(plain, directory, strategy=one_replica)
    with pytest.raises(InputError, match=r"ckpt-1 holds no average of the weights, expected one"):
        load_run(directory, which="momentum")
    started = dataclasses.replace(config, init_checkpoint=directory)
    said = weights.initialize(build_method(started).trained, started)
    assert said.endswith("ckpt-1 (it has no predictor, which starts from random weights)")


def test_a_configuration_of_earlier_versions_is_cvrl(config):
    values = configurations.to_json(config)
    for name in ("momentum_encoder", "anneal_momentum", "loss"):
        del values[name]
    loaded = configurations.from_json(json.loads(json.dumps(values)))
    assert loaded.method == "cvrl" and loaded.momentum_encoder == 0.0
