"""The backbone in layers that Keras itself has."""

import keras


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
