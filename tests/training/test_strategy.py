import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.training import metrics
from cvrl_tf.training import strategy as strategies
from cvrl_tf.training.strategy import Workers, make_strategy, on_gpus

PROGRAM = pathlib.Path(__file__).parents[1] / "workers_program.py"


def _free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def _start(mode, directory, data, cluster=None, index=0):
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if cluster:
        environment["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": index}}
        )
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), mode, str(directory), data],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def _start_workers(directory, data):
    cluster = _free_addresses(2)
    return [_start("multi_worker", directory, data, cluster, index) for index in range(2)]


def _losses(directory):
    return [row["loss"] for row in metrics.read_metrics(str(directory))]


@pytest.fixture(scope="module")
def one_device_losses(shards, tmp_path_factory):
    directory = tmp_path_factory.mktemp("one") / "run"
    process = _start("one_device", directory, shards)
    assert process.wait(300) == 0, process.stderr.read()
    return _losses(directory)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mirrored", "mirrored_of_one"])
def test_replicas_have_the_losses_of_one_device(shards, tmp_path, one_device_losses, mode):
    process = _start(mode, tmp_path / "run", shards)
    assert process.wait(300) == 0, process.stderr.read()
    np.testing.assert_allclose(_losses(tmp_path / "run"), one_device_losses, rtol=1e-4)


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one_however_they_end(shards, tmp_path, one_device_losses):
    """A signal to one stops both; one is killed and the other reports it; then they finish."""
    directory = tmp_path / "run"
    workers = _start_workers(directory, shards)
    _wait_for_checkpoint(directory, 5, workers)
    workers[1].send_signal(signal.SIGTERM)
    errors = [worker.communicate(timeout=300)[1] for worker in workers]
    for error in errors:
        assert re.search(r"Stopped: Stopped at step \d+ of 20 .*saved to .*run: the same", error)
    workers = _start_workers(directory, shards)
    _wait_for_checkpoint(directory, 15, workers)
    workers[1].send_signal(signal.SIGKILL)
    error = workers[0].communicate(timeout=300)[1]
    assert "InputError: Another worker is gone, or cannot be reached" in error
    workers[1].communicate()
    for worker in _start_workers(directory, shards):
        error = worker.communicate(timeout=300)[1]
        assert worker.returncode == 0, error
    assert [row["step"] for row in metrics.read_metrics(str(directory))] == list(range(1, 21))
    np.testing.assert_allclose(_losses(directory), one_device_losses, rtol=1e-4)


def _wait_for_checkpoint(directory, step, workers):
    deadline = time.monotonic() + 300
    while not list(directory.glob(f"checkpoints/ckpt-{step}.index")):
        assert time.monotonic() < deadline
        for worker in workers:
            assert worker.poll() is None, worker.stderr.read()
        time.sleep(0.05)


def test_without_gpus_it_is_one_device(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in ("auto", "one_device", "mirrored"):
        strategy = make_strategy(name)
        assert strategy.num_replicas_in_sync == 1
        workers = Workers(strategy)
        assert workers.is_chief and workers.share.count == 1
        assert workers.agree(True, False, 7) == (True, False, [7])


@pytest.fixture
def fresh_devices(monkeypatch):
    """`prepare_devices` prepares again, here and in the next test."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(strategies, "NVIDIA_DRIVER", ("/no/such/driver",))
    strategies.prepare_devices.cache_clear()
    yield
    strategies.prepare_devices.cache_clear()


def _pretend_gpus(monkeypatch, count):
    """Stand-ins for TensorFlow's GPUs and strategies; returns the calls in their order."""
    calls = []
    physical = [f"physical {index}" for index in range(count)]
    logical = [tf.config.LogicalDevice(f"/device:GPU:{index}", "GPU") for index in range(count)]

    def list_logical(kind):
        calls.append("devices are started")
        return logical

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: physical)
    monkeypatch.setattr(tf.config, "list_logical_devices", list_logical)
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: calls.append((gpu, on))
    )
    for name in ("OneDeviceStrategy", "MirroredStrategy"):
        monkeypatch.setattr(tf.distribute, name, lambda devices, name=name: (name, devices))
    return calls


@pytest.mark.parametrize(
    ("name", "count", "made"),
    [
        ("auto", 1, ("OneDeviceStrategy", "/device:GPU:0")),
        ("mirrored", 1, ("MirroredStrategy", ["/device:GPU:0"])),
        ("one_device", 2, ("OneDeviceStrategy", "/device:GPU:0")),
        ("auto", 2, ("MirroredStrategy", ["/device:GPU:0", "/device:GPU:1"])),
        ("mirrored", 2, ("MirroredStrategy", ["/device:GPU:0", "/device:GPU:1"])),
        ("mirrored", 0, ("OneDeviceStrategy", "/CPU:0")),
    ],
)
def test_gpus_get_a_strategy_with_memory_growth_set_first(
    monkeypatch, fresh_devices, name, count, made
):
    calls = _pretend_gpus(monkeypatch, count)
    assert make_strategy(name) == made
    growth = [(f"physical {index}", True) for index in range(count)]
    assert calls == [*growth, "devices are started"]
    strategies.prepare_devices()
    assert len(calls) == count + 1


def test_gpus_in_use_keep_their_memory_setting(monkeypatch, fresh_devices):
    def refuse(gpu, on):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    _pretend_gpus(monkeypatch, 1)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    assert make_strategy() == ("OneDeviceStrategy", "/device:GPU:0")


def test_a_gpu_that_tensorflow_does_not_see_is_noted_once(
    monkeypatch, fresh_devices, tmp_path, capsys
):
    driver = tmp_path / "version"
    driver.write_text("NVRM version")
    monkeypatch.setattr(strategies, "NVIDIA_DRIVER", ("/no/such/driver", str(driver)))
    for _ in range(2):
        strategies.prepare_devices()
    assert capsys.readouterr().err == (
        f"note: this machine has an NVIDIA driver, but TensorFlow {tf.__version__} finds no GPU and"
        " computes on the CPU: install its CUDA libraries, pip install -e '.[gpu]' in the clone of"
        " this package (and give a container access to the card), or set CUDA_VISIBLE_DEVICES='' to"
        " compute on the CPU without this note.\n"
    )
    for hidden in ("", "-1"):
        strategies.prepare_devices.cache_clear()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        strategies.prepare_devices()
        assert capsys.readouterr().err == ""
    strategies.prepare_devices.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    _pretend_gpus(monkeypatch, 1)
    strategies.prepare_devices()
    assert capsys.readouterr().err == ""


def test_a_strategy_is_on_gpus_if_its_replicas_are(one_replica, two_replicas):
    assert not on_gpus(one_replica) and not on_gpus(two_replicas)
    assert on_gpus(tf.distribute.OneDeviceStrategy("/GPU:0"))


def test_local_values_are_in_the_order_of_replicas(two_replicas):
    values = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant([context.replica_id_in_sync_group, 5])
    )
    assert Workers(two_replicas).local_values(values).tolist() == [0, 5, 1, 5]


@pytest.mark.parametrize(
    ("name", "environment", "message"),
    [
        ("gpu", None, "--strategy=gpu: expected auto, one_device, mirrored, multi_worker, or tpu:"),
        ("multi_worker", None, "multi_worker needs the environment variable TF_CONFIG"),
        ("auto", "{", "TF_CONFIG cannot be used .* expected"),
        ("auto", '{"cluster": {"worker": ["a", "b"]}}', r"TF_CONFIG cannot be used \(KeyError"),
        (
            "auto",
            '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 1}}',
            "its task is {'type': 'worker', 'index': 1}",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(monkeypatch, name, environment, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if environment:
        monkeypatch.setenv("TF_CONFIG", environment)
    with pytest.raises(InputError, match=message):
        make_strategy(name)
