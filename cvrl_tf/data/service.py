"""A stream whose elements other machines compute: TensorFlow's tf.data service.

A dispatcher gives positions of the stream to its workers, each to one of them, at most once. Their
elements arrive in any order, and those of a worker that dies never do. Here they are put in order,
and an element that does not arrive is computed in this process. So the stream is the same as
without the service, whatever happens to the servers.
"""

import dataclasses
import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from cvrl_tf import progress
from cvrl_tf.errors import InputError, reason

DISPATCHER_SECONDS = 60.0  # to wait for the dispatcher at the start
SILENCE_SECONDS = 30.0  # without an element, until this process computes all of them
RETRY_SECONDS = 5.0
IDLE_SECONDS = 600.0  # TensorFlow does not say when the last iterator of a dataset is gone
CONNECT_SECONDS = 2.0
# An element is computed here when as many later ones have arrived.
_WINDOW = 256
_REQUESTS = 32  # in flight, or the number of workers if there are more
_LAST = 2**62

Computed = Callable[[tf.Tensor], tuple[Any, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class DataService:
    """A tf.data service.

    Attributes:
      address: of its dispatcher, grpc://HOST:PORT.
    """

    address: str

    @classmethod
    def reached(cls, address: str) -> "DataService":
        """The service of a dispatcher that answers.

        Args:
          address: grpc://HOST:PORT.

        Raises:
          InputError: another kind of address, or nobody answers there within
            `DISPATCHER_SECONDS`.
        """
        found = re.fullmatch(r"grpc://(.+:\d+)", address)
        if not found:
            raise InputError(
                f"data_service={address}: expected the address of a dispatcher, grpc://HOST:PORT."
            )
        wait_for_dispatcher(found.group(1), f"data_service={address}")
        return cls(address)

    def ordered(self, compute: Computed, first: int, step: int) -> "Arrivals":
        """The elements of every step-th position, from `first` on, in this order.

        Args:
          compute: in a tf.data graph, from a position, scalar int64, to its element and the
            position. An element at which it fails does not arrive.
          first: the first position.
          step: from one position to the next.
        """
        start = _dataset(compute, first, step)
        element, _ = start.element_spec

        def distributed(position: int) -> tf.data.Dataset:
            return _dataset(compute, position, step).apply(
                tf.data.experimental.service.distribute(
                    processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
                    service=self.address,
                    max_outstanding_requests=_REQUESTS,
                    compression=None,
                )
            )

        return Arrivals(distributed, element, self.address)


def wait_for_dispatcher(address: str, named: str) -> None:
    """Waits until a server listens at HOST:PORT.

    Args:
      address: HOST:PORT.
      named: how the user has named it, for messages.

    Raises:
      InputError: none does within `DISPATCHER_SECONDS`.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + DISPATCHER_SECONDS
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
                return
        except (OSError, OverflowError) as error:
            problem = getattr(error, "strerror", None) or str(error)
        if time.monotonic() >= deadline:
            raise InputError(
                f"{named}: no dispatcher answers there after {DISPATCHER_SECONDS:g} s ({problem}):"
                f" start python -m tools.data_server dispatcher --port={port} on that machine, or"
                " correct the address."
            )
        time.sleep(min(1.0, DISPATCHER_SECONDS / 10))


def _dataset(compute: Computed, first: int, step: int) -> tf.data.Dataset:
    """What the workers compute; the options are the default ones, since they tune themselves."""
    positions = tf.data.Dataset.range(first, _LAST, step)
    return positions.map(compute, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()


class Arrivals:
    """Elements that arrive in any order, or not at all, by position.

    A thread receives them, from the first call of `take` until nobody has taken any for
    `IDLE_SECONDS`; a later call begins anew.

    Args:
      distributed: the dataset of elements and positions, from a position on.
      element: structure of `tf.TensorSpec` of an element.
      address: of the service, for messages.
    """

    def __init__(self, distributed: Callable[[int], tf.data.Dataset], element: Any, address: str):
        self._distributed, self._element, self._address = distributed, element, address
        self._specs = tf.nest.flatten(element)
        self._receiver: _Receiver | None = None
        self._waiting: dict[int, list[tf.Tensor]] = {}
        self._silent, self._missed = False, 0

    def take(self, position: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """In a tf.data graph, whether the element of a position arrived, and its tensors.

        Args:
          position: scalar int64, higher than that of the call before; -1 for none.
        """
        types = [spec.dtype for spec in self._specs]
        found, *values = tf.py_function(self._take, [position], [tf.bool, *types])
        return tf.ensure_shape(found, []), tuple(values)

    def packed(self, values: tuple[tf.Tensor, ...]) -> Any:
        """The element that `take` has found, from its tensors."""
        shaped = [
            tf.ensure_shape(value, spec.shape)
            for value, spec in zip(values, self._specs, strict=True)
        ]
        return tf.nest.pack_sequence_as(self._element, shaped)

    def _take(self, position: tf.Tensor) -> list[Any]:
        values = self._wait(int(position)) if position >= 0 else None
        if values is None:
            return [False, *(tf.zeros([], spec.dtype) for spec in self._specs)]
        return [True, *values]

    def _wait(self, position: int) -> list[tf.Tensor] | None:
        """The tensors of an element; None if it will not arrive."""
        receiver = self._receiver_from(position)
        while position not in self._waiting:
            self._waiting = {p: x for p, x in self._waiting.items() if p > position}
            if len(self._waiting) >= _WINDOW:
                self._note_miss()
                return None
            try:
                arrived, values = receiver.arrived.get(
                    timeout=0.001 if self._silent else SILENCE_SECONDS
                )
            except queue.Empty:
                self._note_silence(receiver.problem)
                return None
            self._silent = False
            self._waiting[arrived] = values
        return self._waiting.pop(position)

    def _receiver_from(self, position: int) -> "_Receiver":
        """What receives a position: a new thread where a stream begins, or begins anew."""
        receiver = self._receiver
        if receiver is None or receiver.stopped.is_set() or position < receiver.wanted:
            if receiver:
                receiver.stopped.set()
            receiver, self._waiting = _Receiver(self._distributed, position), {}
        receiver.wanted = position
        self._receiver = receiver
        return receiver

    def _note_miss(self) -> None:
        self._missed += 1
        if self._missed & (self._missed - 1) == 0:  # 1, 2, 4, ...
            progress.note(
                f"note: {self._missed} videos of the data service did not arrive and were read"
                " here; they are damaged, or a worker was lost."
            )

    def _note_silence(self, problem: str) -> None:
        if not self._silent:
            because = f" ({problem})" if problem else ""
            progress.note(
                f"note: no video has come from the data service {self._address} for"
                f" {SILENCE_SECONDS:g} s{because}; this process reads all of them until one comes."
                " Check that its dispatcher and workers run, and that the workers can read the"
                " files."
            )
        self._silent = True


class _Receiver:
    """A thread that receives what arrives.

    Attributes:
      arrived: pairs of a position and the tensors of its element.
      stopped: set it to end the thread.
      wanted: the position at which the thread begins anew after an error of the service.
      problem: the last error of the service.
    """

    def __init__(self, distributed: Callable[[int], tf.data.Dataset], first: int):
        self.arrived: queue.Queue[tuple[int, list[tf.Tensor]]] = queue.Queue(maxsize=2)
        self.stopped = threading.Event()
        self.wanted, self.problem = first, ""
        self._distributed = distributed
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while not self.stopped.is_set():
            try:
                # A new dispatcher at the address knows no dataset: it is registered again.
                for element, position in self._distributed(self.wanted):
                    self._put(int(position), tf.nest.flatten(element))
                    if self.stopped.is_set():
                        return
            except tf.errors.OpError as error:
                self.problem = reason(error)
                self.stopped.wait(RETRY_SECONDS)

    def _put(self, position: int, values: list[tf.Tensor]) -> None:
        start = time.monotonic()
        while not self.stopped.is_set():
            try:
                self.arrived.put((position, values), timeout=1.0)
                return
            except queue.Full:
                if time.monotonic() - start > IDLE_SECONDS:
                    self.stopped.set()
