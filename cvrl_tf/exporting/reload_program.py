"""Computes what an export computes, without this package; run by `verification`.

python -P reload_program.py EXPORT_DIR INPUTS.npz OUTPUTS.npz
"""

import os
import sys

import keras
import numpy as np
import tensorflow as tf


def main(export_dir: str, inputs_path: str, outputs_path: str) -> None:
    """Writes the outputs for `clips` and `frames` of the inputs, from every entry of the export."""
    sys.modules["cvrl_tf"] = None  # type: ignore[assignment]  # importing it is now an error
    inputs = np.load(inputs_path)
    saved_model = tf.saved_model.load(os.path.join(export_dir, "saved_model"))
    backbone = keras.models.load_model(os.path.join(export_dir, "backbone.keras"), safe_mode=True)
    clips = tf.constant(inputs["clips"])
    serve = saved_model.serve(clips)
    serving_default = saved_model.signatures["serving_default"](
        frames=tf.constant(inputs["frames"])
    )
    outputs = {
        "features of backbone.keras": backbone(clips, training=False),
        "features of serve": serve["features"],
        "features of the SavedModel, called,": saved_model(clips, training=False),
        "features of serving_default": serving_default["features"],
    }
    path = os.path.join(export_dir, "classifier.keras")
    if os.path.exists(path):
        classifier = keras.models.load_model(path, safe_mode=True)
        outputs |= {
            "probabilities of classifier.keras": classifier(clips, training=False),
            "probabilities of serve": serve["probabilities"],
            "probabilities of serving_default": serving_default["probabilities"],
        }
    np.savez(outputs_path, **{name: value.numpy() for name, value in outputs.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
