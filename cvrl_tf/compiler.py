"""XLA, the compiler of TensorFlow: whether it works on a device, and may be used there."""

import functools
import os
import tempfile

import tensorflow as tf

SWITCH = "CVRL_TF_XLA"  # 0: accelerators work without it


@functools.cache
def problem(device: str = "") -> str:
    """Returns why XLA is not used on an accelerator; "" if it is.

    Args:
      device: whose compiler is meant; "" is the one that TensorFlow prefers.
    """
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH}=0"
    return start(device)


@functools.cache
def start(device: str = "/CPU:0") -> str:
    """Starts XLA on a device, by compiling a small program, without its lines on stderr.

    It logs a few lines at its first use in a process, whatever TensorFlow's log level is.

    Args:
      device: whose compiler is meant.

    Returns:
      Why it cannot compile; "" if it can.
    """
    with tf.init_scope(), tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            with tf.device(device):
                # On GPUs the exponential needs a file of CUDA that is missed most often.
                tf.function(tf.exp, jit_compile=True)(tf.constant(0.0))
        except tf.errors.OpError as error:
            return str(error.message).strip().splitlines()[0]
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    return ""
