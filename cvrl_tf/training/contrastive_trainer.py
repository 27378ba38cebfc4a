"""Pre-training by a method that compares views of videos, one step."""

import tensorflow as tf

from cvrl_tf.data import pipeline
from cvrl_tf.data.pipeline import CroppedClip, ViewBatch
from cvrl_tf.models.normalization import fixed_moving_statistics
from cvrl_tf.models.rematerialization import Rematerialized
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.methods import build_method
from cvrl_tf.training.schedule import WarmupCosine
from cvrl_tf.training.trainer import Figures, Trainer

Views = tuple[tf.Tensor, ...]  # K of them, of the videos of a batch


class ContrastiveTrainer(Trainer):
    """The views of each video -> backbone -> embeddings -> the loss of a method, over all replicas.

    With `accumulate` of M, the embeddings of M micro-batches are computed first, then the loss of
    all and its gradient in the embeddings, then the gradients micro-batch by micro-batch from their
    part of it (gradient caching, Gao et al., arXiv 2101.06983): exactly the loss of the whole batch
    in the memory of a micro-batch, for a second forward pass. Batch normalisation takes its
    statistics from micro-batches.

    Args:
      config: of the run.
      warmup_steps: steps of linear warm-up.
      total_steps: steps of the run.
      remat: one of `rematerialization.REMAT`: what is computed again in the backward pass.
      compiled_colors: whether XLA compiles the colours of a batch of `CroppedClip`s.
      layers: that the networks are built of, as of `build_backbone`.

    Attributes:
      method: of the run (`methods.build_method`).
      backbone: that of the method.
    """

    def __init__(
        self,
        config: PretrainConfig,
        warmup_steps: int,
        total_steps: int,
        remat: str = "none",
        compiled_colors: bool = True,
        layers: str = "clip",
    ):
        self.method = build_method(config, layers)
        self.backbone = self.method.backbone
        super().__init__(
            self.method.trained,
            WarmupCosine(config.peak_learning_rate, warmup_steps, total_steps),
            config.weight_decay,
            config.optimizer,
            config.precision,
            frozen=self.method.untrained,
        )
        self._total_steps = total_steps
        self._compiled_colors = compiled_colors
        self._forward = self.backbone if remat == "none" else Rematerialized(self.backbone, remat)
        self._num_micro_batches = config.accumulate
        if self._num_micro_batches > 1:
            self._sums = [
                tf.Variable(tf.zeros(variable.shape), trainable=False)
                for variable in self.variables
            ]

    def _embed(self, views: Views) -> tf.Tensor:
        """(K, n, D) float32: the embeddings of the views of n videos."""
        features = self._forward(tf.concat(views, axis=0), training=True)
        return _separate(self.method.embed(features), views)

    def _keys(self, views: Views) -> tf.Tensor | None:
        """(K, n, D) float32: what they are compared with, if it is not embeddings."""
        keys = self.method.keys(tf.concat(views, axis=0))
        return None if keys is None else _separate(keys, views)

    def gradients(self, batch: ViewBatch) -> tuple[list[tf.Tensor], Figures]:
        """See `Trainer`."""
        keys = self._keys(batch.views)
        with tf.GradientTape() as tape:
            loss, figures = self.method.loss(self._embed(batch.views), keys)
            scaled_loss = self.scale(loss)
        return self.differentiate(tape, scaled_loss), {"loss": loss, **figures}

    def update(self, gradients: list[tf.Tensor]) -> Figures:
        """See `Trainer`; the method follows an update, not a step that was skipped."""
        figures = super().update(gradients)
        done = tf.cast(self.checkpoint.step, tf.float32) / self._total_steps

        def follow() -> None:
            self.method.after_update(done)

        tf.cond(figures["skipped"] > 0.0, lambda: None, follow)
        return figures

    def step(self, batch: ViewBatch) -> Figures:
        """See `Trainer`; `batch` is a `ViewBatch` per replica.

        Figures beside the loss without weight decay: those of the method's loss.
        """
        if self._num_micro_batches == 1:
            if isinstance(batch.views[0], CroppedClip):
                batch = batch._replace(views=self._views(batch))
            return super().step(batch)
        # Functions that are traced once each, whatever the number of micro-batches.
        micro_batches = [tf.constant(index) for index in range(self._num_micro_batches)]
        parts = [self._micro_embeddings(self._views(batch, index)) for index in micro_batches]
        embeddings, keys = zip(*parts, strict=True)
        gradients, figures = self._embedding_gradients(list(embeddings), list(keys))
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
    def _micro_embeddings(self, views: Views) -> tuple[tf.Tensor, tf.Tensor | None]:
        def run(views: Views) -> tuple[tf.Tensor, tf.Tensor | None]:
            return self._embed(views), self._keys(views)

        return self.strategy.run(run, args=(views,))

    @tf.function
    def _embedding_gradients(
        self, embeddings: list[tf.Tensor], keys: list[tf.Tensor | None]
    ) -> tuple[list[tf.Tensor], Figures]:
        """The gradient (K, n, D) in the embeddings of each micro-batch, and the figures."""

        def run(
            embeddings: list[tf.Tensor], keys: list[tf.Tensor | None]
        ) -> tuple[list[tf.Tensor], Figures]:
            all_keys = None if keys[0] is None else tf.concat(keys, axis=1)
            with tf.GradientTape() as tape:
                tape.watch(embeddings)
                loss, figures = self.method.loss(tf.concat(embeddings, axis=1), all_keys)
                scaled_loss = self.scale(loss)
            return tape.gradient(scaled_loss, embeddings), {"loss": loss, **figures}

        return self.strategy.run(run, args=(embeddings, keys))

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
            figures = figures | self.update(gradients)
            for total, value in zip(self._sums, sums, strict=True):
                tf.raw_ops.AssignVariableOp(resource=total.handle, value=tf.zeros_like(value))
            return figures

        return self.finish(self.strategy.run(run, args=(figures,)))


def _separate(rows: tf.Tensor, views: Views) -> tf.Tensor:
    """(K, n, D) from (Kn, D), the rows of K views one after another."""
    return tf.reshape(rows, [len(views), -1, rows.shape[-1]])
