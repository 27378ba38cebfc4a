import os
import re
import signal
import socket
import threading
import time

import pytest
from commands import free_addresses

from cvrl_tf.errors import InputError, Stopped
from cvrl_tf.training import rendezvous
from cvrl_tf.training.rendezvous import Cluster


@pytest.fixture
def addresses():
    """Three free addresses of this machine."""
    return tuple(free_addresses(3))


@pytest.fixture(autouse=True)
def short_polls(monkeypatch):
    monkeypatch.setattr(rendezvous, "POLL_SECONDS", 0.05)


def _port(address):
    return int(address.rpartition(":")[2])


def test_workers_that_start_one_after_the_other_meet(addresses, capsys):
    met, end = [], threading.Event()

    def start(index):
        rendezvous.wait(Cluster(addresses, index))
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
    before = signal.getsignal(number)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    names = (
        f"worker 0 ({addresses[0]}): Connection refused, worker 2 ({addresses[2]}): Connection"
        " refused"
    )
    with pytest.raises(Stopped) as stopped:
        rendezvous.wait(Cluster(addresses, 1))
    assert str(stopped.value) == (
        f"Stopped by {number.name} while waiting for {names}; start the same command on all"
        " workers."
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (f"note: worker 1 of 3 waits for {names}; start the same command there.")
    assert len(lines) <= 5  # after 0.2, 0.4 and 0.8 seconds, and the signal's two
    assert lines[-1] == f"{number.name}: no longer waiting for the other workers."
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (None, "Connection refused"),
        ("no-such-host.invalid:2222", "(Name or service not known|Temporary failure.*|.*resol.*)"),
    ],
)
def test_a_worker_that_never_comes_is_named_after_the_timeout(addresses, address, problem):
    """One that is not started, and one with a wrong address."""
    other = address or addresses[1]
    with pytest.raises(InputError) as error:
        rendezvous.wait(Cluster((addresses[0], other), 0), 0.3)
    assert re.fullmatch(
        rf"Waited start_timeout=0.3 s for worker 1 \({re.escape(other)}\): {problem}; start the"
        r" same command on all workers, correct their addresses, or raise start_timeout\.",
        str(error.value),
    )


def test_another_program_at_the_address_of_a_worker_is_named(addresses, monkeypatch):
    monkeypatch.setattr(rendezvous, "ANSWER_SECONDS", 0.2)
    named = pytest.raises(InputError, match=r"worker 1 \(127.0.0.1:\d+\): timed out; start")
    with socket.create_server(("127.0.0.1", _port(addresses[1]))), named:
        rendezvous.wait(Cluster(addresses[:2], 0), 0.1)


def test_a_port_in_use_is_named(addresses):
    named = pytest.raises(InputError, match=r"^Cannot listen at the port of worker 0 .*in use")
    with socket.create_server(("", _port(addresses[0]))), named:
        rendezvous.wait(Cluster(addresses, 0))


def _errors_of_two(one, other, monkeypatch, versions=None):
    """What two workers that meet raise; the other one has other versions."""
    errors, thread_versions = {}, threading.local()
    ours = rendezvous.versions()
    monkeypatch.setattr(
        rendezvous, "versions", lambda: getattr(thread_versions, "value", None) or ours
    )

    def start(cluster, versions):
        thread_versions.value = versions
        try:
            rendezvous.wait(cluster, 20.0)
        except InputError as error:
            errors[cluster.index] = str(error)

    # The threads that answer have the versions of worker 0.
    threads = [
        threading.Thread(target=start, args=(one, None)),
        threading.Thread(target=start, args=(other, versions)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_workers_with_other_versions_are_refused_and_named(addresses, monkeypatch):
    clusters = Cluster(addresses[:2], 0), Cluster(addresses[:2], 1)
    ours = rendezvous.versions()
    errors = _errors_of_two(*clusters, monkeypatch, ours | {"tensorflow": "2.16.0"})
    assert errors[0] == (
        f"Found other versions on worker 1 ({addresses[1]}), tensorflow 2.16.0 (here"
        f" {ours['tensorflow']}): install the same versions on all machines."
    )
    assert errors[1].startswith(f"Found other versions on worker 0 ({addresses[0]}), tensorflow")


def test_workers_with_other_lists_of_addresses_are_refused(addresses, monkeypatch):
    one, other = Cluster(addresses, 0), Cluster(addresses[:2], 1)
    errors = _errors_of_two(one, other, monkeypatch)
    assert errors[0] == (
        f"Found worker 1 of {', '.join(addresses[:2])} in place of worker 1 of"
        f" {', '.join(addresses)}: give all workers the same list of addresses, and each its own"
        " number."
    )
    assert errors[1].startswith(f"Found worker 0 of {', '.join(addresses)} in place of worker 0 of")


def test_what_is_no_host_and_port_is_left_to_tensorflow(addresses):
    rendezvous.wait(Cluster((addresses[0], "bns/worker"), 0))
