"""Verifies that an export computes what the live model computes, without this package."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import views

TOLERANCE = 1e-5  # of the largest feature or probability
PROGRAM = os.path.join(os.path.dirname(__file__), "reload_program.py")


def verify(
    export_dir: str,
    backbone: keras.Model,
    crop_size: int,
    probabilities: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> float:
    """Reloads an export in a fresh process and compares its outputs for random clips.

    Args:
      export_dir: with `saved_model`, `backbone.keras` and for a classifier `classifier.keras`.
      backbone: the live model, float32.
      crop_size: of the SavedModel's preprocessing.
      probabilities: of the live classifier, from clips; None without one.

    Returns:
      The largest difference found, relative to the largest feature or probability.

    Raises:
      InputError: the process fails, or a difference is above `TOLERANCE`.
    """
    rng = np.random.default_rng(0)
    clips = rng.uniform(0, 1, (2, 4, 48, 64, 3)).astype(np.float32)
    frames = rng.integers(0, 256, (1, 4, crop_size + 9, crop_size + 32, 3), dtype=np.uint8)
    # On the CPU, as in the other process: GPUs convolve with less than float32's precision.
    with tf.device("CPU:0"):
        cropped = views.center_clips(frames, crop_size)
        features = backbone(clips, training=False)
        expected = {
            "features of backbone.keras": features,
            "features of serve": features,
            "features of the SavedModel, called,": features,
            "features of serving_default": backbone(cropped, training=False),
        }
        if probabilities:
            expected |= {
                "probabilities of classifier.keras": probabilities(tf.constant(clips)),
                "probabilities of serve": probabilities(tf.constant(clips)),
                "probabilities of serving_default": probabilities(cropped),
            }
    with (
        tempfile.TemporaryDirectory(prefix="cvrl_") as directory,
        files.literal_path(os.path.abspath(export_dir)) as literal,
    ):
        inputs, outputs = (os.path.join(directory, f"{x}.npz") for x in ("inputs", "outputs"))
        np.savez(inputs, clips=clips, frames=frames)
        process = subprocess.run(
            [sys.executable, "-P", PROGRAM, literal, inputs, outputs],
            cwd=directory,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "-1",  # this process may hold all memory of the GPUs
            },
        )
        if process.returncode:
            reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(
                f"The export was discarded: a fresh process of {sys.executable} could not reload it"
                f" (status {process.returncode}): {reason}"
            )
        found = dict(np.load(outputs))
    worst = 0.0
    for name, values in expected.items():
        scale = float(np.max(np.abs(values)))
        difference = float(np.max(np.abs(found[name] - values))) / scale
        if not difference <= TOLERANCE:  # NaN too
            raise InputError(
                f"The export was discarded: the {name} differ from the live model's"
                f" by {difference:.1e} of the largest, expected at most {TOLERANCE:.0e}"
            )
        worst = max(worst, difference)
    return worst
