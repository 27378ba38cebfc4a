"""The directory of a run.

config.json    the configuration (`cvrl_tf.training.config`), from which later commands build the
               same network
flags.txt      the same as a flagfile, to run it again
checkpoints/   everything that the run resumes from (`cvrl_tf.training.checkpoints`)
metrics.jsonl  figures every few steps (`cvrl_tf.training.metrics`), with TensorBoard events beside
clip_pairs.png a few pairs of clips as the network sees them
evaluations/   results of evaluations of its checkpoints (`cvrl_tf.evaluation.report`)
bad_records.txt  unreadable records, if any, and why
lock           held while a process trains in the directory
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from cvrl_tf import files, progress
from cvrl_tf.errors import InputError
from cvrl_tf.training import config as configurations
from cvrl_tf.training.checkpoints import latest
from cvrl_tf.training.config import NetworkConfig

CONFIG_FILE = "config.json"
FLAGS_FILE = "flags.txt"
LOCK_FILE = "lock"


def prepare(
    model_dir: str, config: NetworkConfig, flagfile: str | None = None, override: bool = False
) -> None:
    """Makes the directory of a run, or checks that the one there is of the same configuration.

    Args:
      model_dir: the directory.
      config: of the run.
      flagfile: text of `flags.txt`; None writes none.
      override: whether a run of another configuration is resumed with this one.

    Raises:
      InputError: the directory holds a run of another configuration, or something else.
    """
    if tf.io.gfile.exists(os.path.join(model_dir, CONFIG_FILE)):
        stored = load_config(model_dir)
        if type(stored) is not type(config):
            raise InputError(
                f"{model_dir} holds a run of another command, which has other flags: name another"
                " directory."
            )
        before, now = dataclasses.asdict(stored), dataclasses.asdict(config)
        differing = [
            f"{name}={before[name]} (now {now[name]})"
            for name in sorted(now)
            if before[name] != now[name]
        ]
        if not differing:
            return
        if not override:
            raise InputError(
                f"{model_dir} holds a run with {', '.join(differing)}: resume it with the same"
                " settings, name another directory, or give override to resume it with the new"
                " ones."
            )
        progress.note(f"note: resuming with other settings, {', '.join(differing)}.")
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
    config: NetworkConfig,
    is_chief: bool,
    flagfile: str | None = None,
    override: bool = False,
) -> Iterator[None]:
    """Holds the directory of a run while it is trained, made or checked as by `prepare`.

    Args:
      model_dir: the directory.
      config: of the run.
      is_chief: whether this process writes; the other workers do not use the directory.
      flagfile: text of `flags.txt`; None writes none.
      override: whether a run of another configuration is resumed with this one.

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


def _write(model_dir: str, config: NetworkConfig, flagfile: str | None) -> None:
    try:
        tf.io.gfile.makedirs(model_dir)
        if flagfile is not None:
            files.write_atomically(os.path.join(model_dir, FLAGS_FILE), flagfile)
        files.write_json(os.path.join(model_dir, CONFIG_FILE), configurations.to_json(config))
    except tf.errors.OpError as error:
        raise InputError(f"{model_dir} cannot be written: {error.message}") from None


def load_config(model_dir: str) -> NetworkConfig:
    """The configuration of the run in `model_dir`.

    Raises:
      InputError: no run there, or its configuration cannot be read.
    """
    path = os.path.join(model_dir, CONFIG_FILE)
    if not tf.io.gfile.exists(path):
        raise InputError(
            f"{model_dir} holds no {CONFIG_FILE}: expected a directory that python -m"
            " cvrl_tf.train, cvrl_tf.finetune or tools.import_checkpoint has written."
        )
    try:
        values = files.read_json(path)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    try:
        return configurations.from_json(values)
    except InputError as error:
        raise InputError(f"{path} cannot be read by this version: {error}.") from None


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
