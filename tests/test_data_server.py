"""What a data server refuses; tests/data/test_service.py runs it."""

import socket

import pytest
from commands import free_addresses

from cvrl_tf import data_server
from cvrl_tf.data import service
from cvrl_tf.errors import InputError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "ROLE is missing; --help explains it."),
        (["server"], "Found the role 'server', expected dispatcher or worker."),
        (
            ["dispatcher"],
            "--port is missing: give the port of the dispatcher, such as --port=5050.",
        ),
        (["worker"], "--dispatcher=: expected HOST:PORT of the dispatcher."),
        (
            ["worker", "--dispatcher=grpc://cpu0"],
            "--dispatcher=grpc://cpu0: expected HOST:PORT of the dispatcher.",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(arguments, message):
    with pytest.raises(InputError) as error:
        data_server.COMMAND.call(*arguments)
    assert str(error.value) == message


def test_a_worker_names_a_dispatcher_that_is_not_there(monkeypatch):
    monkeypatch.setattr(service, "DISPATCHER_SECONDS", 0.1)
    (address,) = free_addresses(1)
    with pytest.raises(InputError, match=rf"^--dispatcher={address}: no dispatcher answers there"):
        data_server.COMMAND.call("worker", f"--dispatcher={address}")


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for role in (["dispatcher"], ["worker", "--dispatcher=localhost:1"]):
            with pytest.raises(InputError) as error:
                data_server.COMMAND.call(*role, f"--port={port}")
            assert str(error.value) == (
                f"--port={port}: the server cannot listen there (Address already in use): give"
                " another port."
            )
