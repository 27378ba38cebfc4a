import itertools
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from commands import free_addresses, start
from small_records import damage, make_video, write_shard
from tiny_backbone import tiny_backbone

from cvrl_tf.data import pipeline, service
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.data.service import DataService
from cvrl_tf.data.stream import Gaps, Order, Share
from cvrl_tf.errors import InputError
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer
from cvrl_tf.training.pretrain import Execution, pretrain

VIEWS = ViewsSpec(ClipSpec(4, 2, 32))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Twelve videos, one of them damaged."""
    directory = tmp_path_factory.mktemp("service")
    for shard in range(2):
        numbers = range(6 * shard, 6 * shard + 6)
        write_shard(directory / f"train-{shard}", [make_video(number) for number in numbers])
    damage(str(directory / "train-1"), 2)
    return find_source(str(directory / "train-*"), "train_data").indexed()


class _Servers:
    """A dispatcher, which is started anew at the same address, and workers."""

    def __init__(self, directory):
        (self.address,) = free_addresses(1)
        self._directory, self._started = directory, []
        self.dispatcher = self.start_dispatcher()
        self.workers = [self.start_worker() for _ in range(2)]

    def start_dispatcher(self):
        port = self.address.rpartition(":")[2]
        self.dispatcher = self._start("dispatcher", f"--port={port}")
        return self.dispatcher

    def start_worker(self):
        return self._start("worker", f"--dispatcher={self.address}", "--host=127.0.0.1")

    def _start(self, *arguments):
        directory = self._directory / str(len(self._started))
        directory.mkdir()
        server = start("cvrl_tf.data_server", *arguments, directory=directory)
        self._started.append(server)
        return server

    def wait(self, server):
        """Waits until a server has printed what it is."""
        deadline = time.monotonic() + 300
        while not server.outputs[0].read_text():
            assert server.process.is_alive(), server.wait().stderr
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return server.outputs[0].read_text()

    def end(self):
        for server in self._started:
            server.process.kill()
            server.process.join()


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    servers = _Servers(tmp_path_factory.mktemp("servers"))
    for server in (servers.dispatcher, *servers.workers):
        servers.wait(server)
    yield servers
    servers.end()


def _batches(videos, share, augmented):
    return pipeline.pretraining_batches(videos, VIEWS, 4, Order(3), share, augmented)


def _assert_same(one, other):
    for ours, theirs in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _by_service(videos, servers):
    return videos.read_by(DataService.reached(f"grpc://{servers.address}"))


@pytest.mark.parametrize(
    ("share", "augmented"),
    [
        pytest.param(Share(1, 2, 37), False, id="device"),
        # Each process compiles the colours.
        pytest.param(Share(), True, id="host", marks=pytest.mark.slow),
    ],
)
def test_the_batches_are_those_of_this_process(videos, servers, share, augmented):
    """Also those of one of two trainers that resumes, and around a damaged record."""
    here = list(_batches(videos, share, augmented).take(5))
    _assert_same(here, list(_batches(_by_service(videos, servers), share, augmented).take(5)))
    gaps, order = Gaps(share), Order(3)
    missing = [place for batch in here for place in gaps.missing(batch.positions.numpy())]
    assert {order.video_at(place, 12) for place in missing} == {8}


def test_labelled_batches_are_those_of_this_process(videos, servers):
    both = [
        list(pipeline.labelled_batches(source, VIEWS.clip, 4, Order(3)).take(3))
        for source in (videos, _by_service(videos, servers))
    ]
    _assert_same(*both)


def _weights(model_dir):
    """The numbers of the newest checkpoint, by name."""
    reader = tf.train.load_checkpoint(f"{model_dir}/checkpoints")
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def test_training_gives_the_same_weights_and_a_worker_may_die(
    videos, servers, tmp_path, one_replica, monkeypatch
):
    """20 steps; a worker is killed before the eighth."""
    monkeypatch.setattr(
        PretrainConfig, "build_backbone", lambda config, policy, layers: tiny_backbone()
    )
    config = PretrainConfig(
        train_data=videos.name, num_frames=4, crop_size=32, batch_size=4, steps=20, warmup_epochs=0
    )
    pretrain(config, str(tmp_path / "here"), strategy=one_replica)
    step, count = ContrastiveTrainer.step, itertools.count(1)

    def kill_and_step(trainer, batch):
        if next(count) == 8:
            servers.workers[0].process.kill()
        return step(trainer, batch)

    monkeypatch.setattr(ContrastiveTrainer, "step", kill_and_step)
    execution = Execution(data_service=f"grpc://{servers.address}")
    pretrain(config, str(tmp_path / "service"), execution=execution, strategy=one_replica)
    servers.workers[0].process.join(60)  # its end is reported by another process
    assert servers.workers[0].process.exitcode == -signal.SIGKILL
    here, there = (_weights(tmp_path / name) for name in ("here", "service"))
    assert len(here) > 20 and here.keys() == there.keys()
    for name, value in here.items():
        np.testing.assert_array_equal(value, there[name], name)


def test_a_dispatcher_that_dies_changes_nothing(videos, servers, monkeypatch, capsys):
    """It is started again, with a worker."""
    monkeypatch.setattr(service, "SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(service, "RETRY_SECONDS", 0.2)
    arrived, wait = [], service.Arrivals._wait

    def noting_wait(self, position):
        values = wait(self, position)
        arrived.append(values is not None)
        return values

    monkeypatch.setattr(service.Arrivals, "_wait", noting_wait)
    expected = iter(_batches(videos, Share(), False))
    found = iter(_batches(_by_service(videos, servers), Share(), False))

    def compare_until(reached):
        deadline = time.monotonic() + 120
        while not reached():
            assert time.monotonic() < deadline
            _assert_same(next(expected), next(found))

    compare_until(lambda: arrived[-12:] == [True] * 12)
    servers.dispatcher.process.kill()
    servers.dispatcher.wait()
    compare_until(lambda: "no video has come from the data" in capsys.readouterr().err)
    servers.wait(servers.start_dispatcher())
    servers.wait(servers.start_worker())
    arrived.clear()
    compare_until(lambda: any(arrived))


@pytest.mark.parametrize(
    "address", ["localhost:5050", "grpc://localhost", "http://a:1", "grpc://:1"]
)
def test_another_kind_of_address_is_named(address):
    with pytest.raises(InputError) as error:
        DataService.reached(address)
    assert str(error.value) == (
        f"data_service={address}: expected the address of a dispatcher, grpc://HOST:PORT."
    )


def test_a_dispatcher_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(service, "DISPATCHER_SECONDS", 0.2)
    (address,) = free_addresses(1)
    port = address.rpartition(":")[2]
    with pytest.raises(InputError) as error:
        DataService.reached(f"grpc://{address}")
    assert str(error.value) == (
        f"data_service=grpc://{address}: no dispatcher answers there after 0.2 s (Connection"
        f" refused): start python -m tools.data_server dispatcher --port={port} on that machine,"
        " or correct the address."
    )
