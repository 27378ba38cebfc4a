"""The best evaluation of a run: its weights are kept, and training ends when none is better."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from cvrl_tf.training.checkpoints import LoopState, RunCheckpoints
from cvrl_tf.training.run_directory import BEST, RunDirectory
from cvrl_tf.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Selection:
    """How the evaluations of a run decide which weights are kept, and when it ends.

    Attributes:
      figure: name of the figure of the evaluations that is compared; larger is better.
      keep_best: whether the weights of the best evaluation are kept in `best/`.
      patience: evaluations in a row without improvement after which training ends; 0 for none.
    """

    figure: str
    keep_best: bool = True
    patience: int = 0


class Selector:
    """Applies a `Selection` to a run; what it knows is in the state that the run resumes from.

    Args:
      selection: None where nothing is selected: the methods then do nothing.
      trainer: of the run.
      model_dir: its directory.
      state: of the loop; its `best` is changed.
    """

    def __init__(
        self, selection: Selection | None, trainer: Trainer, model_dir: str, state: LoopState
    ):
        self._selection, self._state = selection, state
        self._directory = RunDirectory(model_dir).best
        keeps = selection is not None and selection.keep_best
        self._kept = RunCheckpoints(trainer.weights, model_dir, 1, BEST) if keeps else None

    def begin(self, step: int) -> None:
        """Makes `best/` fit the checkpoint of `step` that the process that writes resumes from."""
        if self._kept is None:
            if tf.io.gfile.exists(self._directory):  # of an earlier selection, given up by override
                tf.io.gfile.rmtree(self._directory)
            return
        self._kept.remove_temporaries()
        self.keep(step)  # a kill may have come between the checkpoint of the run and this one

    def add(self, step: int, figures: Mapping[str, float]) -> bool:
        """Takes note of an evaluation after `step`; returns whether its weights are to be kept."""
        if self._selection is None or self._selection.figure not in figures:
            return False
        improved = self._state.best.add(step, figures[self._selection.figure])
        return improved and self._selection.keep_best

    def keep(self, step: int) -> None:
        """Saves the weights of `step`, those of now, if they are the best.

        Call it after the checkpoint of the run is saved, which holds the same `best`.
        """
        if self._kept is not None and self._state.best.step == step > 0:
            self._kept.save(step)

    @property
    def ended(self) -> bool:
        """Whether training ends early."""
        patience = self._selection.patience if self._selection else 0
        return 0 < patience <= self._state.best.since

    @property
    def reason(self) -> str:
        """Why, as a sentence."""
        best = self._state.best
        return (
            f"Training ends early: the last {best.since} evaluations were not better than that of"
            f" step {best.step} ({best.value:.4f})."
        )
