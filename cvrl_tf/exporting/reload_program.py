"""Computes the features of an export without this package; run by `verification`.

python -P reload_program.py EXPORT_DIR INPUTS.npz OUTPUTS.npz
"""

import os
import sys

import keras
import numpy as np
import tensorflow as tf


def main(export_dir: str, inputs_path: str, outputs_path: str) -> None:
    """Writes the features of `clips` and `frames` of the inputs, from every entry of the export."""
    sys.modules["cvrl_tf"] = None  # type: ignore[assignment]  # importing it is now an error
    inputs = np.load(inputs_path)
    saved_model = tf.saved_model.load(os.path.join(export_dir, "saved_model"))
    backbone = keras.models.load_model(os.path.join(export_dir, "backbone.keras"), safe_mode=True)
    clips = tf.constant(inputs["clips"])
    outputs = {
        "backbone.keras": backbone(clips, training=False),
        "serve": saved_model.serve(clips)["features"],
        "the SavedModel, called": saved_model(clips, training=False),
        "serving_default": saved_model.signatures["serving_default"](
            frames=tf.constant(inputs["frames"])
        )["features"],
    }
    np.savez(outputs_path, **{name: value.numpy() for name, value in outputs.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
