"""What flags say of the length of a run, for plans: the command itself reads all of them."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Self

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.training.config import PretrainConfig, fitting_batch_size

FLAGFILE = "--flagfile="


def values(flags: Sequence[str]) -> dict[str, str]:
    """The values of flags by name, those of flagfiles among them; the last one counts.

    Raises:
      InputError: a flagfile does not exist.
    """
    found: dict[str, str] = {}
    for flag in flags:
        if flag.startswith(FLAGFILE):
            found |= values(_lines(flag.removeprefix(FLAGFILE)))
        else:
            name, _, value = flag.removeprefix("--").partition("=")
            found[name] = value
    return found


def _lines(path: str) -> list[str]:
    if not os.path.isfile(path):
        raise InputError(
            f"There is no flagfile {path}: run the command in a clone of the repository, whose"
            " directory flags/ has it."
        )
    lines = (line.strip() for line in files.read_text(path).splitlines())
    return [line for line in lines if line.startswith("--")]


@dataclasses.dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes:
      steps: of the training.
      batch_size: videos of a step.
    """

    steps: int
    batch_size: int

    @property
    def videos(self) -> int:
        """Videos over all steps, with repetitions."""
        return self.steps * self.batch_size

    @classmethod
    def of(cls, flags: Sequence[str], num_videos: int) -> Self:
        """Of a pre-training with these flags.

        Args:
          flags: of `cvrl_tf.train`.
          num_videos: to train on.
        """
        found = values(flags)
        largest = int(found.get("max_batch_size", PretrainConfig.batch_size))
        batch_size = int(found.get("batch_size", fitting_batch_size(num_videos, 1, largest)))
        steps = int(found.get("steps", 0))
        epochs = float(found.get("epochs", PretrainConfig.epochs))
        return cls(steps or round(epochs * num_videos / batch_size), batch_size)
