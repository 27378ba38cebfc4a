"""Supervised training on labelled videos: a linear probe on a frozen backbone, or all layers."""

import keras
import tensorflow as tf

from cvrl_tf.data import pipeline
from cvrl_tf.data.pipeline import LabelledBatch
from cvrl_tf.data.sampling import Purpose, fold
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.models.heads import build_classifier
from cvrl_tf.training import loop, memory, run_config
from cvrl_tf.training.config import SupervisedConfig
from cvrl_tf.training.loop import DEFAULT_OPTIONS, LoopOptions, Run, TrainingData
from cvrl_tf.training.schedule import WarmupCosine
from cvrl_tf.training.strategy import Workers
from cvrl_tf.training.trainer import Figures, Trainer


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


class SupervisedTrainer(Trainer):
    """A backbone with a classifier: clips and labels -> cross entropy.

    Args:
      config: of the run.
      backbone: with its initial weights, of the type of computation of `config.precision`.
      warmup_steps: steps of linear warm-up.
      total_steps: steps of the run.
    """

    def __init__(
        self,
        config: SupervisedConfig,
        backbone: keras.Model,
        warmup_steps: int,
        total_steps: int,
    ):
        self._config = config
        self.backbone = backbone
        self.classifier = build_classifier(
            backbone.output_shape[-1], config.num_classes, config.seed
        )
        networks = {"backbone": backbone, "classifier": self.classifier}
        frozen = {"backbone": networks.pop("backbone")} if config.frozen else {}
        super().__init__(
            networks,
            WarmupCosine(config.learning_rate, warmup_steps, total_steps),
            config.weight_decay,
            precision=config.precision,
            frozen=frozen,
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

    def gradients(self, batch: LabelledBatch) -> tuple[list[tf.Tensor], Figures]:
        """See `Trainer`.

        Figures: `loss`, without weight decay, and `accuracy`, top-1 of the training clips.
        """
        config = self._config
        # The second number separates these draws from those of the input pipeline.
        seed = fold(tf.constant([config.seed, 1]), self.checkpoint.step, Purpose.DROPOUT)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        clips = tf.cast(batch.clips, tf.float32) / 255.0
        with tf.GradientTape() as tape:
            features = self.features(clips, training=True)
            if config.dropout:
                num_replicas = self.strategy.num_replicas_in_sync
                features = dropout(features, config.dropout, seed, replica, num_replicas)
            logits = self.classifier(features, training=True)
            loss = cross_entropy(logits, batch.labels, config.label_smoothing)
            scaled_loss = self.scale(loss)
        hits = tf.equal(tf.argmax(logits, axis=1), batch.labels)
        accuracy = tf.reduce_mean(tf.cast(hits, tf.float32))
        return self.differentiate(tape, scaled_loss), {"loss": loss, "accuracy": accuracy}


def train(
    config: SupervisedConfig,
    backbone: keras.Model,
    videos: IndexedSource,
    output_dir: str,
    strategy: tf.distribute.Strategy,
    options: LoopOptions = DEFAULT_OPTIONS,
) -> SupervisedTrainer:
    """Trains a classifier, or resumes the run that `output_dir` holds.

    Args:
      config: of the run.
      backbone: with its initial weights, made in the scope of `strategy`.
      videos: to train on.
      output_dir: directory of the run, as described in `run_directory`.
      strategy: devices and machines.
      options: of the loop.

    Returns:
      The trainer after the last step.

    Raises:
      InputError: configuration, data and directory do not fit; or as `loop.train`.
      Stopped: a signal ended the run, and a checkpoint is written.
    """
    config.check(len(videos), strategy.num_replicas_in_sync)
    if not config.frozen:
        num_clips = config.batch_size // strategy.num_replicas_in_sync
        memory.check(config, config.precision, num_clips, strategy)
    total_steps = config.total_steps(len(videos))
    with strategy.scope():
        warmup_steps = config.steps_of(config.warmup_epochs, len(videos))
        trainer = SupervisedTrainer(config, backbone, warmup_steps, total_steps)
    description = "linear classifier" if config.frozen else "fine-tuning"
    is_chief = Workers(strategy).is_chief
    with run_config.training_in(
        output_dir, config, videos, is_chief, options.flagfile, options.override
    ) as order:
        data = TrainingData(
            videos,
            order,
            config.batch_size,
            lambda size, share: pipeline.labelled_batches(
                videos, config.clip, size, order, share, config.geometry
            ),
        )
        loop.train(trainer, data, Run(output_dir, total_steps, description), options)
    return trainer
