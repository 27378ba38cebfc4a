"""Fine-tunes an export where only TensorFlow and Keras are installed; fails if it does not learn.

python -P fine_tuning_program.py EXPORT_DIR WORK_DIR

Prints a line for each check. Both ways in, Adam and SGD with momentum, frozen, saved and reloaded,
and over two replicas.
"""

import os
import sys

import keras
import numpy as np
import tensorflow as tf

sys.modules["cvrl_tf"] = None  # importing it is an error, should it be installed
EXPORT_DIR, WORK_DIR = sys.argv[1:]
OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(1e-3),
    "sgd_momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9),
}
rng = np.random.default_rng(0)
LABELS = np.arange(8) % 2
# Two kinds of noise: fine, and in blocks of 8 pixels.
FINE, COARSE = rng.random((8, 4, 32, 32, 3)), rng.random((8, 4, 4, 4, 3))
COARSE = COARSE.repeat(8, axis=2).repeat(8, axis=3)
CLIPS = np.where(LABELS[:, None, None, None, None], FINE, COARSE).astype("float32")


def from_keras_file(frozen=False):
    backbone = keras.models.load_model(os.path.join(EXPORT_DIR, "backbone.keras"), safe_mode=True)
    backbone.trainable = not frozen
    outputs = keras.layers.Dense(2, name="classifier")(backbone.output)
    return keras.Model(backbone.input, outputs), backbone


def from_saved_model(frozen=False):
    backbone = keras.layers.TFSMLayer(
        os.path.join(EXPORT_DIR, "saved_model"),
        call_endpoint="serve",
        call_training_endpoint=None if frozen else "train",
        trainable=not frozen,
    )
    for weight in backbone.weights:
        weight._name, weight._path = weight.name.replace(":0", ""), weight.path.replace(":0", "")
    inputs = keras.Input((None, None, None, 3))
    outputs = keras.layers.Dense(2, name="classifier")(backbone(inputs)["features"])
    return keras.Model(inputs, outputs), backbone


WAYS = {"keras_file": from_keras_file, "saved_model": from_saved_model}


def values(backbone):
    return {weight.path: np.array(weight) for weight in backbone.weights}


def fit(model, optimizer, epochs=6):
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(CLIPS, LABELS, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return history.history["loss"]


def check_learning(name, model, backbone, optimizer):
    before = values(backbone)
    losses = fit(model, optimizer)
    after = values(backbone)
    assert losses[-1] < 0.7 * losses[0], losses
    still = [path for path in after if np.array_equal(before[path], after[path])]
    assert not still, f"{len(still)} of {len(after)} weights did not move: {still[:3]}"
    statistics = [path for path in after if "moving" in path]
    assert len(statistics) == 2 * sum("gamma" in path for path in after) > 0
    print(f"{name}: loss {losses[0]:.3f} to {losses[-1]:.3f}, all {len(after)} weights moved")


def check_frozen(name, way):
    model, backbone = way(frozen=True)
    before = values(backbone)
    losses = fit(model, OPTIMIZERS["adam"]())
    after = values(backbone)
    assert losses[-1] < losses[0], losses
    for path, value in before.items():
        np.testing.assert_array_equal(after[path], value, err_msg=path)
    print(f"{name} frozen: loss {losses[0]:.3f} to {losses[-1]:.3f}, nothing of the backbone moved")


def check_reloading(name, model):
    expected = model.predict(CLIPS, verbose=0)
    path = os.path.join(WORK_DIR, f"{name}.keras")
    model.save(path)
    # A TFSMLayer is loaded from its SavedModel, which safe mode refuses.
    reloaded = keras.models.load_model(path, safe_mode=name == "keras_file")
    np.testing.assert_allclose(reloaded.predict(CLIPS, verbose=0), expected, rtol=1e-5, atol=1e-5)
    weights = os.path.join(WORK_DIR, f"{name}.weights.h5")
    model.save_weights(weights)
    fresh = WAYS[name]()[0]
    assert not np.allclose(fresh.predict(CLIPS, verbose=0), expected, atol=1e-2)
    fresh.load_weights(weights)
    np.testing.assert_allclose(fresh.predict(CLIPS, verbose=0), expected, rtol=1e-5, atol=1e-5)
    print(f"{name} reloaded: from a .keras file and from weights")


def check_replicas(name, way):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model, backbone = way()
        optimizer = OPTIMIZERS["sgd_momentum"]()
    check_learning(f"{name} over 2 replicas", model, backbone, optimizer)
    for weight in backbone.trainable_weights:
        first, second = (np.array(copy) for copy in weight.value.values)
        np.testing.assert_array_equal(first, second, err_msg=weight.path)


tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
keras.utils.set_random_seed(0)
print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
for way_name, make in WAYS.items():
    for optimizer_name, make_optimizer in OPTIMIZERS.items():
        made = make()
        check_learning(f"{way_name} {optimizer_name}", *made, make_optimizer())
    check_reloading(way_name, made[0])
    check_frozen(way_name, make)
    check_replicas(way_name, make)
