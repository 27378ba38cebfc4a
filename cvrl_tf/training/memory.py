"""Estimates the memory of a training step on a CPU, to refuse one that is too large.

Without this check, the kernel kills the process in the first step. The estimate counts the outputs
of all convolutions, which the backward pass needs. docs/performance.md has the measurements behind
the constants.
"""

import contextlib
import pathlib

import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.models.resnet3d import BACKBONES, outputs_per_pixel
from cvrl_tf.training.config import NetworkConfig

# Bytes in memory for each byte of these outputs: normalised and rectified values, and gradients.
COPIES = 2.5
REMAT = 0.5  # of that, where activations are computed again
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_CGROUPS = (  # the limit of a container and what it uses, versions 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def step_bytes(config: NetworkConfig, precision: str, num_clips: int, remat: bool = False) -> float:
    """The memory that the activations of a training step take at least.

    Args:
      config: the backbone and its clips.
      precision: a key of `precision.DTYPE_POLICIES`.
      num_clips: that are computed at once.
      remat: whether the activations inside blocks are computed again.
    """
    values = outputs_per_pixel(BACKBONES[config.backbone]) * config.width_multiplier
    pixels = num_clips * config.num_frames * config.crop_size**2
    return pixels * values * BYTES[precision] * COPIES * (REMAT if remat else 1.0)


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


def check(
    config: NetworkConfig,
    precision: str,
    num_clips: int,
    strategy: tf.distribute.Strategy,
    remat: bool = False,
) -> None:
    """Checks that a training step on CPUs fits the memory that is free.

    Args:
      config, precision, num_clips, remat: as of `step_bytes`; the clips of a replica.
      strategy: devices. Nothing is checked where they are not CPUs.

    Raises:
      InputError: it does not fit.
    """
    devices = [tf.DeviceSpec.from_string(name) for name in strategy.extended.worker_devices]
    if any(device.device_type != "CPU" for device in devices):
        return
    needed, free = len(devices) * step_bytes(config, precision, num_clips, remat), free_bytes()
    if needed <= free:
        return
    fitting = int(num_clips * free / needed)
    raise InputError(
        f"A step on {num_clips} clips of {config.num_frames} frames of"
        f" {config.crop_size}x{config.crop_size} pixels, {config.backbone} in {precision}, takes"
        f" about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: lower"
        f" batch_size{f' ({fitting} clips fit)' if fitting else ''}, crop_size or num_frames,"
        " choose backbone=r3d_small, or precision=bfloat16, which takes half."
    )
