"""Fine-tunes an export under tf-keras through tensorflow_hub, where only these are installed.

TF_USE_LEGACY_KERAS=1 python -P tf_hub_program.py EXPORT_DIR
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.modules["cvrl_tf"] = None  # importing it is an error, should it be installed

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

path = os.path.join(sys.argv[1], "saved_model")
rng = np.random.default_rng(0)
labels = np.arange(8) % 2
fine, coarse = rng.random((8, 4, 32, 32, 3)), rng.random((8, 4, 4, 4, 3))
coarse = coarse.repeat(8, axis=2).repeat(8, axis=3)
clips = np.where(labels[:, None, None, None, None], fine, coarse).astype("float32")
for trainable in (True, False):
    backbone = hub.KerasLayer(path, trainable=trainable)
    model = tf_keras.Sequential([tf_keras.Input((4, 32, 32, 3)), backbone, tf_keras.layers.Dense(2)])
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-3), loss)
    before = [weight.numpy() for weight in backbone.weights]
    losses = model.fit(clips, labels, batch_size=4, epochs=6, verbose=0).history["loss"]
    moved = [np.any(x != y.numpy()) for x, y in zip(before, backbone.weights, strict=True)]
    assert len(moved) > 0 and losses[-1] < 0.8 * losses[0], losses
    assert all(moved) if trainable else not any(moved)
    assert len(backbone.trainable_weights) == (len(tf.saved_model.load(path).trainable_variables) if trainable else 0)
    print(f"trainable={trainable}: loss {losses[0]:.3f} to {losses[-1]:.3f}, {sum(moved)} of {len(moved)} weights moved")
