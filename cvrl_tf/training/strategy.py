"""From one device to many machines: the choice of a distribution strategy."""

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf.data.stream import WHOLE, Share
from cvrl_tf.errors import InputError
from cvrl_tf.training import rendezvous

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
TPU = "tpu:"
# Where NVIDIA's driver shows, on Linux and under Windows.
NVIDIA_DRIVER = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/usr/lib/wsl/lib/nvidia-smi")


@functools.cache
def prepare_devices() -> None:
    """Prepares GPUs; call it before anything is placed on a device.

    TensorFlow then allocates their memory as needed, instead of all at its start. A note on stderr
    says how to install what is missing where TensorFlow does not find the GPU of this machine;
    CUDA_VISIBLE_DEVICES='' silences it.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # The first use of a GPU decides; a notebook may have been there before.
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not gpus and not hidden and any(os.path.exists(path) for path in NVIDIA_DRIVER):
        print(
            f"note: this machine has an NVIDIA driver, but TensorFlow {tf.__version__} finds no GPU"
            " and computes on the CPU: install its CUDA libraries, pip install -e '.[gpu]' in the"
            " clone of this package (and give a container access to the card), or set"
            " CUDA_VISIBLE_DEVICES='' to compute on the CPU without this note.",
            file=sys.stderr,
        )


def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Makes the strategy of a run. Call it before anything else runs on TensorFlow.

    Args:
      name: "one_device", the first GPU, or the CPU; "mirrored", all GPUs of this machine, one or
        several, or the CPU; "multi_worker", the machines that the environment variable TF_CONFIG
        names; "tpu:NAME", a TPU by the name or address that TensorFlow's resolver takes; "auto",
        multi_worker if TF_CONFIG names several workers, otherwise all GPUs, or the CPU.

    Raises:
      InputError: not such a name, or what it needs is not there.
    """
    prepare_devices()
    if name.startswith(TPU):
        return _tpu_strategy(name.removeprefix(TPU))
    if name not in STRATEGIES:
        raise InputError(
            f"--strategy={name}: expected {', '.join(STRATEGIES)}, or {TPU}NAME for a TPU."
        )
    workers, index = _workers_in_environment()
    if name == "multi_worker" or (name == "auto" and len(workers) > 1):
        if not workers:
            raise InputError(
                "--strategy=multi_worker needs the environment variable TF_CONFIG, with the"
                ' addresses of all workers and the number of this one: {"cluster": {"worker":'
                ' ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}.'
            )
        return rendezvous.connect(workers, index)
    gpus = tf.config.list_logical_devices("GPU")
    if gpus and name == "mirrored":
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    if name == "auto":
        return local_strategy()
    return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus else "/CPU:0")


def local_strategy() -> tf.distribute.Strategy:
    """All GPUs of this machine, or the CPU, whatever TF_CONFIG names."""
    prepare_devices()
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus else "/CPU:0")


def strategy_of(model: keras.Model) -> tf.distribute.Strategy | None:
    """The strategy of a network whose weights are on several devices of this machine.

    Returns:
      None where the weights are on one device, and for a TPU or several machines: an evaluation is
      that of one process, which the others do not take part in.
    """
    if not model.variables:
        return None
    # Keras has no name for it; a variable of `MirroredStrategy` and its kin has.
    strategy = getattr(model.variables[0].value, "distribute_strategy", None)
    return strategy if isinstance(strategy, tf.distribute.MirroredStrategy) else None


def on_gpus(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas of `strategy` compute on GPUs."""
    devices = map(tf.DeviceSpec.from_string, strategy.extended.worker_devices)
    return all(device.device_type == "GPU" for device in devices)


def _workers_in_environment() -> tuple[list[str], int]:
    """The addresses of all workers and the number of this one; none without TF_CONFIG."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return [], 0
    try:
        config = json.loads(text)
        workers, index = config["cluster"]["worker"], int(config["task"]["index"])
        if config["task"]["type"] != "worker" or not 0 <= index < len(workers):
            raise ValueError(f"its task is {config['task']}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The environment variable TF_CONFIG cannot be used ({error!r}): expected"
            ' {"cluster": {"worker": [addresses]}, "task": {"type": "worker", "index": NUMBER}},'
            " without a chief or an evaluator."
        ) from None
    return workers, index


def _tpu_strategy(name: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:  # whatever its client libraries raise
        raise InputError(f"--strategy={TPU}{name}: no such TPU can be reached ({error}).") from None
    return tf.distribute.TPUStrategy(resolver)


class Workers:
    """The processes that train together, one or several, and what they agree on.

    Attributes:
      share: this process's share of the input.
      is_chief: whether this process writes.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        resolver: Any = getattr(strategy, "cluster_resolver", None)
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        count = len(resolver.cluster_spec().as_dict()["worker"]) if several else 1
        self.share = Share(resolver.task_id, count) if several else WHOLE
        self.is_chief = self.share.index == 0

    def local_values(self, values: tf.Tensor) -> np.ndarray:
        """The values of this process's replicas, concatenated."""
        local = self._strategy.experimental_local_results(values)
        return np.concatenate([value.numpy() for value in local])

    def agree(self, stop: bool, ended: bool, position: int) -> tuple[bool, bool, list[int]]:
        """Shares among all workers what each of them knows; all call it after every step.

        Args:
          stop: whether this worker has received a request to stop.
          ended: whether this worker, which evaluates, finds that the run ends early.
          position: its next position in the input.

        Returns:
          Whether any worker has received such a request; whether any ends the run; the positions of
          all.
        """
        if self.share.count == 1:
            return stop, ended, [position]
        known = tf.constant([[int(stop), int(ended), position]], tf.int64)
        all_known = self._gather(known).numpy()
        # One row for each replica, those of a worker side by side.
        rows = all_known[:: len(all_known) // self.share.count]
        return bool(rows[:, 0].any()), bool(rows[:, 1].any()), rows[:, 2].tolist()

    @tf.function
    def _gather(self, row: tf.Tensor) -> tf.Tensor:
        def run(row: tf.Tensor) -> tf.Tensor:
            # A copy has a device, which the collective operation wants of what it gathers.
            return tf.distribute.get_replica_context().all_gather(tf.identity(row), axis=0)

        gathered = self._strategy.run(run, args=(row,))
        return self._strategy.experimental_local_results(gathered)[0]

    @contextlib.contextmanager
    def naming_lost_workers(self, last_checkpoint: Callable[[], str | None]) -> Iterator[None]:
        """Turns the errors of a collective operation that lost a worker into one sentence.

        Raises:
          InputError: another worker is gone.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self.share.count == 1:
                raise
            reason = str(error.message).strip().splitlines()[-1]
            raise InputError(
                f"Another worker is gone, or cannot be reached ({reason}): start all of them again"
                " with the same commands; they resume from"
                f" {last_checkpoint() or 'the start, because there is no checkpoint yet'}."
            ) from None
