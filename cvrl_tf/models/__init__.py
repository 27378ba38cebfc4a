"""The R3D backbone and the projection head as Keras models."""

import keras

from cvrl_tf.models.heads import build_projection_head
from cvrl_tf.models.official import load_official_checkpoint
from cvrl_tf.models.resnet3d import BACKBONES, build_backbone

__all__ = ["BACKBONES", "build_backbone", "build_projection_head", "load_official_checkpoint"]

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"cvrl_tf runs on Keras's TensorFlow backend, found {keras.config.backend()!r}: unset"
        " KERAS_BACKEND, or set KERAS_BACKEND=tensorflow, before Python starts."
    )
