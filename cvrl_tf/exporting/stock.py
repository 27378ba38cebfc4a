"""The networks in layers that Keras itself has."""

from collections.abc import Sequence

import keras

from cvrl_tf.evaluation.classifier import Classifier


def copy(backbone: keras.Model) -> keras.Model:
    """Copies a backbone, weights included, replacing this package's layers by Keras's own.

    Ours differ from their base classes in Keras in how they compute, but neither in
    configuration nor in variables. The copy computes in float32 for any precision of `backbone`,
    and all of it is trainable.

    Args:
      backbone: of `build_backbone`.
    """

    def clone(layer: keras.Layer) -> keras.Layer:
        classes = type(layer).__mro__
        stock_class: type[keras.Layer] = next(
            cls for cls in classes if cls.__module__.split(".")[0] == "keras"
        )
        config = layer.get_config()
        return stock_class.from_config(config | {"dtype": "float32", "trainable": True})

    model = keras.models.clone_model(backbone, clone_function=clone)
    model.set_weights(backbone.get_weights())
    return model


def head_of(classifier: Classifier) -> keras.Model:
    """From features (N, D), as a backbone returns them, to the probabilities (N, C) of classes."""
    logits = classifier.head.layers[-1]
    layers = [keras.layers.UnitNormalization(name="unit_norm")] if classifier.normalized else []
    layers += [
        keras.layers.Dense(logits.units, dtype="float32", name="logits"),
        keras.layers.Softmax(dtype="float32", name="probabilities"),
    ]
    features = keras.Input((classifier.backbone.output_shape[-1],), name="features")
    model = keras.Model(features, _apply(layers, features), name="head")
    model.set_weights(classifier.head.get_weights())
    return model


def join(backbone: keras.Model, head: keras.Model) -> keras.Model:
    """From clips to probabilities: the layers and weights of `copy` and of `head_of`."""
    probabilities = _apply(head.layers[1:], backbone.output)
    return keras.Model(backbone.input, probabilities, name="classifier")


def _apply(layers: Sequence[keras.Layer], x: keras.KerasTensor) -> keras.KerasTensor:
    for layer in layers:
        x = layer(x)
    return x
