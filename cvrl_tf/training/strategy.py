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
from cvrl_tf.training.rendezvous import Cluster

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "slurm")
TPU = "tpu:"
# The ports of Slurm's tasks on a node, from the first on: those of two jobs seldom meet.
SLURM_PORTS = range(20_000, 30_000, 10)
_MOST_TASKS = 1024  # of a node
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


def make_strategy(
    name: str = "auto", start_timeout: float = rendezvous.START_SECONDS
) -> tf.distribute.Strategy:
    """Makes the strategy of a run. Call it before anything else runs on TensorFlow.

    Args:
      name: "one_device", the first GPU, or the CPU; "mirrored", all GPUs of this machine, one or
        several, or the CPU; "multi_worker", the machines that the environment variable TF_CONFIG
        names; "slurm", the tasks of a Slurm job step, for which TF_CONFIG is set; "tpu:NAME", a TPU
        by the name or address that TensorFlow's resolver takes; "auto", multi_worker if TF_CONFIG
        names several workers, otherwise all GPUs, or the CPU.
      start_timeout: the longest time, in seconds, to wait for the other workers.

    Raises:
      InputError: not such a name, or what it needs is not there; or as `rendezvous.connect`.
    """
    prepare_devices()
    if name.startswith(TPU):
        return _tpu_strategy(name.removeprefix(TPU))
    if name not in STRATEGIES:
        raise InputError(
            f"--strategy={name}: expected {', '.join(STRATEGIES)}, or {TPU}NAME for a TPU."
        )
    if name == "slurm":
        os.environ["TF_CONFIG"] = _slurm_cluster().variable
        name = "multi_worker"
    cluster = _cluster_in_environment()
    if name == "multi_worker" or (name == "auto" and cluster and len(cluster.addresses) > 1):
        if not cluster:
            raise InputError(
                "--strategy=multi_worker needs the environment variable TF_CONFIG, with the"
                ' addresses of all workers and the number of this one: {"cluster": {"worker":'
                ' ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}.'
            )
        return rendezvous.connect(cluster, start_timeout)
    if name == "auto":
        return local_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    if gpus and name == "mirrored":
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
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


def _cluster_in_environment() -> Cluster | None:
    """The workers that TF_CONFIG names; None without it."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return None
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
    return Cluster(tuple(workers), index)


def _slurm_cluster() -> Cluster:
    """The tasks of the Slurm job step that this process belongs to.

    Which GPUs a task uses is left to Slurm.
    """
    try:
        port = SLURM_PORTS[int(os.environ["SLURM_JOB_ID"]) % len(SLURM_PORTS)]
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=_MOST_TASKS, gpus_per_task=1, auto_set_gpu=False
        )
        addresses = tuple(resolver.cluster_spec().as_dict()["worker"])
        # TensorFlow sorts nodes as text, Slurm n9 before n10: its rank is not always the number.
        node, task = os.environ["SLURMD_NODENAME"], int(os.environ["SLURM_LOCALID"])
        return Cluster(addresses, addresses.index(f"{node}:{port + task}"))
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--strategy=slurm cannot find its workers ({error}): start the command with srun, in a"
            " job of Slurm, which sets SLURM_JOB_ID, SLURM_PROCID, SLURM_LOCALID, SLURMD_NODENAME,"
            " SLURM_STEP_NODELIST, SLURM_STEP_NUM_TASKS and SLURM_STEP_TASKS_PER_NODE."
        ) from None


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

    def local_values(self, *parts: tf.Tensor) -> np.ndarray:
        """The values of this process's replicas in each part of a batch, concatenated."""
        local = [self._strategy.experimental_local_results(values) for values in parts]
        return np.concatenate([value.numpy() for values in local for value in values])

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
        rows = self._rows(tf.constant([[int(stop), int(ended), position]], tf.int64))
        return bool(rows[:, 0].any()), bool(rows[:, 1].any()), rows[:, 2].tolist()

    def texts(self, text: str) -> list[str]:
        """The texts of all workers, in their order; all call it at the same time."""
        if self.share.count == 1:
            return [text]
        codes = np.frombuffer(text.encode(), np.uint8)
        lengths = self._rows(tf.constant([[len(codes)]], tf.int64))[:, 0]
        padded = np.pad(codes, (0, lengths.max() - len(codes)))
        rows = self._rows(tf.constant(padded[np.newaxis], tf.int64))
        return [
            row[:length].astype(np.uint8).tobytes().decode()
            for row, length in zip(rows, lengths, strict=True)
        ]

    def _rows(self, row: tf.Tensor) -> np.ndarray:
        """The rows, (1, n) int64, of all workers: (workers, n)."""
        gathered = self._gather(row).numpy()
        # One row for each replica, those of a worker side by side.
        return gathered[:: len(gathered) // self.share.count]

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
