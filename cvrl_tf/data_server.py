"""Starts a server that reads and decodes videos for training on other machines.

  python -m cvrl_tf.data_server dispatcher --port=5050
  python -m cvrl_tf.data_server worker --dispatcher=HOST:5050

Start one dispatcher and, on each CPU machine, one worker. Then give
--data_service=grpc://HOST:5050 to train or finetune, with HOST the machine of the dispatcher. The
batches are the same, in the same order. Workers may be started and stopped at any time; they need
access to the records under the same paths. The servers are those of TensorFlow's tf.data service;
SIGTERM or Ctrl-C ends them. They check no identity: use them in a network that only you reach.
"""

import contextlib
import os
import socket
import time
from typing import Any

import tensorflow as tf

from cvrl_tf import compiler, files
from cvrl_tf.cli.application import Argument, Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.data.service import wait_for_dispatcher
from cvrl_tf.errors import InputError
from cvrl_tf.training.signals import StopRequest

ROLES = ("dispatcher", "worker")
ROLE = Argument("ROLE", "dispatcher, which distributes the videos, or worker, which reads them.")

FLAGS = {
    "Server": (
        Flag(
            "port",
            0,
            "Port to listen at. Required for a dispatcher; 0 lets a worker choose a free one.",
            lower=0,
            upper=65535,
        ),
        Flag("dispatcher", "", "HOST:PORT of the dispatcher, required for a worker."),
        Flag(
            "host",
            "",
            "Name of this machine under which those that train reach a worker; its host name by"
            " default.",
        ),
    ),
}


def main(flags: Values, role: str) -> None:
    """Serves until a signal comes."""
    if role not in ROLES:
        raise InputError(f"Found the role {role!r}, expected {' or '.join(ROLES)}.")
    tf.config.set_visible_devices([], "GPU")  # they are for training
    with StopRequest("stopping.") as stop:
        server, described = (_dispatcher if role == "dispatcher" else _worker)(flags)
        print(described, flush=True)
        while not stop.received:
            time.sleep(0.2)
        del server


def _dispatcher(flags: Values) -> tuple[Any, str]:
    if not flags.port:
        raise InputError("--port is missing: give the port of the dispatcher, such as --port=5050.")
    _check_port(flags.port)
    service = tf.data.experimental.service
    server = service.DispatchServer(service.DispatcherConfig(port=flags.port))
    return server, (
        f"dispatcher at port {flags.port}: start workers with --dispatcher="
        f"{socket.gethostname()}:{flags.port}, and train with"
        f" --data_service=grpc://{socket.gethostname()}:{flags.port}"
    )


def _worker(flags: Values) -> tuple[Any, str]:
    address = flags.dispatcher.removeprefix("grpc://")  # as it is written for those that train
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--dispatcher={flags.dispatcher}: expected HOST:PORT of the dispatcher.")
    _check_port(flags.port)
    wait_for_dispatcher(address, f"--dispatcher={flags.dispatcher}")
    with contextlib.suppress(InputError):  # without tensorflow-io: paths are local, or of gs://
        files.load_file_systems("hdfs://")  # and with it s3:// and az://
    compiler.start()
    service = tf.data.experimental.service
    config = service.WorkerConfig(
        dispatcher_address=address,
        worker_address=f"{flags.host or socket.gethostname()}:%port%",
        port=flags.port,
    )
    server = service.WorkerServer(config)
    return server, f"worker of {address}"


def _check_port(port: int) -> None:
    """Refuses a port in use, which a second server of TensorFlow may share without an error."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise InputError(
            f"--port={port}: the server cannot listen there ({problem}): give another port."
        ) from None


COMMAND = Command(main, __doc__, FLAGS, ROLE)

if __name__ == "__main__":
    COMMAND.run()
