"""The configuration of supervised training."""

import dataclasses
import math

import keras

from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.models import build_backbone


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    """Everything that decides what supervised training computes.

    Attributes:
      train_data: glob pattern(s) of labelled TFRecord shards.
      train_ids: text file with the ids of the records to train on; all when empty.
      num_classes: outputs of the classifier.
      frozen: whether only the classifier is trained, on the L2-normalised features of the backbone
        in inference mode; otherwise all layers are.
      num_frames: frames of a clip.
      stride: frames of the video from one frame of a clip to the next.
      crop_size: pixels, height and width of a clip in training.
      backbone: a key of `models.BACKBONES`.
      width_multiplier: factor of all numbers of filters.
      precision: "float32" or "bfloat16".
      batch_size: videos of a step, over all replicas; one clip of each.
      epochs: passes over the data.
      learning_rate: before warm-up and decay.
      warmup_epochs: epochs of linear warm-up.
      weight_decay: factor of half the sum of the squared kernels, added to the loss.
      dropout: share of the features that are set to 0 in training, in [0, 1).
      label_smoothing: share of the target that is spread over all classes, in [0, 1).
      init: what the backbone was before: `Origin.kind`.
      init_checkpoint: path of its weights; empty when they are of no file.
      seed: of the classifier's initial weights and all random draws, and of the backbone's initial
        weights where these are random.
    """

    train_data: str
    num_classes: int
    frozen: bool
    num_frames: int = 32
    stride: int = 2
    crop_size: int = 224
    backbone: str = "r3d_50"
    width_multiplier: int = 1
    precision: str = "float32"
    batch_size: int = 128
    epochs: float = 50.0
    learning_rate: float = 0.16
    warmup_epochs: float = 5.0
    weight_decay: float = 0.0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    train_ids: str = ""
    init: str = "random"
    init_checkpoint: str = ""
    seed: int = 0

    @property
    def clip(self) -> ClipSpec:
        """The clips that the network is trained on."""
        return ClipSpec(self.num_frames, self.stride, self.crop_size)

    def steps_of(self, epochs: float, num_videos: int) -> int:
        """The number of steps nearest to `epochs` passes over `num_videos` videos."""
        return math.floor(epochs * num_videos / self.batch_size + 0.5)

    def build_backbone(self, dtype: str = "float32") -> keras.Model:
        """The backbone with random weights, those that training from scratch starts from."""
        return build_backbone(self.backbone, self.width_multiplier, dtype, self.seed)
