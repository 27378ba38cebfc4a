"""Contrastive pre-training of a backbone with a projection head, one step."""

import tensorflow as tf

from cvrl_tf.data import pipeline
from cvrl_tf.data.pipeline import CroppedClip, ViewBatch
from cvrl_tf.models import build_projection_head
from cvrl_tf.models.normalization import fixed_moving_statistics
from cvrl_tf.models.rematerialization import Rematerialized
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.contrastive import info_nce
from cvrl_tf.training.precision import DTYPE_POLICIES
from cvrl_tf.training.schedule import WarmupCosine
from cvrl_tf.training.trainer import Figures, Trainer

Views = tuple[tf.Tensor, ...]  # K of them, of the videos of a batch


class ContrastiveTrainer(Trainer):
    """Both views of each video -> backbone -> head -> InfoNCE over all replicas.

    With `accumulate` of K, the embeddings of K micro-batches are computed first, then the loss of
    all and its gradient in the embeddings, then the gradients micro-batch by micro-batch from their
    part of it (gradient caching, Gao et al., arXiv 2101.06983): exactly the loss of the whole batch
    in the memory of a micro-batch, for a second forward pass. Batch normalisation takes its
    statistics from micro-batches.

    Args:
      config: of the run.
      warmup_steps: steps of linear warm-up.
      total_steps: steps of the run.
      remat: whether activations inside blocks are computed again in the backward pass.
      compiled_colors: whether XLA compiles the colours of a batch of `CroppedClip`s.
      layers: that the networks are built of, as of `build_backbone`.
    """

    def __init__(
        self,
        config: PretrainConfig,
        warmup_steps: int,
        total_steps: int,
        remat: bool = False,
        compiled_colors: bool = True,
        layers: str = "clip",
    ):
        policy = DTYPE_POLICIES[config.precision]
        self.backbone = config.build_backbone(policy, layers)
        size = self.backbone.output_shape[-1]
        self.head = build_projection_head(size, policy, config.seed, layers)
        super().__init__(
            {"backbone": self.backbone, "head": self.head},
            WarmupCosine(config.peak_learning_rate, warmup_steps, total_steps),
            config.weight_decay,
            config.optimizer,
            config.precision,
        )
        self._compiled_colors = compiled_colors
        self._temperature = config.temperature
        self._forward = Rematerialized(self.backbone) if remat else self.backbone
        self._num_micro_batches = config.accumulate
        if self._num_micro_batches > 1:
            self._sums = [
                tf.Variable(tf.zeros(variable.shape), trainable=False)
                for variable in self.variables
            ]

    def _embed(self, views: Views) -> tf.Tensor:
        """(2n, D) float32: the embeddings of the first views, then of the second."""
        features = self._forward(tf.concat(views, axis=0), training=True)
        return self.head(features, training=True)

    def gradients(self, batch: ViewBatch) -> tuple[list[tf.Tensor], Figures]:
        """See `Trainer`."""
        with tf.GradientTape() as tape:
            embeddings = self._embed(batch.views)
            first, second = tf.split(embeddings, 2)
            loss, figures = info_nce(first, second, self._temperature)
            scaled_loss = self.scale(loss)
        return self.differentiate(tape, scaled_loss), {"loss": loss, **figures}

    def step(self, batch: ViewBatch) -> Figures:
        """See `Trainer`; `batch` is a `ViewBatch` per replica.

        Figures beside the loss without weight decay: those of `contrastive.info_nce`.
        """
        if self._num_micro_batches == 1:
            if isinstance(batch.views[0], CroppedClip):
                batch = batch._replace(views=self._views(batch))
            return super().step(batch)
        # Functions that are traced once each, whatever the number of micro-batches.
        micro_batches = [tf.constant(index) for index in range(self._num_micro_batches)]
        embeddings = [self._micro_embeddings(self._views(batch, index)) for index in micro_batches]
        gradients, figures = self._embedding_gradients(embeddings)
        for index in micro_batches:
            self._add_gradients(self._views(batch, index), index, gradients)
        return self._apply_sums(figures)

    @tf.function
    def _views(self, batch: ViewBatch, index: tf.Tensor | None = None) -> Views:
        """The views of a batch, or of one of its micro-batches, their colours changed.

        Apart from the functions with collective operations: MirroredStrategy has hung on GPUs where
        these and programs of XLA were in one graph (keras issue 20763).
        """

        def run(batch: ViewBatch) -> Views:
            views = batch.views
            if index is not None:
                size = tf.shape(batch.positions)[0] // self._num_micro_batches
                first = index * size
                views = tf.nest.map_structure(lambda x: x[first : first + size], views)
            if not isinstance(views[0], CroppedClip):
                return views
            return tuple(pipeline.augment_batch(view, self._compiled_colors) for view in views)

        return self.strategy.run(run, args=(batch,))

    @tf.function
    def _micro_embeddings(self, views: Views) -> tf.Tensor:
        return self.strategy.run(self._embed, args=(views,))

    @tf.function
    def _embedding_gradients(self, embeddings: list[tf.Tensor]) -> tuple[list[tf.Tensor], Figures]:
        """The gradient (2n, D) in the embeddings of each micro-batch, and the figures."""

        def run(embeddings: list[tf.Tensor]) -> tuple[list[tf.Tensor], Figures]:
            with tf.GradientTape() as tape:
                tape.watch(embeddings)
                halves = [tf.split(part, 2) for part in embeddings]
                first, second = (tf.concat(parts, axis=0) for parts in zip(*halves, strict=True))
                loss, figures = info_nce(first, second, self._temperature)
                scaled_loss = self.scale(loss)
            return tape.gradient(scaled_loss, embeddings), {"loss": loss, **figures}

        return self.strategy.run(run, args=(embeddings,))

    @tf.function
    def _add_gradients(self, views: Views, index: tf.Tensor, gradients: list[tf.Tensor]) -> None:
        def run(views: Views, gradients: list[tf.Tensor]) -> None:
            # The statistics moved with the first pass.
            with fixed_moving_statistics(), tf.GradientTape() as tape:
                embeddings = self._embed(views)
            added = tape.gradient(
                embeddings, self.variables, output_gradients=tf.stack(gradients)[index]
            )
            for total, gradient in zip(self._sums, added, strict=True):
                tf.raw_ops.AssignAddVariableOp(resource=total.handle, value=gradient)

        self.strategy.run(run, args=(views, gradients))

    @tf.function
    def _apply_sums(self, figures: Figures) -> Figures:
        def run(figures: Figures) -> Figures:
            sums = [total.read_value() for total in self._sums]
            gradients = self._loss_scale.divide(sums)
            figures = figures | self.optimizer.apply(gradients, self.checkpoint.step)
            for total, value in zip(self._sums, sums, strict=True):
                tf.raw_ops.AssignVariableOp(resource=total.handle, value=tf.zeros_like(value))
            return figures

        return self.finish(self.strategy.run(run, args=(figures,)))
