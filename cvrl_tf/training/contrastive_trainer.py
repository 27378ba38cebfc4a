"""Pre-training by a method that compares views of videos, one step."""

from collections.abc import Sequence

import tensorflow as tf

from cvrl_tf.data import pipeline
from cvrl_tf.data.pipeline import CroppedClip, ViewBatch
from cvrl_tf.models.normalization import fixed_moving_statistics
from cvrl_tf.models.rematerialization import Rematerialized
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.methods import build_method
from cvrl_tf.training.schedule import WarmupCosine
from cvrl_tf.training.trainer import Figures, Trainer

Views = tuple[tf.Tensor, ...]  # K of them, of the videos of a part of a batch


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

    def _embed(self, parts: Sequence[Views]) -> tf.Tensor:
        """(K, n, D) float32: the embeddings of the views of the n videos of some parts."""
        features = self._forward(_clips(parts), training=True)
        return _separate(self.method.embed(features), len(parts[0]))

    def _keys(self, parts: Sequence[Views]) -> tf.Tensor | None:
        """(K, n, D) float32: what they are compared with, if it is not embeddings."""
        keys = self.method.keys(_clips(parts))
        return None if keys is None else _separate(keys, len(parts[0]))

    def gradients(self, *parts: Views) -> tuple[list[tf.Tensor], Figures]:
        """See `Trainer`."""
        keys = self._keys(parts)
        with tf.GradientTape() as tape:
            loss, figures = self.method.loss(self._embed(parts), keys)
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

    def step(self, *parts: ViewBatch) -> Figures:
        """See `Trainer`; each part is a `ViewBatch` per replica.

        A micro-batch is one part or several: there are `accumulate` parts, or a multiple of them.
        Figures beside the loss without weight decay: those of the method's loss.
        """
        count = self._num_micro_batches
        if count == 1:
            return super().step(*self._colored(parts))
        size = len(parts) // count
        micro_batches = [parts[size * index : size * (index + 1)] for index in range(count)]
        # Functions that are traced once each, whatever the number of micro-batches.
        outputs = [self._micro_embeddings(self._colored(part)) for part in micro_batches]
        embeddings, keys = zip(*outputs, strict=True)
        gradients, figures = self._embedding_gradients(list(embeddings), list(keys))
        for index, part in enumerate(micro_batches):
            self._add_gradients(self._colored(part), tf.constant(index), gradients)
        return self._apply_sums(figures)

    def _colored(self, parts: Sequence[ViewBatch]) -> list[Views]:
        """The views of each part, their colours changed if they were not yet."""
        unfinished = isinstance(parts[0].views[0], CroppedClip)
        return [self._change_colors(part.views) if unfinished else part.views for part in parts]

    @tf.function
    def _change_colors(self, views: tuple[CroppedClip, ...]) -> Views:
        """The views of a part, on the device.

        Apart from the functions with collective operations: MirroredStrategy has hung on GPUs where
        these and programs of XLA were in one graph (keras issue 20763).
        """

        def run(*views: CroppedClip) -> Views:
            return tuple(pipeline.augment_batch(view, self._compiled_colors) for view in views)

        return self.strategy.run(run, args=views)

    @tf.function
    def _micro_embeddings(self, parts: list[Views]) -> tuple[tf.Tensor, tf.Tensor | None]:
        def run(*parts: Views) -> tuple[tf.Tensor, tf.Tensor | None]:
            return self._embed(parts), self._keys(parts)

        return self.strategy.run(run, args=parts)

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
    def _add_gradients(
        self, parts: list[Views], index: tf.Tensor, gradients: list[tf.Tensor]
    ) -> None:
        def run(parts: list[Views], gradients: list[tf.Tensor]) -> None:
            # The statistics moved with the first pass.
            with fixed_moving_statistics(), tf.GradientTape() as tape:
                embeddings = self._embed(parts)
            added = tape.gradient(
                embeddings, self.variables, output_gradients=tf.stack(gradients)[index]
            )
            for total, gradient in zip(self._sums, added, strict=True):
                tf.raw_ops.AssignAddVariableOp(resource=total.handle, value=gradient)

        self.strategy.run(run, args=(parts, gradients))

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


def _clips(parts: Sequence[Views]) -> tf.Tensor:
    """(Kn, T, H, W, 3): the n clips of all parts of each of K views, one view after another."""
    return tf.concat([clips for view in zip(*parts, strict=True) for clips in view], axis=0)


def _separate(rows: tf.Tensor, num_views: int) -> tf.Tensor:
    """(K, n, D) from (Kn, D), the rows of K views one after another."""
    return tf.reshape(rows, [num_views, -1, rows.shape[-1]])
