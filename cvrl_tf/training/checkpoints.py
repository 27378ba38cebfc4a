"""Checkpoints of a run: complete or ignored; a run resumes from the newest intact one."""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from cvrl_tf import files, progress
from cvrl_tf.errors import InputError, reason
from cvrl_tf.training.run_directory import BEST, CHECKPOINTS


@dataclasses.dataclass
class Best:
    """The best evaluation of a run so far.

    Attributes:
      step: after which it was made; 0 when there is none yet.
      value: its figure; larger is better.
      since: number of evaluations after it, none of which was better.
    """

    step: int = 0
    value: float = 0.0
    since: int = 0

    def add(self, step: int, value: float) -> bool:
        """Takes note of an evaluation after `step`; returns whether it is the best so far."""
        if self.step and value <= self.value:
            self.since += 1
            return False
        self.step, self.value, self.since = step, value, 0
        return True


class LoopState(tf.train.experimental.PythonState):
    """The loop's own state, beside what is trained; a few hundred bytes.

    Attributes:
      positions: the next position of the input stream, for each worker.
      bad_records: numbers of the records that could not be used so far.
      pending: figures of finished steps that are not in a line of metrics yet.
      best: the best evaluation.
    """

    def __init__(self):
        self.positions: list[int] = []
        self.bad_records: set[int] = set()
        self.best = Best()
        self.pending: list[dict[str, float]] = []

    def serialize(self) -> str:
        """The state as JSON, called while a checkpoint is written."""
        return json.dumps(
            {
                "positions": self.positions,
                "bad_records": sorted(self.bad_records),
                "pending": self.pending,
                "best": dataclasses.asdict(self.best),
            }
        )

    def deserialize(self, text: str | bytes) -> None:
        """The inverse, called while a checkpoint is restored."""
        values = json.loads(text)
        self.positions, self.pending = values["positions"], values["pending"]
        self.bad_records = set(values["bad_records"])
        self.best = Best(**values.get("best", {}))  # earlier versions had none


class RunCheckpoints:
    """The checkpoints of one kind in the directory of a run.

    Only checkpoints in TensorFlow's list are used. The list is replaced atomically after the files
    of a checkpoint are complete, so incomplete files of a killed process are not in it.

    Args:
      checkpoint: what is saved: everything that a run resumes from, with `step` and `loop` (a
        `LoopState`), or the weights of the best evaluation.
      model_dir: the directory of the run.
      keep: the number of newest checkpoints that are kept.
      name: of the directory of the checkpoints in it.
    """

    def __init__(
        self, checkpoint: tf.train.Checkpoint, model_dir: str, keep: int, name: str = CHECKPOINTS
    ):
        self._checkpoint = checkpoint
        self._directory = os.path.join(model_dir, name)
        # The manager looks for what to delete by patterns.
        self._links = contextlib.ExitStack()
        literal = self._links.enter_context(files.literal_path(model_dir))
        self._manager = tf.train.CheckpointManager(checkpoint, os.path.join(literal, name), keep)

    @property
    def latest(self) -> str | None:
        """The newest checkpoint's prefix; None when there is none."""
        prefix = self._manager.latest_checkpoint
        return prefix and self._own_path(prefix)

    def _own_path(self, prefix: str) -> str:
        """The path in the directory of the run of what the manager calls `prefix`."""
        return os.path.join(self._directory, os.path.basename(prefix))

    def restore(self) -> None:
        """Restores the newest intact checkpoint, if there is one; reports damaged ones.

        Raises:
          InputError: all are damaged, or the newest that can be read is of another network.
        """
        prefixes = [self._own_path(prefix) for prefix in self._manager.checkpoints[::-1]]
        for number, prefix in enumerate(prefixes):
            try:
                restore(self._checkpoint, prefix)
            except DamagedCheckpoint as error:
                if number == len(prefixes) - 1:
                    raise
                progress.note(
                    f"note: {error} Resuming from the one before, {prefixes[number + 1]}."
                )
            else:
                return

    def save(self, step: int) -> None:
        """Writes a checkpoint, named by its step.

        Raises:
          InputError: it cannot be written; those before it are intact.
        """
        before = self.latest
        try:
            self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            self.remove_temporaries()
            raise InputError(
                f"The checkpoint of step {step} cannot be written to {self._directory}"
                f" ({reason(error)}): the last one is {before or 'none'}. Free some space"
                " or repair the disk. The same command then resumes from there."
            ) from None

    def remove_temporaries(self) -> None:
        """Removes incomplete files that a killed process or a full disk has left."""
        for name in files.names_in(self._directory):
            path = os.path.join(self._directory, name)
            if re.search(r"_temp$|tempstate\d+$|\.tmp", name):
                if tf.io.gfile.isdir(path):
                    tf.io.gfile.rmtree(path)
                else:
                    tf.io.gfile.remove(path)


class DamagedCheckpoint(InputError):
    """The files of a checkpoint are not as they were written."""


def restore(checkpoint: tf.train.Checkpoint, prefix: str) -> None:
    """Restores all of `checkpoint`; anything else in the file is ignored.

    Args:
      checkpoint: objects whose variables all exist.
      prefix: of the checkpoint's files.

    Raises:
      DamagedCheckpoint: files of it are missing, cut off or changed.
      InputError: it lacks a variable of `checkpoint`, or has another shape.
    """
    with _reading(prefix) as literal:
        try:
            status = checkpoint.restore(literal)
            status.assert_existing_objects_matched()
            status.expect_partial()  # an evaluation has neither projection head nor optimizer
        except (AssertionError, ValueError) as error:
            raise InputError(
                f"The checkpoint {prefix} is of another network ({error}): give the flags that it"
                " was made with."
            ) from None


@contextlib.contextmanager
def _reading(prefix: str) -> Iterator[str]:
    """Gives the prefix by which TensorFlow reads a checkpoint; its errors become one sentence."""
    with files.literal_path(prefix) as literal:
        try:
            yield literal
        except (tf.errors.OpError, IndexError) as error:  # IndexError: a file is cut off
            said = reason(error).replace(literal, prefix)
            raise DamagedCheckpoint(f"The checkpoint {prefix} is damaged ({said}).") from None


def latest(model_dir: str) -> str | None:
    """The prefix of the checkpoint that a run's directory stands for; None when there is none.

    It is the best one of a run that selects one, otherwise the newest.
    """
    # Like `tf.train.latest_checkpoint`, which takes the path for a pattern.
    for name in (BEST, CHECKPOINTS):
        state = tf.train.get_checkpoint_state(os.path.join(model_dir, name))
        prefix = state.model_checkpoint_path if state else ""
        if prefix and tf.io.gfile.exists(f"{prefix}.index"):
            return prefix
    return None


def holds(prefix: str, part: str) -> bool:
    """Whether a checkpoint holds variables of a part, such as "head"; `prefix` is of its files.

    Raises:
      DamagedCheckpoint: it cannot be read.
    """
    with _reading(prefix) as literal:
        names = [name for name, _ in tf.train.list_variables(literal)]
    return any(name.startswith(f"{part}/") for name in names)


def locate(path: str) -> tuple[str, str | None]:
    """Finds the run and the checkpoint that a path means.

    Args:
      path: a directory that `train` or `import_checkpoint` has written, which means its `latest`
        checkpoint, or the prefix of one in there, such as `runs/first/checkpoints/ckpt-500`.

    Returns:
      The directory of the run; the prefix of the checkpoint's files, None when there is none yet.

    Raises:
      InputError: no such checkpoint.
    """
    path = path.rstrip("/").removesuffix(".index")
    directory, name = os.path.split(path)
    if not re.fullmatch(r"ckpt-\d+", name):
        return path, latest(path)
    if not tf.io.gfile.exists(f"{path}.index"):
        raise InputError(
            f"There is no checkpoint {path} (no file {path}.index): {directory} holds"
            f" {', '.join(_checkpoint_names(directory)) or 'none'}."
        )
    return os.path.dirname(directory), path


def _checkpoint_names(directory: str) -> list[str]:
    if not tf.io.gfile.isdir(directory):
        return []
    names = tf.io.gfile.listdir(directory)
    return sorted(name.removesuffix(".index") for name in names if name.endswith(".index"))
