"""The figures of single steps, and what is reported of them."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress
from cvrl_tf.training.metrics import MetricsWriter

ON_NAN = ("stop", "skip")
# Beside the progress bar; the last two are figures of evaluations, shown until the next one.
SHOWN = ("loss", "contrast_accuracy", "accuracy", "knn_top1", "validation_accuracy")
# Single steps without effect are tolerated; more than this many in a row are not.
MOST_SKIPPED_IN_A_ROW = 50


class Log:
    """Collects the figures of steps, checks that they are finite, and writes their means.

    Args:
      writer: of the metrics; None on workers that do not write.
      progress: shows them.
      batch_size: videos of a step.
      num_videos: of an epoch.
      on_nan: one of `ON_NAN`.
      pending: figures of earlier steps that no line contains yet.
    """

    def __init__(
        self,
        writer: MetricsWriter | None,
        progress: Progress,
        batch_size: int,
        num_videos: int,
        on_nan: str,
        pending: list[dict[str, float]],
    ):
        self._writer, self._progress = writer, progress
        self._batch_size, self._num_videos, self._on_nan = batch_size, num_videos, on_nan
        self._checked = list(pending)
        self._new: list[tuple[int, dict[str, tf.Tensor]]] = []
        self._values: dict[str, list[np.ndarray]] = {}
        self._skipped_in_a_row = 0
        self._shown: dict[str, float] = {}
        self._begin()

    def _begin(self) -> None:
        self._timed_steps, self._waited, self._start = 0, 0.0, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of this block as waiting for input."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time of this block, of an evaluation or a checkpoint, from the speed."""
        start = time.monotonic()
        yield
        self._start += time.monotonic() - start

    def add(
        self, step: int, figures: dict[str, tf.Tensor], values: dict[str, np.ndarray] | None = None
    ) -> None:
        """Adds a step: its figures, scalars, and values whose distribution is shown."""
        self._new.append((step, figures))
        self._timed_steps += 1
        for name, array in (values or {}).items():
            self._values.setdefault(name, []).append(array)

    def pending(self, last_checkpoint: str | None) -> list[dict[str, float]]:
        """The figures of the steps that no line contains yet.

        Raises:
          InputError: as `write`.
        """
        for step, tensors in self._new:
            figures = {name: float(value) for name, value in tensors.items()}
            self._check(step, figures, last_checkpoint)
            self._checked.append(figures)
        self._new = []
        return self._checked

    def _check(self, step: int, figures: dict[str, float], last_checkpoint: str | None) -> None:
        if not figures["skipped"]:
            self._skipped_in_a_row = 0
            return
        self._skipped_in_a_row += 1
        # Float16 finds its scale by overflowing sometimes.
        overflow = np.isfinite(figures["loss"]) and figures.get("loss_scale", 0.0) > 1.0
        too_many = self._skipped_in_a_row > MOST_SKIPPED_IN_A_ROW
        if too_many or (self._on_nan == "stop" and not overflow):
            what = "gradients" if np.isfinite(figures["loss"]) else "loss"
            raise InputError(
                f"The {what} of step {step} {'are' if what == 'gradients' else 'is'} not finite"
                f" (loss {figures['loss']}), and the weights were not changed. The last"
                f" checkpoint is {last_checkpoint or 'none'}. Lower learning_rate, raise"
                " warmup_epochs or temperature, or use precision=float32"
                + (
                    f"; {self._skipped_in_a_row} steps in a row changed nothing."
                    if too_many
                    else "; on_nan=skip skips such steps."
                )
            )

    def write(
        self, step: int, learning_rate: float, last_checkpoint: str | None, **figures: float
    ) -> None:
        """Writes the means since the last line.

        Args:
          step: the last step of them.
          learning_rate: of that step.
          last_checkpoint: for the message, None if there is none.
          **figures: further ones for this line.

        Raises:
          InputError: a loss or gradient was not finite, and such steps are not skipped.
        """
        rows = self.pending(last_checkpoint)
        skipped = sum(row["skipped"] for row in rows)
        kept = [row for row in rows if not row["skipped"]] or rows
        names = [name for name in rows[0] if name != "skipped"]
        means = {name: float(np.mean([row[name] for row in kept])) for name in names}
        seconds = max(time.monotonic() - self._start, 1e-9)
        videos_per_second = self._timed_steps * self._batch_size / seconds
        if self._writer:
            self._writer.write(
                step,
                epoch=step * self._batch_size / self._num_videos,
                **means,
                learning_rate=learning_rate,
                skipped_steps=skipped,
                videos_per_second=videos_per_second,
                input_wait=self._waited / seconds,
                **figures,
            )
            for name, arrays in self._values.items():
                self._writer.write_histogram(step, name, np.concatenate(arrays))
        found = means | figures
        self._shown |= {name: found[name] for name in SHOWN if name in found}
        self._progress.update(0, **self._shown, videos_per_second=videos_per_second)
        self._checked, self._values = [], {}
        self._begin()
