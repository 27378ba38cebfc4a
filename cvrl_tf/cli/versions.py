"""What a bug report needs: versions and devices."""

import contextlib
import importlib.metadata
import os
import platform
import sys

import av
import keras
import numpy as np
import tensorflow as tf

import cvrl_tf
from cvrl_tf.environment import granted_cpus

DRIVER = "/proc/driver/nvidia/version"  # there on Linux when NVIDIA's driver is loaded


def report() -> str:
    """Versions of the package and of what it stands on, and the devices that TensorFlow sees."""
    return "\n".join(
        (
            f"cvrl_tf {cvrl_tf.__version__}",
            f"Python {platform.python_version()}, {sys.executable}, {platform.platform()}",
            f"TensorFlow {tf.__version__}{_built_for()}",
            f"Keras {keras.__version__}, backend {keras.config.backend()}",
            f"NumPy {np.__version__}, protobuf {importlib.metadata.version('protobuf')}",
            f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}",
            f"CPUs: {granted_cpus()} of {os.cpu_count()}",
            *_accelerators(),
        )
    )


def _built_for() -> str:
    build = tf.sysconfig.get_build_info()
    if "cuda_version" not in build:
        return ""
    return f", built for CUDA {build['cuda_version']} and cuDNN {build.get('cudnn_version', '?')}"


def _accelerators() -> list[str]:
    lines = []
    for device in tf.config.list_physical_devices():
        if device.device_type == "CPU":
            continue
        details = tf.config.experimental.get_device_details(device)
        name = details.get("device_name", "unknown")
        capability = ".".join(map(str, details.get("compute_capability", ())))
        lines.append(
            f"{device.device_type}: {name}"
            + f", compute capability {capability}" * bool(capability)
        )
    with contextlib.suppress(OSError), open(DRIVER, encoding="utf-8") as file:
        lines.append(f"driver: {file.readline().strip()}")
    return lines or ["GPUs: none"]
