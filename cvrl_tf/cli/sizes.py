"""Defaults of flags that follow from the run to start from or to resume, and from the data.

Such a flag is declared `derived`: without a default of its own. Before a command builds a
configuration, it calls the functions of this module in the order of precedence. What the user gave
always holds. `flags.txt` of a run has the derived values too.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import tensorflow as tf

from cvrl_tf import progress
from cvrl_tf.cli.flag import Flag, Value, Values
from cvrl_tf.data import subset
from cvrl_tf.data.lookup import find_source
from cvrl_tf.training import run_config
from cvrl_tf.training.config import (
    NetworkConfig,
    PretrainConfig,
    RunConfig,
    fitting_batch_size,
)
from cvrl_tf.training.run_directory import RunDirectory

CLIP = ("num_frames", "stride", "crop_size")
SCHEDULE = ("batch_size", "learning_rate", "warmup_epochs")
WARMUPS_IN_RUN = 10  # a run is at least ten times as long as a warm-up that is derived

MAX_BATCH_SIZE = Flag(
    "max_batch_size",
    PretrainConfig.batch_size,
    "The largest batch size that is derived from the number of videos.",
    lower=2,
)


def derived(flags: Sequence[Flag], **defaults: str) -> tuple[Flag, ...]:
    """The same flags; for each that is named, its help says what the default is derived from.

    Args:
      flags: of a command.
      **defaults: by the name of a flag, the end of the sentence "By default ...".
    """
    return tuple(
        dataclasses.replace(
            flag,
            default=None,
            kind=flag.value_type,
            help=f"{flag.help} By default {defaults[flag.name]}.",
        )
        if flag.name in defaults
        else flag
        for flag in flags
    )


def fill(flags: Values, values: Mapping[str, Value]) -> None:
    """Gives values to those of the flags that have none."""
    for name, value in values.items():
        if flags[name].value is None:
            flags.set_default(name, value)


def follow(
    flags: Values, config: NetworkConfig | type[NetworkConfig], names: Sequence[str]
) -> None:
    """Gives named flags that have no value that of a configuration, or of a class's defaults."""
    fill(flags, {name: getattr(config, name) for name in names if hasattr(config, name)})


def follow_run(flags: Values, model_dir: str, names: Sequence[str]) -> None:
    """As `follow`, with the configuration of the run that is in a directory, if there is one.

    Raises:
      InputError: its configuration cannot be read.
    """
    if model_dir and tf.io.gfile.exists(RunDirectory(model_dir).config):
        follow(flags, run_config.load_config(model_dir), names)


def follow_data(flags: Values, batch_size: int, learning_rate: float, reference: int = 0) -> None:
    """Gives batch size and learning rate values, if they have none.

    Args:
      flags: of a command with `batch_size` and `learning_rate`.
      batch_size: that fits the data: `config.fitting_batch_size`.
      learning_rate: the default.
      reference: batch size that it is made for: where `batch_size` is used, the learning rate is
        in proportion; 0 for no scaling.
    """
    if flags["batch_size"].value is None:
        fill(flags, {"batch_size": batch_size})
        learning_rate *= batch_size / reference if reference else 1.0
    fill(flags, {"learning_rate": learning_rate})


def batch_size_text(largest: int | str) -> str:
    """How the default batch size is derived, for `derived`."""
    return f"the largest power of two that makes four steps an epoch, at most {largest}"


def warmup_text() -> str:
    """How the default warm-up is derived, for `derived`."""
    return f"{RunConfig.warmup_epochs:g}, at most a tenth of the run"


def follow_length(flags: Values, epochs: float, longest: float = RunConfig.warmup_epochs) -> None:
    """Gives the warm-up a value, if it has none: a run of few epochs has a short one.

    Args:
      flags: of a command with `warmup_epochs`.
      epochs: of the run.
      longest: the maximum, in epochs.
    """
    fill(flags, {"warmup_epochs": min(longest, epochs / WARMUPS_IN_RUN)})


def derive_schedule(
    flags: Values, parts: int, longest_warmup: float = PretrainConfig.warmup_epochs
) -> None:
    """Gives batch size, learning rate and warm-up of pre-training values, if they have none.

    Args:
      flags: of pre-training.
      parts: that a batch must divide into evenly.
      longest_warmup: the maximum that is derived, in epochs.

    Raises:
      InputError: as `follow_run`, `lookup.find_source` and `subset.read_ids`.
    """
    follow_run(flags, flags.model_dir, SCHEDULE)

    @functools.cache
    def num_videos() -> int:
        if flags.train_ids:
            return len(subset.read_ids(flags.train_ids))
        return len(find_source(flags.train_data, "train_data").indexed())

    fitting = flags.batch_size
    if fitting is None:
        fitting = fitting_batch_size(num_videos(), parts, flags.max_batch_size)
    reference = 0 if flags.scale_learning_rate else PretrainConfig.batch_size
    follow_data(flags, fitting, PretrainConfig.learning_rate, reference)
    if flags.steps and flags.given("epochs") and flags.epochs != PretrainConfig.epochs:
        progress.note(
            f"note: steps={flags.steps} determines the length of the run, epochs={flags.epochs:g}"
            " is not used: give steps=0 to train for that number of epochs."
        )
    if flags.warmup_epochs is None:
        epochs = flags.steps * flags.batch_size / num_videos() if flags.steps else flags.epochs
        follow_length(flags, epochs, longest_warmup)
