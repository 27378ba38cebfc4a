"""Converts an export to TFLite and ONNX, and computes features with their own runtimes.

python -P converters_program.py EXPORT_DIR REFERENCE.npz

REFERENCE has clips (N, T, H, W, 3) and their features (N, D) under TensorFlow.
"""

import os
import sys

import keras
import numpy as np
import onnxruntime
import tensorflow as tf


def tflite(saved_model, clips):
    """Features of a conversion of the SavedModel that keeps the one operation TFLite lacks."""
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serve"])
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,  # MaxPool3D
    ]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, clips.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, clips)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def onnx(keras_file, clips):
    """Features of a conversion of backbone.keras, for clips of any number and size."""
    backbone = keras.models.load_model(keras_file)
    backbone(clips[:1])  # export needs a model that was called
    backbone.export("backbone.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession("backbone.onnx")
    (features,) = session.run(None, {session.get_inputs()[0].name: clips})
    return features


def main(export_dir, reference_path):
    """Prints the difference of each format."""
    with np.load(reference_path) as reference:
        clips, expected = reference["clips"], reference["features"]
    for name, features in [
        ("TFLite", tflite(os.path.join(export_dir, "saved_model"), clips)),
        ("ONNX", onnx(os.path.join(export_dir, "backbone.keras"), clips)),
    ]:
        difference = np.abs(features - expected).max() / np.abs(expected).max()
        print(f"{name}: features differ by {difference:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
