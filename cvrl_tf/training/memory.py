"""What the memory of a training step is, whether it fits the devices, and what fits instead.

The estimate counts the weights, and the activations that the backward pass needs, in proportion to
the outputs of all convolutions. docs/performance.md has the measurements behind the constants.
"""

import contextlib
import ctypes
import dataclasses
import pathlib
import re
import sys
from collections.abc import Iterator

import tensorflow as tf

from cvrl_tf.errors import InputError, reason
from cvrl_tf.models import heads
from cvrl_tf.models.resnet3d import BACKBONES, num_weights, outputs_per_pixel
from cvrl_tf.text import counted
from cvrl_tf.training.config import PretrainConfig, RunConfig

# Bytes of a step for each byte of the outputs of all convolutions, on CPUs and on GPUs, by
# `rematerialization.REMAT`.
ACTIVATIONS = {"none": (2.3, 2.05), "norm": (1.5, 1.0), "block": (1.3, 0.65)}
KEYS = 0.25  # the same of the forward pass of a momentum encoder
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# A step is refused if even this part of the estimate exceeds the memory that is free.
CERTAIN = 0.8
# After an error, the estimate was too low: what fits has to be smaller by this factor.
SMALLER = 0.9
_CGROUPS = (  # the limit of a container and what it uses, versions 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
# Libraries of CUDA report exhausted memory by other errors too; these are words of the messages.
_ERRORS = (
    tf.errors.ResourceExhaustedError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
    tf.errors.NotFoundError,
)
_EXHAUSTED = re.compile(
    r"\bOOM\b|out[ _]of[ _]memory|resource[ _]?exhausted|alloc_failed|failed to allocate"
    r"|memory limit",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """What the memory of a training step on each device depends on.

    Attributes:
      config: of the run.
      num_devices: that share a batch.
      remat: one of `rematerialization.REMAT`.
      on_gpus: whether the devices are GPUs.
    """

    config: RunConfig
    num_devices: int = 1
    remat: str = "none"
    on_gpus: bool = False

    @property
    def num_clips(self) -> int:
        """Clips that a device computes at once."""
        return self.config.clips_at_once(self.num_devices)

    def clip_bytes(self) -> float:
        """Activations of a clip, by estimate."""
        config = self.config
        values = outputs_per_pixel(BACKBONES[config.backbone]) * config.width_multiplier
        pixels = config.num_frames * config.crop_size**2
        factor = ACTIVATIONS[self.remat][self.on_gpus] + KEYS * self._has_average()
        return pixels * values * BYTES[config.precision] * factor

    def fixed_bytes(self) -> float:
        """Weights, momenta and gradients of the networks of a run, by estimate."""
        config = self.config
        architecture = BACKBONES[config.backbone]
        count = num_weights(architecture, config.width_multiplier)
        if isinstance(config, PretrainConfig):
            features = architecture.filters * config.width_multiplier * 32
            units = min(features, heads.MAX_HIDDEN_UNITS)
            count += features * units + (heads.HIDDEN_LAYERS - 1) * units**2
            count += units * heads.EMBEDDING_SIZE
        copies = 3 + self._has_average() + (config.micro_batches > 1)
        reduced = 0 if config.precision == "float32" else BYTES[config.precision]
        return count * (4 * copies + reduced)

    def _has_average(self) -> bool:
        return bool(getattr(self.config, "momentum_encoder", 0.0))

    def total_bytes(self) -> float:
        """The memory of a step on a device, by estimate."""
        return self.fixed_bytes() + self.num_clips * self.clip_bytes()

    def smaller(self) -> Iterator[tuple["StepMemory", str]]:
        """Changes of settings that leave the batch unchanged, the least costly first, in words."""
        if not isinstance(self.config, PretrainConfig):
            return
        kinds = list(ACTIVATIONS)
        kinds = kinds[kinds.index(self.remat) + 1 :]
        for kind in kinds:
            yield dataclasses.replace(self, remat=kind), f"remat={kind}"
        share = self.config.batch_size // self.num_devices
        for parts in range(self.config.accumulate + 1, share + 1):
            if share % parts:
                continue
            config = dataclasses.replace(self.config, accumulate=parts)
            for kind in [self.remat, *kinds]:
                words = f"accumulate={parts}" + (f" with remat={kind}" if kind != "none" else "")
                yield dataclasses.replace(self, config=config, remat=kind), words

    def advice(self, most: float) -> str:
        """What makes a step take at most `most` bytes on a device, by estimate."""
        for step, words in self.smaller():
            if step.total_bytes() <= most:
                return f"{words} is the smallest change that fits"
        config = self.config
        clips = self.num_devices * config.micro_batches * (most - self.fixed_bytes())
        videos = int(clips / self.clip_bytes()) // getattr(config, "clips_per_video", 1)
        fitting = f" ({counted(videos, 'video')} fit)" if videos > 0 else ""
        half = ", or precision=bfloat16, which takes half" * (config.precision == "float32")
        return (
            f"lower batch_size{fitting}, crop_size or num_frames, choose backbone=r3d_small{half}"
        )

    def __str__(self) -> str:
        config = self.config
        return (
            f"{self.num_clips} clips of {config.num_frames} frames of"
            f" {config.crop_size}x{config.crop_size} pixels"
            f"{' on each device' if self.num_devices > 1 else ''}, {config.backbone} in"
            f" {config.precision}"
        )


def free_bytes() -> float:
    """The memory that this process can still take, swap included; infinity where it is unknown."""
    found = [float("inf")]
    with contextlib.suppress(OSError, ValueError, KeyError):  # there is none outside Linux
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines)
        found.append(
            1024 * sum(int(values[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
        )
    for limit, used in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            most, now = (int(pathlib.Path(path).read_text()) for path in (limit, used))
            found.append(most - now)
    return min(found)


def gpu_bytes() -> float:
    """The memory of the smallest GPU that CUDA shows this process, used or not, by its driver.

    Infinity where there is no driver.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return float("inf")
    count, device, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return float("inf")
    found = [float("inf")]
    for number in range(count.value):
        driver.cuDeviceGet(ctypes.byref(device), number)
        if not driver.cuDeviceTotalMem_v2(ctypes.byref(total), device):
            found.append(float(total.value))
    return min(found)


def device_bytes(strategy: tf.distribute.Strategy) -> float:
    """The memory of each device of this process; infinity where it is unknown."""
    devices = [tf.DeviceSpec.from_string(name) for name in strategy.extended.worker_devices]
    kinds = {device.device_type for device in devices}
    if kinds == {"CPU"}:
        return free_bytes() / len(devices)
    return gpu_bytes() if kinds == {"GPU"} else float("inf")


def check(step: StepMemory, strategy: tf.distribute.Strategy) -> None:
    """Checks that a training step fits the memory of the devices; call it before it takes any.

    A note on stderr says what fits where the estimate exceeds the memory.

    Args:
      step: to be trained.
      strategy: devices.

    Raises:
      InputError: a step on CPUs certainly does not fit. In its first step the kernel would kill the
        process; devices raise an error, see `naming_exhaustion`.
    """
    needed, there = step.total_bytes(), device_bytes(strategy)
    if needed <= there:
        return
    cpu = "CPU" in strategy.extended.worker_devices[0]
    known = f"{there / 1e9:.1f} GB"
    text = (
        f"step on {step}, takes about {needed / 1e9:.1f} GB of memory, and"
        f" {f'{known} are free' if cpu else f'a GPU has {known}'}: {step.advice(there)}."
    )
    if cpu and CERTAIN * needed > there:
        raise InputError(f"A {text}")
    print(f"note: a {text}", file=sys.stderr)


@contextlib.contextmanager
def naming_exhaustion(step: StepMemory | None, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's error of exhausted memory into one sentence that says what fits.

    Args:
      step: that the block computes; None for one that is not described.
      strategy: devices.

    Raises:
      InputError: the memory of a device is exhausted.
    """
    try:
        yield
    except _ERRORS as error:
        exhausted = isinstance(error, tf.errors.ResourceExhaustedError)
        if step is None or not (exhausted or _EXHAUSTED.search(str(error))):
            raise
        needed, there = step.total_bytes(), device_bytes(strategy)
        advice = step.advice(min(there, SMALLER * needed))
        raise InputError(
            f"The memory of a device does not suffice for a step on {step} ({reason(error)}):"
            f" {advice}, by estimate."
        ) from None
