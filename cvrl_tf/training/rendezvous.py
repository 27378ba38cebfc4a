"""Several workers wait for each other before TensorFlow connects them.

TensorFlow itself waits for missing workers without a word, and reacts to no signal meanwhile. Here
each worker listens at its address until it has reached all others once; then all are running.
"""

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence

import tensorflow as tf

from cvrl_tf import progress
from cvrl_tf.errors import InputError, Stopped, reason
from cvrl_tf.training.signals import StopRequest

FIRST_NOTE_SECONDS = 20.0  # until the first note; each further one after twice the time
POLL_SECONDS = 0.5
CONNECT_SECONDS = 2.0


def connect(addresses: Sequence[str], index: int) -> tf.distribute.Strategy:
    """Waits for all workers and makes their strategy.

    Names the missing workers on stderr while it waits. SIGTERM, SIGINT and SIGHUP end the wait.

    Args:
      addresses: HOST:PORT of all workers, as in TF_CONFIG.
      index: of this worker.

    Raises:
      InputError: TensorFlow cannot connect the workers.
      Stopped: a signal came before all workers were there.
    """
    wait(addresses, index)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise InputError(
            f"Worker {index} ({addresses[index]}) cannot be connected to the others"
            f" ({reason(error)}): check the addresses in TF_CONFIG, and that no other process uses"
            " the port."
        ) from None


def wait(addresses: Sequence[str], index: int) -> None:
    """Waits until each of the other workers has listened at its address; raises `Stopped`."""
    missing = [number for number in range(len(addresses)) if number != index]
    start, note_seconds = time.monotonic(), FIRST_NOTE_SECONDS
    with (
        _listening(addresses[index], len(addresses)),
        StopRequest("no longer waiting for the other workers.") as stop,
    ):
        while missing := [number for number in missing if not _listens(addresses[number])]:
            names = ", ".join(f"worker {number} ({addresses[number]})" for number in missing)
            if stop.received:
                raise Stopped(
                    f"Stopped by {stop.received} while waiting for {names}: start the same command"
                    " on all workers."
                )
            if time.monotonic() - start >= note_seconds:
                progress.note(
                    f"note: worker {index} of {len(addresses)} waits for {names}: start the same"
                    " command there; TF_CONFIG has the addresses."
                )
                note_seconds *= 2
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _listening(address: str, backlog: int) -> Iterator[None]:
    """Lets others connect to an address; the kernel does it, nothing is accepted."""
    with contextlib.ExitStack() as stack:
        # Where the port is in use, TensorFlow's own server has it already, or will report it.
        with contextlib.suppress(OSError, ValueError):
            port = int(address.rpartition(":")[2])
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            stack.enter_context(
                socket.create_server(
                    ("", port), family=family, backlog=2 * backlog, dualstack_ipv6=dual
                )
            )
        yield


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            return True
    except OSError:
        return False
    except ValueError:  # not HOST:PORT; TensorFlow will report it
        return True
