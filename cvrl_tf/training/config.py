"""The configurations of training runs: everything that decides what a run computes."""

import dataclasses
import math

import keras

from cvrl_tf.data import augment
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.pipeline import PairSpec
from cvrl_tf.data.sampling import IntervalDistribution
from cvrl_tf.models import build_backbone

REFERENCE_BATCH = 1024  # videos; that the default learning rate is made for


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides what a pre-training run computes.

    Attributes:
      train_data: glob pattern(s) of TFRecord shards.
      num_frames: frames of a clip.
      stride: frames of the video from one frame of a clip to the next.
      crop_size: pixels, height and width of a clip.
      backbone: a key of `models.BACKBONES`.
      width_multiplier: factor of all numbers of filters.
      precision: a key of `precision.DTYPE_POLICIES`.
      batch_size: videos of a step, over all replicas; the network sees two clips of each.
      accumulate: micro-batches of a step (`contrastive_trainer`).
      epochs: passes over the data.
      steps: of the run; 0 for those of `epochs`.
      optimizer: one of `optimizer.OPTIMIZERS`.
      learning_rate: before warm-up and decay.
      scale_learning_rate: whether it is for a batch of 1024 and is scaled to `batch_size`.
      warmup_epochs: epochs of linear warm-up.
      weight_decay: factor of half the sum of the squared kernels, added to the loss.
      temperature: of the contrastive loss.
      augmentation: a key of `augment.AUGMENTATIONS`.
      interval: a key of `sampling.INTERVALS`, the distribution of the interval between two clips.
      interval_power: of that distribution.
      init_checkpoint: initial weights (`locate`), random when empty.
      seed: of the random initial weights and all random draws.
    """

    train_data: str
    num_frames: int = 16
    stride: int = 2
    crop_size: int = 224
    backbone: str = "r3d_50"
    width_multiplier: int = 1
    precision: str = "float32"
    batch_size: int = 1024
    accumulate: int = 1
    epochs: float = 200.0
    steps: int = 0
    optimizer: str = "sgd"
    learning_rate: float = 0.32
    scale_learning_rate: bool = False
    warmup_epochs: float = 5.0
    weight_decay: float = 1e-6
    temperature: float = 0.1
    augmentation: str = "released"
    interval: str = "decreasing"
    interval_power: float = 1.0
    init_checkpoint: str = ""
    seed: int = 0

    @property
    def clip(self) -> ClipSpec:
        """The clips that the network sees."""
        return ClipSpec(self.num_frames, self.stride, self.crop_size)

    @property
    def pair(self) -> PairSpec:
        """How the two views of a video are made."""
        interval = IntervalDistribution(self.interval, self.interval_power)
        return PairSpec(self.clip, interval, augment.AUGMENTATIONS[self.augmentation])

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate before warm-up and decay, scaled if that is asked for."""
        scale = self.batch_size / REFERENCE_BATCH if self.scale_learning_rate else 1.0
        return self.learning_rate * scale

    def steps_of(self, epochs: float, num_videos: int) -> int:
        """The number of steps nearest to `epochs` passes over `num_videos` videos."""
        return math.floor(epochs * num_videos / self.batch_size + 0.5)

    def total_steps(self, num_videos: int) -> int:
        """The steps of the run on `num_videos` videos."""
        return self.steps or self.steps_of(self.epochs, num_videos)

    def build_backbone(self, dtype: str = "float32") -> keras.Model:
        """The backbone with random weights, those that the run starts from if from random ones."""
        return build_backbone(self.backbone, self.width_multiplier, dtype, self.seed)


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


RunConfig = PretrainConfig | SupervisedConfig
