import json
import os
import pathlib
import re
import signal
import tempfile
import time

import numpy as np
import pytest
import tensorflow as tf
from commands import free_addresses, start

from cvrl_tf.errors import InputError
from cvrl_tf.training import metrics
from cvrl_tf.training import strategy as strategies
from cvrl_tf.training.rendezvous import Cluster
from cvrl_tf.training.strategy import Workers, make_strategy, on_gpus


def _start(mode, directory, data, **environment):
    outputs = pathlib.Path(tempfile.mkdtemp(dir=directory.parent))
    program = "tests.workers_program", mode, directory, data
    return start(*program, directory=outputs, TF_CPP_MIN_LOG_LEVEL="3", **environment)


def _start_workers(directory, data, count=2, **of_the_first):
    addresses = tuple(free_addresses(count))
    variables = [{"TF_CONFIG": Cluster(addresses, index).variable} for index in range(count)]
    variables[0] |= of_the_first
    return [_start("multi_worker", directory, data, **given) for given in variables]


def _start_slurm_tasks(directory, data, count=2):
    """As `_start_workers`, with the variables that srun sets for tasks on one node."""
    job = str(20_000 + os.getpid() % 10_000)
    step = {
        "SLURM_JOB_ID": job,
        "SLURMD_NODENAME": "127.0.0.1",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_STEP_TASKS_PER_NODE": str(count),
    }
    return [
        _start("slurm", directory, data, SLURM_PROCID=task, SLURM_LOCALID=task, **step)
        for task in map(str, range(count))
    ]


def _finish(*workers):
    for worker in workers:
        done = worker.wait()
        assert done.returncode == 0, done.stderr


def _losses(directory):
    return [row["loss"] for row in metrics.read_metrics(str(directory))]


@pytest.fixture(scope="module")
def one_device_losses(shards, tmp_path_factory):
    directory = tmp_path_factory.mktemp("one") / "run"
    _finish(_start("one_device", directory, shards))
    return _losses(directory)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mirrored", "mirrored_of_one"])
def test_replicas_have_the_losses_of_one_device(shards, tmp_path, one_device_losses, mode):
    _finish(_start(mode, tmp_path / "run", shards))
    np.testing.assert_allclose(_losses(tmp_path / "run"), one_device_losses, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("start_all", "count"), [(_start_slurm_tasks, 3), (_start_workers, 4)])
def test_workers_have_the_losses_of_one_device(
    shards, tmp_path, one_device_losses, start_all, count
):
    _finish(*start_all(tmp_path / "run", shards, count))
    np.testing.assert_allclose(_losses(tmp_path / "run"), one_device_losses, rtol=1e-4)


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one_however_they_end(shards, tmp_path, one_device_losses):
    """One is killed at the start; a signal stops both; the first is killed in a checkpoint."""
    directory = tmp_path / "run"
    workers = _start_workers(directory, shards)
    _wait_until(lambda: "pre-training:" in workers[0].outputs[1].read_text(), workers)
    _expect_loss(*reversed(workers))
    assert list(directory.glob("checkpoints/*")) == []
    workers = _start_workers(directory, shards)
    _wait_until(lambda: (directory / "checkpoints/ckpt-5.index").exists(), workers)
    os.kill(workers[1].process.pid, signal.SIGTERM)
    for worker in workers:
        error = worker.wait().stderr
        assert re.search(r"Stopped: Stopped at step \d+ of 20 .*saved to .*run: the same", error)
    dying, other = _start_workers(directory, shards, DIE_IN_SAVE="1")
    dying.process.join(300)
    _expect_loss(dying, other)
    assert list(directory.glob("checkpoints/*temp*"))
    _finish(*_start_workers(directory, shards))
    assert list(directory.glob("checkpoints/*temp*")) == []
    assert [row["step"] for row in metrics.read_metrics(str(directory))] == list(range(1, 21))
    np.testing.assert_allclose(_losses(directory), one_device_losses, rtol=1e-4)


def _expect_loss(victim, other):
    """Kills a worker, unless it has died, and expects that the other reports it."""
    victim.process.kill()
    assert victim.wait().returncode == -signal.SIGKILL
    error = other.wait(120).stderr
    assert "InputError: Another worker is gone, or cannot be reached" in error


def _wait_until(reached, workers):
    deadline = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline
        for worker in workers:
            assert worker.process.is_alive(), worker.wait().stderr
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
        (
            "gpu",
            None,
            "--strategy=gpu: expected auto, one_device, mirrored, multi_worker, slurm, or tpu:",
        ),
        ("slurm", None, r"--strategy=slurm cannot find its workers \('SLURM_JOB_ID'\): start the"),
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


@pytest.fixture
def slurm(monkeypatch):
    """Sets the variables of a task; returns the TF_CONFIG that `make_strategy` makes of them."""
    monkeypatch.setattr(strategies.rendezvous, "connect", lambda cluster, seconds: cluster)

    def made(**variables):
        monkeypatch.setenv("TF_CONFIG", "")
        for name, value in variables.items():
            monkeypatch.setenv(f"SLURM{name}", value)
        cluster = make_strategy("slurm")
        config = json.loads(os.environ["TF_CONFIG"])
        assert config == json.loads(cluster.variable)
        return config["cluster"]["worker"], config["task"]["index"]

    return made


@pytest.mark.parametrize(
    ("node", "local", "rank", "index"),
    # TensorFlow sorts n10 before n9, where Slurm's first task is.
    [("n9", "0", "0", 2), ("n9", "1", "1", 3), ("n10", "0", "2", 0), ("n10", "1", "3", 1)],
)
def test_slurm_names_all_tasks_and_this_one(slurm, node, local, rank, index):
    addresses, found = slurm(
        _JOB_ID="123456789",
        D_NODENAME=node,
        _LOCALID=local,
        _PROCID=rank,
        _STEP_NODELIST="n[9-10]",
        _STEP_NUM_TASKS="4",
        _STEP_TASKS_PER_NODE="2(x2)",
    )
    assert addresses == ["n10:27890", "n10:27891", "n9:27890", "n9:27891"]
    assert found == index


def test_all_workers_know_the_texts_of_all(monkeypatch):
    """One process stands in for three workers with two replicas each."""
    texts = ["first", "", "dritter: \u00e4"]
    workers = Workers(make_strategy("one_device"))
    assert workers.texts("alone") == ["alone"]
    workers.share = strategies.Share(0, 3)
    codes = [list(text.encode()) for text in texts]
    longest = max(map(len, codes))
    answers = [
        [[len(code)] for code in codes for _ in range(2)],
        [code + [0] * (longest - len(code)) for code in codes for _ in range(2)],
    ]
    monkeypatch.setattr(workers, "_gather", lambda row: tf.constant(answers.pop(0), tf.int64))
    assert workers.texts(texts[0]) == texts
