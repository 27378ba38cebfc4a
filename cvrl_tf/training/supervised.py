"""Supervised training on labelled videos: a linear probe on a frozen backbone, or all layers."""

import dataclasses
import math

import keras
import tensorflow as tf

from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.data.sampling import Purpose, fold
from cvrl_tf.models import build_backbone
from cvrl_tf.models.heads import build_classifier
from cvrl_tf.training.optimizer import InPlaceSGD
from cvrl_tf.training.pretrain import DTYPE_POLICIES, MOMENTUM, decayed_kernels
from cvrl_tf.training.schedule import WarmupCosine


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    """Everything that decides what supervised training computes.

    Attributes:
      train_data: glob pattern(s) of labelled TFRecord shards.
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
      seed: of the initial weights of the classifier and all random draws.
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
    seed: int = 0

    @property
    def clip(self) -> ClipSpec:
        """The clips that the network is trained on."""
        return ClipSpec(self.num_frames, self.stride, self.crop_size)

    def steps(self, epochs: float, num_videos: int) -> int:
        """The number of steps nearest to `epochs` passes over `num_videos` videos."""
        return math.floor(epochs * num_videos / self.batch_size + 0.5)

    def build_backbone(self, dtype: str = "float32") -> keras.Model:
        """The backbone with random weights, those that training from scratch starts from."""
        return build_backbone(self.backbone, self.width_multiplier, dtype, self.seed)


def dropout(
    features: tf.Tensor, rate: float, seed: tf.Tensor, replica: int | tf.Tensor, num_replicas: int
) -> tf.Tensor:
    """Sets a random share of the features to 0 and scales the others up by 1 / (1 - rate).

    Which features those are is drawn for the joint batch, so that it does not depend on the number
    of replicas.

    Args:
      features: (n, D) float32, of this replica.
      rate: the share, in [0, 1).
      seed: (2,) int32, of this step.
      replica: number of this replica, whose clips are the `replica`-th n of the joint batch.
      num_replicas: replicas with n clips each.
    """
    count, size = tf.unstack(tf.shape(features))
    draws = tf.random.stateless_uniform([count * num_replicas, size], seed)
    kept = draws[replica * count : (replica + 1) * count] >= rate
    return tf.where(kept, features / (1.0 - rate), 0.0)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """The mean cross entropy of softmax(logits) with smoothed labels.

    Args:
      logits: (N, C) float32.
      labels: (N,) integer, class indices.
      smoothing: s in [0, 1): the target is 1 - s + s / C for the label and s / C for other classes.

    Returns:
      Scalar float32.
    """
    num_classes = logits.shape[1]
    targets = tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / num_classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


class SupervisedTrainer:
    """A backbone with a classifier, its optimizer and one training step.

    Make it inside `strategy.scope()`.

    Args:
      config: of the run.
      warmup_steps: steps of linear warm-up.
      total_steps: steps of the run.
    """

    def __init__(self, config: SupervisedConfig, warmup_steps: int, total_steps: int):
        self._config = config
        self._strategy = tf.distribute.get_strategy()
        self.backbone = config.build_backbone(DTYPE_POLICIES[config.precision])
        self.classifier = build_classifier(
            self.backbone.output_shape[-1], config.num_classes, config.seed
        )
        trained = [self.classifier] if config.frozen else [self.backbone, self.classifier]
        self.variables = [v for model in trained for v in model.trainable_variables]
        self.schedule = WarmupCosine(config.learning_rate, warmup_steps, total_steps)
        kernels = decayed_kernels(*trained)
        self.optimizer = InPlaceSGD(self.schedule, MOMENTUM, config.weight_decay, kernels)
        self.optimizer.build(self.variables)
        self.checkpoint = tf.train.Checkpoint(
            backbone=self.backbone,
            classifier=self.classifier,
            optimizer=self.optimizer,
            step=tf.Variable(0, dtype=tf.int64),
        )

    def features(self, clips: tf.Tensor, training: bool) -> tf.Tensor:
        """What the classifier sees of clips (N, T, H, W, 3): (N, D) float32.

        A frozen backbone is always in inference mode, and its features have norm 1.
        """
        if not self._config.frozen:
            return self.backbone(clips, training=training)
        return tf.math.l2_normalize(self.backbone(clips, training=False), axis=1)

    def probabilities(self, clips: tf.Tensor) -> tf.Tensor:
        """The softmax over classes of clips (N, T, H, W, 3) in [0, 1]: (N, C) float32."""
        return tf.nn.softmax(self.classifier(self.features(clips, training=False)))

    def _replica_step(self, clips: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step on this replica's clips."""
        config, num_replicas = self._config, self._strategy.num_replicas_in_sync
        # The second number tells these draws from those of the input pipeline.
        seed = fold(tf.constant([config.seed, 1]), self.checkpoint.step, Purpose.DROPOUT)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        clips = tf.cast(clips, tf.float32) / 255.0
        with tf.GradientTape() as tape:
            features = self.features(clips, training=True)
            if config.dropout:
                features = dropout(features, config.dropout, seed, replica, num_replicas)
            logits = self.classifier(features, training=True)
            loss = cross_entropy(logits, labels, config.label_smoothing)
            objective = loss / num_replicas  # the optimizer sums gradients over replicas
        self.optimizer.apply(tape.gradient(objective, self.variables), self.variables)
        hits = tf.equal(tf.argmax(logits, axis=1), tf.cast(labels, tf.int64))
        return {"loss": loss, "accuracy": tf.reduce_mean(tf.cast(hits, tf.float32))}

    @tf.function
    def step(self, clips: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Trains on one global batch.

        Args:
          clips: (n, T, H, W, 3) uint8, per replica.
          labels: (n,) int64, per replica.

        Returns:
          Scalars of the joint batch: `loss` without weight decay, and `accuracy`, top-1 of the
          training clips.
        """
        figures = self._strategy.run(self._replica_step, args=(clips, labels))
        self.checkpoint.step.assign_add(1)
        return {
            name: self._strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in figures.items()
        }
