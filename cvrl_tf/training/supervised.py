"""Supervised training on labelled videos: a linear probe on a frozen backbone, or all layers."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from cvrl_tf.data import pipeline
from cvrl_tf.data.pipeline import LabelledBatch
from cvrl_tf.data.sampling import Purpose, fold
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.models.heads import build_classifier
from cvrl_tf.training import checkpoints, loop, memory, run_config
from cvrl_tf.training.config import FROZEN_LAYERS, SupervisedConfig
from cvrl_tf.training.loop import DEFAULT_OPTIONS, LoopOptions, Run, TrainingData
from cvrl_tf.training.schedule import WarmupCosine
from cvrl_tf.training.selection import Selection
from cvrl_tf.training.strategy import Workers, on_gpus
from cvrl_tf.training.trainer import Figures, Trainer

VALIDATION_FIGURE = "validation_accuracy"


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
        self.config = config
        self.backbone = backbone
        self.classifier = build_classifier(
            backbone.output_shape[-1], config.num_classes, config.seed
        )
        for layer in backbone.layers:
            if layer.name.startswith(FROZEN_LAYERS[config.freeze]):
                layer.trainable = False
        networks = {"backbone": backbone, "classifier": self.classifier}
        frozen = {"backbone": networks.pop("backbone")} if config.frozen else {}
        super().__init__(
            networks,
            WarmupCosine(config.learning_rate, warmup_steps, total_steps),
            config.weight_decay,
            precision=config.precision,
            frozen=frozen,
        )
        self.optimizer.scale_rate(self.classifier.trainable_variables, config.classifier_rate)

    def features(self, clips: tf.Tensor, training: bool) -> tf.Tensor:
        """What the classifier sees of clips (N, T, H, W, 3): (N, D) float32.

        A frozen backbone is always in inference mode, and its features have norm 1.
        """
        if not self.config.frozen:
            return self.backbone(clips, training=training)
        return tf.math.l2_normalize(self.backbone(clips, training=False), axis=1)

    def probabilities(self, clips: tf.Tensor) -> tf.Tensor:
        """The softmax over classes of clips (N, T, H, W, 3) in [0, 1]: (N, C) float32."""
        return tf.nn.softmax(self.classifier(self.features(clips, training=False)))

    def gradients(self, *parts: LabelledBatch) -> tuple[list[tf.Tensor], Figures]:
        """See `Trainer`.

        Figures: `loss`, without weight decay, and `accuracy`, top-1 of the training clips.
        """
        config = self.config
        # The second number separates these draws from those of the input pipeline.
        seed = fold(tf.constant([config.seed, 1]), self.checkpoint.step, Purpose.DROPOUT)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        clips = tf.cast(tf.concat([part.clips for part in parts], axis=0), tf.float32) / 255.0
        labels = tf.concat([part.labels for part in parts], axis=0)
        with tf.GradientTape() as tape:
            features = self.features(clips, training=True)
            if config.dropout:
                num_replicas = self.strategy.num_replicas_in_sync
                features = dropout(features, config.dropout, seed, replica, num_replicas)
            logits = self.classifier(features, training=True)
            loss = cross_entropy(logits, labels, config.label_smoothing)
            scaled_loss = self.scale(loss)
        hits = tf.equal(tf.argmax(logits, axis=1), labels)
        accuracy = tf.reduce_mean(tf.cast(hits, tf.float32))
        return self.differentiate(tape, scaled_loss), {"loss": loss, "accuracy": accuracy}


def build_trainer(
    config: SupervisedConfig,
    backbone: keras.Model,
    num_videos: int,
    strategy: tf.distribute.Strategy,
) -> SupervisedTrainer:
    """A trainer for a whole run.

    Args:
      config: of the run.
      backbone: with its initial weights, made in the scope of `strategy`.
      num_videos: to train on.
      strategy: devices and machines.

    Raises:
      InputError: configuration, number of videos, devices and memory do not fit.
    """
    config.check(num_videos, strategy.num_replicas_in_sync)
    if not config.frozen:
        memory.check(_step_memory(config, strategy), strategy)
    with strategy.scope():
        warmup_steps = config.steps_of(config.warmup_epochs, num_videos)
        return SupervisedTrainer(config, backbone, warmup_steps, config.total_steps(num_videos))


def _step_memory(config: SupervisedConfig, strategy: tf.distribute.Strategy) -> memory.StepMemory:
    number = strategy.num_replicas_in_sync
    return memory.StepMemory(config, number, on_gpus=on_gpus(strategy))


def train(
    trainer: SupervisedTrainer,
    videos: IndexedSource,
    output_dir: str,
    options: LoopOptions = DEFAULT_OPTIONS,
    measure: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Trains a classifier, or resumes the run that `output_dir` holds.

    Afterwards the trainer has the weights that the validation selects, or those of the last step.

    Args:
      trainer: of `build_trainer`.
      videos: to train on.
      output_dir: directory of the run, as described in `run_directory`.
      options: of the loop.
      measure: returns `VALIDATION_FIGURE`, the accuracy on the validation videos, or nothing where
        they could not be read; None where there are no such videos.

    Raises:
      InputError: configuration, data and directory do not fit; or as `loop.train`.
      Stopped: a signal ended the run, and a checkpoint is written.
    """
    config = trainer.config
    videos = videos.reading(options.parallel_reads)
    run = Run(
        output_dir,
        config.total_steps(len(videos)),
        "linear classifier" if config.frozen else "fine-tuning",
        step_memory=_step_memory(config, trainer.strategy),
    )
    if measure is not None:
        validation = config.validation
        run = dataclasses.replace(
            run,
            evaluation=loop.Evaluation(
                max(1, config.steps_of(1.0, len(videos))),
                measure,
            ),
            selection=Selection(
                VALIDATION_FIGURE, validation.select == "best", validation.patience
            ),
        )
    is_chief = Workers(trainer.strategy).is_chief
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
            config.clip.num_values * tf.uint8.size,
            clip=config.clip,
        )
        loop.train(trainer, data, run, options)
    if run.selection and run.selection.keep_best:
        best = checkpoints.latest(output_dir)
        if best:
            checkpoints.restore(trainer.weights, best)
