"""Uses backbone.keras under the backend that KERAS_BACKEND names, with Keras and that alone.

python -P backend_program.py EXPORT_DIR REFERENCE.npz

REFERENCE has clips (N, T, H, W, 3) and their features (N, D) under TensorFlow.
"""

import importlib.util
import os
import sys

import keras
import numpy as np


def main(export_dir, reference_path):
    """Prints the difference of the features, then what `fit` has changed."""
    assert importlib.util.find_spec("tensorflow") is None
    with np.load(reference_path) as reference:
        clips, expected = reference["clips"], reference["features"]
    backbone = keras.models.load_model(os.path.join(export_dir, "backbone.keras"))
    features = keras.ops.convert_to_numpy(backbone(clips, training=False))
    difference = np.abs(features - expected).max() / np.abs(expected).max()
    print(
        f"{keras.backend.backend()}, Keras {keras.__version__}: features differ by {difference:.1e}"
    )

    model = keras.Model(backbone.input, keras.layers.Dense(2)(backbone.output))
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in backbone.weights]
    labels = np.arange(len(clips)) % 2
    losses = model.fit(clips, labels, batch_size=len(clips), epochs=4, verbose=0).history["loss"]
    trainable = {weight.path for weight in backbone.trainable_weights}
    moved = {True: 0, False: 0}
    for weight, earlier in zip(backbone.weights, before, strict=True):
        changed = not np.array_equal(keras.ops.convert_to_numpy(weight), earlier)
        moved[weight.path in trainable] += changed
    print(f"fit: loss {losses[0]:.3f} to {losses[-1]:.3f}")
    print(f"moved: {moved[True]} of {len(trainable)} trainable weights,", end=" ")
    print(f"{moved[False]} of {len(backbone.weights) - len(trainable)} statistics")


if __name__ == "__main__":
    main(*sys.argv[1:])
