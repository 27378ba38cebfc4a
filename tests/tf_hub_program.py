"""Fine-tunes an export under tf-keras through tensorflow_hub, where only these are installed.

TF_USE_LEGACY_KERAS=1 python -P tf_hub_program.py EXPORT_DIR
"""

import os
import sys

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

sys.modules["cvrl_tf"] = None  # importing it is an error, should it be installed
path = os.path.join(sys.argv[1], "saved_model")
rng = np.random.default_rng(0)
tf_keras.utils.set_random_seed(0)
labels = np.arange(8) % 2
fine, coarse = rng.random((8, 4, 32, 32, 3)), rng.random((8, 4, 4, 4, 3))
coarse = coarse.repeat(8, axis=2).repeat(8, axis=3)
clips = np.where(labels[:, None, None, None, None], fine, coarse).astype("float32")
for trainable in (True, False):
    backbone = hub.KerasLayer(path, trainable=trainable)
    inputs = tf_keras.Input((4, 32, 32, 3))
    model = tf_keras.Sequential([inputs, backbone, tf_keras.layers.Dense(2)])
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-3), loss)
    before = [weight.numpy() for weight in backbone.weights]
    losses = model.fit(clips, labels, batch_size=4, epochs=6, verbose=0).history["loss"]
    moved = [np.any(x != y.numpy()) for x, y in zip(before, backbone.weights, strict=True)]
    assert len(moved) == len(tf.saved_model.load(path).variables) > 0
    assert min(losses) < losses[0], losses  # the last may be a jump: four clips a batch
    assert all(moved) if trainable else not any(moved)
    print(f"trainable={trainable}: loss {losses}, {sum(moved)} of {len(moved)} weights moved")
