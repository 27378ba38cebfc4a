"""A process that trains with each method is killed, and the next one resumes bit for bit."""

import time

import numpy as np
import pytest
import small_training
import tensorflow as tf
from commands import FORKSERVER

from cvrl_tf.training import metrics

STEPS = 8
METHODS = {
    "cvrl": [],
    "4 clips": ["--clips_per_video=4"],
    "moco": ["--momentum_encoder=0.9", "--anneal_momentum"],
    "moco, 4 clips": ["--momentum_encoder=0.9", "--clips_per_video=4", "--accumulate=2"],
    "byol": ["--loss=byol", "--momentum_encoder=0.9", "--optimizer=lars"],
}


def _start(arguments, directory, step_seconds=0.0):
    output = str(directory) + ".txt"
    process = FORKSERVER.Process(
        target=small_training.pretrain,
        args=([*arguments, f"--model_dir={directory}"], output, step_seconds),
    )
    process.start()
    return process


def _weights(directory):
    prefix = tf.train.latest_checkpoint(str(directory / "checkpoints"))
    assert prefix.endswith(f"ckpt-{STEPS}")
    reader = tf.train.load_checkpoint(prefix)
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if "OBJECT_GRAPH" not in name}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_resumes_bit_for_bit(method, shards, tmp_path):
    arguments = [f"--train_data={shards}", "--num_frames=4", "--crop_size=32", "--batch_size=4"]
    arguments += [f"--steps={STEPS}", "--warmup_epochs=0", "--learning_rate=0.1"]
    arguments += ["--save_every_steps=2", "--log_every_steps=1", *METHODS[method]]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first = _start(arguments, whole)
    first.join(300)
    assert first.exitcode == 0
    process = _start(arguments, killed, step_seconds=0.5)
    end = time.monotonic() + 300
    while not killed.is_dir() or len(metrics.read_metrics(str(killed))) < 3:
        assert time.monotonic() < end and process.is_alive()
        time.sleep(0.05)
    process.kill()
    process.join()
    assert len(metrics.read_metrics(str(killed))) < STEPS
    again = _start(arguments, killed)
    again.join(300)
    assert again.exitcode == 0
    losses = [
        [row["loss"] for row in metrics.read_metrics(str(directory))]
        for directory in (whole, killed)
    ]
    assert len(losses[0]) == STEPS and losses[0] == losses[1]
    expected, found = _weights(whole), _weights(killed)
    assert expected.keys() == found.keys() and len(expected) > 10
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
