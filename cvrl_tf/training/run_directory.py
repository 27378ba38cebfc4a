"""The directory of a pre-training run.

config.json    the configuration: what later commands need to build the same network
flags.txt      the same as a flagfile, to run it again
checkpoints/   all that the run goes on from (`cvrl_tf.training.checkpoints`)
metrics.jsonl  a line of figures now and then (`cvrl_tf.training.metrics`), and TensorBoard events
clip_pairs.png a few pairs of clips as the network sees them
evaluations/   what was found of its checkpoints (`cvrl_tf.evaluation.report`)
bad_records.txt  records that could not be used, if any, and why
lock           held while a process trains in the directory
"""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.training.checkpoints import latest
from cvrl_tf.training.config import PretrainConfig, RunConfig, SupervisedConfig

CONFIG_FILE = "config.json"
FLAGS_FILE = "flags.txt"
LOCK_FILE = "lock"
RETIRED = ("shuffle_buffer",)  # settings of earlier versions that no network depends on


def _kind(values: Mapping[str, Any]) -> type[RunConfig]:
    """Which configuration the content of a `config.json` is."""
    return SupervisedConfig if "num_classes" in values else PretrainConfig


def prepare(
    model_dir: str, config: RunConfig, flagfile: str | None = None, override: bool = False
) -> None:
    """Makes the directory of a run, or checks that the one there is of the same configuration.

    Args:
      model_dir: the directory.
      config: of the run.
      flagfile: text of `flags.txt`; None writes none.
      override: whether a run of another configuration goes on with this one.

    Raises:
      InputError: the directory holds a run of another configuration, or something else.
    """
    if tf.io.gfile.exists(os.path.join(model_dir, CONFIG_FILE)):
        stored, now = _read_config(model_dir), dataclasses.asdict(config)
        if _kind(stored) is not type(config):
            raise InputError(
                f"{model_dir} holds a run of another command, which goes on with its own flags:"
                " name another directory."
            )
        # Settings that an earlier version did not know had their defaults.
        defaults = {field.name: field.default for field in dataclasses.fields(config)}
        before = defaults | stored
        differing = [
            f"{name}={before.get(name)} (now {now.get(name)})"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if not differing:
            return
        if not override:
            raise InputError(
                f"{model_dir} holds a run with {', '.join(differing)}: give the same flags to go on"
                " with it, another directory, or --override to go on with what is given now."
            )
        print(f"note: going on with other settings, {', '.join(differing)}.", file=sys.stderr)
        _write(model_dir, config, flagfile)
        return
    if tf.io.gfile.exists(model_dir) and (
        not tf.io.gfile.isdir(model_dir) or _names_of_others(model_dir)
    ):
        raise InputError(
            f"{model_dir} is not empty and is not a run of cvrl_tf (no {CONFIG_FILE} in it): name"
            " a new or empty directory."
        )
    _write(model_dir, config, flagfile)


@contextlib.contextmanager
def training_in(
    model_dir: str,
    config: RunConfig,
    is_chief: bool,
    flagfile: str | None = None,
    override: bool = False,
) -> Iterator[None]:
    """Holds the directory of a run while it is trained, made or checked as by `prepare`.

    Args:
      model_dir: the directory.
      config: of the run.
      is_chief: whether this process writes; the others of several workers leave it alone.
      flagfile: text of `flags.txt`; None writes none.
      override: whether a run of another configuration goes on with this one.

    Raises:
      InputError: as `prepare`, or another process trains in the directory.
    """
    if not is_chief:
        yield
        return
    prepare(model_dir, config, flagfile, override)
    with files.locked(os.path.join(model_dir, LOCK_FILE), f"training in {model_dir}"):
        yield


def _names_of_others(model_dir: str) -> list[str]:
    """What is in a directory but is not of a `prepare` that was killed before its configuration."""
    names = files.names_in(model_dir)
    return [name for name in names if name != FLAGS_FILE and not files.is_temporary(name)]


def _write(model_dir: str, config: RunConfig, flagfile: str | None) -> None:
    try:
        tf.io.gfile.makedirs(model_dir)
        if flagfile is not None:
            files.write_atomically(os.path.join(model_dir, FLAGS_FILE), flagfile)
        files.write_json(os.path.join(model_dir, CONFIG_FILE), dataclasses.asdict(config))
    except tf.errors.OpError as error:
        raise InputError(f"{model_dir} cannot be written: {error.message}") from None


def _read_config(model_dir: str) -> dict[str, Any]:
    try:
        values = files.read_json(os.path.join(model_dir, CONFIG_FILE))
    except ValueError as error:
        raise InputError(f"{os.path.join(model_dir, CONFIG_FILE)} is damaged: {error}") from None
    return {name: values[name] for name in values if name not in RETIRED}


def load_config(model_dir: str) -> RunConfig:
    """The configuration of the run in `model_dir`.

    Raises:
      InputError: no run there, or its configuration cannot be read.
    """
    if not tf.io.gfile.exists(os.path.join(model_dir, CONFIG_FILE)):
        raise InputError(
            f"{model_dir} holds no {CONFIG_FILE}: expected a directory that python -m"
            " cvrl_tf.train, cvrl_tf.finetune or tools.import_checkpoint has written."
        )
    values = _read_config(model_dir)
    try:
        return _kind(values)(**values)
    except TypeError as error:
        raise InputError(
            f"{os.path.join(model_dir, CONFIG_FILE)} is not of this version: {error}"
        ) from None


def locate(path: str) -> tuple[str, str | None]:
    """Finds the run and the checkpoint that a path means.

    Args:
      path: a directory that `train` or `import_checkpoint` has written, which means its newest
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
