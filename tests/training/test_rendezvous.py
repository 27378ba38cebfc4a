import os
import signal
import socket
import threading
import time

import pytest

from cvrl_tf.errors import Stopped
from cvrl_tf.training import rendezvous


@pytest.fixture
def addresses():
    """Three free addresses of this machine."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for server in (one, two, three):
            server.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{server.getsockname()[1]}" for server in (one, two, three)]


def _port(address):
    return int(address.rpartition(":")[2])


def test_workers_that_start_one_after_the_other_meet(addresses, capsys):
    met, end = [], threading.Event()

    def start(index):
        rendezvous.wait(addresses, index)
        with socket.create_server(("", _port(addresses[index]))):  # as TensorFlow does now
            met.append(index)
            end.wait(60)

    threads = [threading.Thread(target=start, args=(index,)) for index in range(3)]
    for thread in threads:
        assert met == []
        thread.start()
        time.sleep(0.3)
    deadline = time.monotonic() + 60
    while len(met) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    end.set()
    for thread in threads:
        thread.join()
    assert sorted(met) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_missing_workers_are_named_and_the_wait_ends_when_asked_to(
    addresses, number, monkeypatch, capsys
):
    monkeypatch.setattr(rendezvous, "FIRST_NOTE_SECONDS", 0.2)
    monkeypatch.setattr(rendezvous, "POLL_SECONDS", 0.05)
    before = signal.getsignal(number)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    names = f"worker 0 ({addresses[0]}), worker 2 ({addresses[2]})"
    with pytest.raises(Stopped) as stopped:
        rendezvous.wait(addresses, 1)
    assert str(stopped.value) == (
        f"Stopped by {number.name} while waiting for {names}: start the same command on all"
        " workers."
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        f"note: worker 1 of 3 waits for {names}: start the same command there; TF_CONFIG has the"
        " addresses."
    )
    assert len(lines) <= 5  # after 0.2, 0.4 and 0.8 seconds, and the signal's two
    assert lines[-1] == f"{number.name}: no longer waiting for the other workers."
    assert signal.getsignal(number) == before


def test_a_port_in_use_and_other_addresses_are_left_to_tensorflow(addresses):
    with socket.create_server(("", _port(addresses[0]))):
        rendezvous.wait([addresses[0], "bns/worker"], 0)
