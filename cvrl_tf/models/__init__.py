"""R3D backbones and their heads as Keras models."""

from cvrl_tf.models.heads import build_projection_head
from cvrl_tf.models.official import load_official_checkpoint
from cvrl_tf.models.published import load_pretrained
from cvrl_tf.models.resnet3d import BACKBONES, build_backbone

__all__ = [
    "BACKBONES",
    "build_backbone",
    "build_projection_head",
    "load_official_checkpoint",
    "load_pretrained",
]
