"""A lease on a remote directory: one holder at a time, until it expires.

Object stores have no locks. The holder writes a small file and renews it; others respect it until
its expiry, which ends the lease of a process that was killed. The clocks of machines that share a
directory must agree to a minute.
"""

import contextlib
import datetime
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator

import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError

SECONDS = 300.0  # from a renewal to the expiry
RENEWALS = 5  # within that time, so that some may fail
SETTLE_SECONDS = 1.0  # of two that start at once, the one that wrote last holds the lease


class Lease:
    """A lease that this process holds; made by `held`."""

    def __init__(self, path: str, what: str):
        self._path, self._what = path, what
        self._holder, self._token = _this_process(), uuid.uuid4().hex
        self._expires = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def take(self) -> None:
        """Writes the lease and begins to renew it; raises InputError if another process has it."""
        self._refuse_other()
        self._write()
        time.sleep(SETTLE_SECONDS)
        self._refuse_other()
        self._thread.start()

    def check(self) -> None:
        """Raises InputError if the lease could not be renewed in time; cheap."""
        if time.time() > self._expires:
            raise InputError(
                f"This process lost its lease {self._path}: it could not be renewed before"
                f" {_utc(self._expires)}, or another process has taken it. Run the same command"
                " again once no other process is at work; what is finished is kept."
            )

    def release(self) -> None:
        """Removes the lease, unless another process has taken it."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(tf.errors.OpError, InputError):
            if self._read().get("token") == self._token:
                tf.io.gfile.remove(self._path)

    def _read(self) -> dict:
        """What the file says; nothing where there is none."""
        try:
            return files.read_json(self._path)
        except tf.errors.NotFoundError:
            return {}
        except ValueError:
            raise InputError(
                f"{self._path} is not a lease of this version: remove it if no process is"
                f" {self._what}."
            ) from None

    def _refuse_other(self) -> None:
        found = self._read()
        if found and found["token"] != self._token and found["expires"] > time.time():
            raise InputError(
                f"Another process ({found['holder']}) is {self._what}: it holds the lease"
                f" {self._path} until {_utc(found['expires'])} and renews it. Wait for it, or, if"
                " it was killed, until then; or choose another directory."
            )

    def _write(self) -> None:
        expires = time.time() + SECONDS
        values = {
            "holder": self._holder,
            "token": self._token,
            "expires": expires,
            "until": _utc(expires),
        }
        files.write_json(self._path, values)
        self._expires = expires

    def _keep(self) -> None:
        while not self._done.wait(SECONDS / RENEWALS):
            # A store that cannot be reached is tried again; at the expiry `check` reports it.
            with contextlib.suppress(tf.errors.OpError, OSError, InputError):
                if self._read().get("token") != self._token:
                    self._expires = 0.0
                    return
                self._write()


@contextlib.contextmanager
def held(path: str, what: str) -> Iterator[Lease]:
    """Holds a lease while the block runs.

    Args:
      path: of its file, remote; its directory exists.
      what: what the holder does, for messages: "converting into output_dir=gs://bucket/k400".

    Raises:
      InputError: another process holds it.
    """
    lease = Lease(path, what)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()


def _this_process() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"


def _utc(seconds: float) -> str:
    """A time as `2026-11-26 10:15:00 UTC`."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
