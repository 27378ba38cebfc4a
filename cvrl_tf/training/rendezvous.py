"""Several workers meet before TensorFlow connects them, and refuse to train with other versions.

TensorFlow itself waits for missing workers without a word, and reacts to no signal meanwhile. Here
each worker answers at its address until it has talked to all others; then all are running.
"""

import contextlib
import dataclasses
import functools
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

import cvrl_tf
from cvrl_tf import progress
from cvrl_tf.errors import InputError, Stopped, reason
from cvrl_tf.training.signals import StopRequest

FIRST_NOTE_SECONDS = 20.0  # until the first note; each further one after twice the time
POLL_SECONDS = 0.5
ANSWER_SECONDS = 2.0
START_SECONDS = 1800.0
_LONGEST_LINE = 4096  # bytes, of what a worker says


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers that train together.

    Attributes:
      addresses: HOST:PORT of each.
      index: of this worker.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, number: int) -> str:
        """A worker's number and address, for messages."""
        return f"worker {number} ({self.addresses[number]})"

    @property
    def variable(self) -> str:
        """The value of TF_CONFIG."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def versions() -> dict[str, str]:
    """The versions that all workers must share, by name of the package."""
    return {
        "cvrl_tf": cvrl_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def connect(cluster: Cluster, start_seconds: float = START_SECONDS) -> tf.distribute.Strategy:
    """Waits for all workers and makes their strategy.

    Names the missing workers on stderr while it waits. SIGTERM, SIGINT and SIGHUP end the wait.

    Args:
      cluster: the workers.
      start_seconds: the longest time to wait for the others.

    Raises:
      InputError: a worker does not come in time, has other versions of the packages or another
        cluster, or TensorFlow cannot connect the workers.
      Stopped: a signal came before all workers were there.
    """
    wait(cluster, start_seconds)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise InputError(
            f"Cannot connect {cluster.name(cluster.index)} to the others ({reason(error)}): check"
            " the addresses, and that no other process uses the port."
        ) from None


@functools.cache  # once in a process: afterwards TensorFlow has the port
def wait(cluster: Cluster, start_seconds: float = START_SECONDS) -> None:
    """Waits until this worker and each other one have talked to each other; raises as `connect`.

    Addresses that are not HOST:PORT are left to TensorFlow.
    """
    others = {number for number in range(len(cluster.addresses)) if number != cluster.index}
    if not others or None in map(_endpoint, cluster.addresses):
        return
    start, note_seconds = time.monotonic(), FIRST_NOTE_SECONDS
    reached: set[int] = set()
    with (
        _answering(cluster) as called,
        StopRequest("no longer waiting for the other workers.") as stop,
    ):
        while True:
            problems = _call_all(cluster, others - reached)
            reached = others - problems.keys()
            for number, greeting in list(called.items()):
                _check(cluster, number, greeting)
            missing = sorted(others - (reached & called.keys()))
            if not missing:
                return
            names = ", ".join(
                f"{cluster.name(number)}: {problems.get(number, 'it has not called yet')}"
                for number in missing
            )
            waited = time.monotonic() - start
            if stop.received:
                raise Stopped(
                    f"Stopped by {stop.received} while waiting for {names}; start the same command"
                    " on all workers."
                )
            if waited >= start_seconds:
                raise InputError(
                    f"Waited start_timeout={start_seconds:g} s for {names}; start the same command"
                    " on all workers, correct their addresses, or raise start_timeout."
                )
            if waited >= note_seconds:
                progress.note(
                    f"note: worker {cluster.index} of {len(cluster.addresses)} waits for {names};"
                    " start the same command there."
                )
                note_seconds *= 2
            time.sleep(POLL_SECONDS)


def _call_all(cluster: Cluster, numbers: set[int]) -> dict[int, str]:
    """Talks to workers; returns why there is no answer, by the numbers of those without one."""
    problems = {}
    for number in sorted(numbers):
        answer = _call(cluster, number)
        if isinstance(answer, str):
            problems[number] = answer
        else:
            _check(cluster, number, answer)
    return problems


def _check(cluster: Cluster, number: int, greeting: Mapping[str, Any]) -> None:
    """Checks what a worker says of itself; raises as `connect`."""
    if greeting["index"] != number or greeting["addresses"] != list(cluster.addresses):
        raise InputError(
            f"Found worker {greeting['index']} of {', '.join(greeting['addresses'])} in place of"
            f" worker {number} of {', '.join(cluster.addresses)}: give all workers the same list of"
            " addresses, and each its own number."
        )
    here, there = versions(), greeting["versions"]
    differing = [
        f"{name} {there.get(name, 'unknown')} (here {version})"
        for name, version in here.items()
        if there.get(name) != version
    ]
    if differing:
        raise InputError(
            f"Found other versions on {cluster.name(number)}, {', '.join(differing)}: install the"
            " same versions on all machines."
        )


def _greeting(cluster: Cluster) -> bytes:
    """What a worker says of itself: a line of JSON."""
    about = {"index": cluster.index, "addresses": list(cluster.addresses), "versions": versions()}
    return json.dumps(about).encode() + b"\n"


def _understood(line: bytes) -> dict[str, Any] | None:
    """What another worker says of itself; None for what no worker says."""
    try:
        about = json.loads(line)
        return about if {"index", "addresses", "versions"} <= about.keys() else None
    except (ValueError, AttributeError):
        return None


def _call(cluster: Cluster, number: int) -> dict[str, Any] | str:
    """What the worker of a number says of itself, or why there is no answer."""
    endpoint = _endpoint(cluster.addresses[number]) or ("", 0)
    try:
        with socket.create_connection(endpoint, ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(_greeting(cluster))
            with connection.makefile("rb") as answer:
                return _understood(answer.readline(_LONGEST_LINE)) or (
                    "another program, or another version of this one, answers there"
                )
    except OSError as error:
        return error.strerror or str(error)


@contextlib.contextmanager
def _answering(cluster: Cluster) -> Iterator[dict[int, dict[str, Any]]]:
    """Answers other workers meanwhile; yields what those that have called say, by their number."""
    called: dict[int, dict[str, Any]] = {}

    class Answer(socketserver.StreamRequestHandler):
        timeout = ANSWER_SECONDS

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                about = _understood(self.rfile.readline(_LONGEST_LINE))
                if about:
                    self.wfile.write(_greeting(cluster))
                    called[about["index"]] = about

    _, port = _endpoint(cluster.addresses[cluster.index]) or ("", 0)
    try:
        server = _Server(("", port), Answer)
    except OSError as error:
        raise InputError(
            f"Cannot listen at the port of {cluster.name(cluster.index)} ({error.strerror}): end"
            " the process that uses it, or give another port."
        ) from None
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield called
        finally:
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _endpoint(address: str) -> tuple[str, int] | None:
    """Host and port of HOST:PORT; None for another kind of address."""
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None
