"""The networks as a SavedModel, for processes without this package."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from cvrl_tf.evaluation import views


@dataclasses.dataclass(frozen=True)
class Head:
    """What turns features into classes.

    Attributes:
      network: from features (N, D) to probabilities (N, C); of `stock.head_of`.
      class_names: of the C classes.
    """

    network: keras.Model
    class_names: Sequence[str]

    def outputs(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """`probabilities` (N, C) float32, and the names of the most probable classes."""
        probabilities = self.network(features, training=False)
        names = tf.constant(list(self.class_names))
        predicted = tf.gather(names, tf.argmax(probabilities, axis=1))
        return {"probabilities": probabilities, "predicted": predicted}


def save(
    backbone: keras.Model,
    path: str,
    crop_size: int,
    assets: Mapping[str, str],
    head: Head | None = None,
) -> None:
    """Writes `backbone` as a SavedModel.

    It has these functions, each also a signature; results are {"features": (N, D) float32}; N may
    be 0, as on the replica that gets nothing of a short batch:
      serve: of clips (N, T, H, W, 3) float32 in [0, 1], any N, T, H and W, in inference mode.
      train: the same in training mode: batch statistics normalise, and moving ones move.
      serving_default: of frames (N, T, H, W, 3) uint8 RGB of any size, in inference mode: the
        shorter side is resized to `crop_size`, and the centre cropped, as in evaluation.
    With `head`, the results of `serve` and `serving_default` have also `probabilities`, (N, C)
    float32, and `predicted`, (N,) string, the name of the most probable class; the function
    `class_names` returns the names (C,) in the order of the probabilities.
    It also is a reusable SavedModel: called with clips and `training`, it returns the features
    themselves; it has `variables`, `trainable_variables` and `regularization_losses`.

    Args:
      backbone: of stock Keras layers (`stock.copy`), from clips to features.
      path: of the SavedModel.
      crop_size: pixels.
      assets: local files to copy into `assets/`, by the attribute that names each after loading.
      head: of a classifier.
    """
    clips = tf.TensorSpec([None, None, None, None, 3], tf.float32, name="clips")
    frames = tf.TensorSpec([None, None, None, None, 3], tf.uint8, name="frames")

    def outputs(features: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": features} | (head.outputs(features) if head else {})

    @tf.function(autograph=False)
    def call(clips: tf.Tensor, training: bool = False) -> tf.Tensor:
        return _train(backbone, clips) if training else _infer(backbone, clips)

    @tf.function(autograph=False, input_signature=[clips])
    def serve(clips: tf.Tensor) -> dict[str, tf.Tensor]:
        return outputs(_infer(backbone, clips))

    @tf.function(autograph=False, input_signature=[clips])
    def train(clips: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": _train(backbone, clips)}

    @tf.function(autograph=False, input_signature=[frames])
    def serving_default(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        clips = views.center_clips(_not_empty(frames), crop_size)
        return outputs(backbone(clips, training=False)[: tf.shape(frames)[0]])

    for training in (False, True):
        call.get_concrete_function(clips, training=training)
    reusable = tf.__internal__.tracking.AutoTrackable()
    reusable.__call__ = call
    # Keras's variables hold TensorFlow's.
    reusable.variables = [variable.value for variable in backbone.variables]
    reusable.trainable_variables = [variable.value for variable in backbone.trainable_variables]
    reusable.regularization_losses = []
    if head:
        names = tf.constant(list(head.class_names))
        reusable.class_names = tf.function(lambda: names, input_signature=[], autograph=False)
        reusable.head_variables = [variable.value for variable in head.network.variables]
    signatures = {"serving_default": serving_default, "serve": serve, "train": train}
    for name, endpoint in signatures.items():
        setattr(reusable, name, endpoint)
    for name, file in assets.items():
        setattr(reusable, name, tf.saved_model.Asset(file))
    tf.saved_model.save(reusable, path, signatures=signatures)


# TensorFlow's convolutions of no clips have a wrong shape on some CPUs, and the batch statistics of
# no clips are NaN.


def _infer(backbone: keras.Model, clips: tf.Tensor) -> tf.Tensor:
    return backbone(_not_empty(clips), training=False)[: tf.shape(clips)[0]]


def _train(backbone: keras.Model, clips: tf.Tensor) -> tf.Tensor:
    return tf.cond(
        tf.shape(clips)[0] > 0,
        lambda: backbone(clips, training=True),
        lambda: tf.zeros([0, backbone.output_shape[-1]]),
    )


def _not_empty(clips: tf.Tensor) -> tf.Tensor:
    """`clips`, or one that is black if there are none."""
    added = tf.cast(tf.equal(tf.shape(clips)[0], 0), tf.int32)
    return tf.pad(clips, [[0, added], [0, 0], [0, 0], [0, 0], [0, 0]])
