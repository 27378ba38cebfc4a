"""What `config.json` in the directory of a run holds: its configuration, its data, their order."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from cvrl_tf import files, progress
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.data.stream import ARRAY_ORDER, INDEX_ORDER, Order
from cvrl_tf.errors import InputError
from cvrl_tf.training import config as configurations
from cvrl_tf.training.config import NetworkConfig
from cvrl_tf.training.run_directory import CONFIG_FILE, FLAGS_FILE, RunDirectory
from cvrl_tf.training.strategy import Workers

_DATA_NAMES = ("train_data", "train_ids")  # settings that say where the records are


@dataclasses.dataclass(frozen=True)
class RunRecords:
    """The records that a run is trained on.

    Attributes:
      number: of them.
      fingerprint: of their content and order (`RecordIndex.fingerprint`).
    """

    number: int
    fingerprint: str

    @classmethod
    def of(cls, videos: IndexedSource) -> "RunRecords":
        """Of the videos to train on."""
        return cls(len(videos), videos.index.fingerprint())

    def __str__(self) -> str:
        return f"{self.number} with fingerprint {self.fingerprint}"


@dataclasses.dataclass(frozen=True)
class RunState:
    """The content of `config.json`.

    Attributes:
      config: of the run.
      order: version of the order of the records (`stream.Order`).
      records: None for weights that do not come from a run, and for runs that a version made which
        did not keep them.
    """

    config: NetworkConfig
    order: int = INDEX_ORDER
    records: RunRecords | None = None

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        values = configurations.to_json(self.config)
        if self.records:
            values |= {"order": self.order, "records": dataclasses.asdict(self.records)}
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "RunState":
        """The inverse; raises as `config.from_json`.

        Versions that did not write the order had only `ARRAY_ORDER`.
        """
        values = dict(values)
        order, records = values.pop("order", ARRAY_ORDER), values.pop("records", None)
        config = configurations.from_json(values)
        return cls(config, order, RunRecords(**records) if records else None)

    def differences(self, now: "RunState", called: str = "now") -> list[str]:
        """What differs in the configuration and data of another command, for messages.

        Data of the same content may have moved: the settings that name them may then differ.

        Args:
          now: of the other command, such as the one given now.
          called: what it is called.
        """
        before, given = (
            {name: _written(value) for name, value in configurations.values_by_name(config).items()}
            for config in (self.config, now.config)
        )
        same_records = now.records is not None and now.records == self.records
        differing = [
            f"{name}={before.get(name)} ({called} {given[name]})"
            for name in sorted(given)
            if before.get(name) != given[name] and not (same_records and name in _DATA_NAMES)
        ]
        if self.records and now.records and not same_records:
            differing.append(f"records: {self.records} ({called} {now.records})")
        return differing


def check_workers(workers: Workers, config: NetworkConfig, videos: IndexedSource) -> None:
    """Checks that all workers were given the same configuration and records.

    Args:
      workers: all of them call it at the same time.
      config: of this worker.
      videos: that this worker trains on.

    Raises:
      InputError: on all workers, if they were not.
    """
    state = RunState(config, records=RunRecords.of(videos))
    first, *others = (
        RunState.from_json(json.loads(text)) for text in workers.texts(json.dumps(state.as_json()))
    )
    for number, other in enumerate(others, 1):
        if differing := first.differences(other, f"worker {number}:"):
            raise InputError(
                f"Workers train with different settings or data: worker 0 has"
                f" {', '.join(differing)}. Start the same command on all of them."
            )


def prepare(
    model_dir: str,
    config: NetworkConfig,
    videos: IndexedSource | None = None,
    flagfile: str | None = None,
    override: bool = False,
) -> None:
    """Makes the directory of a run, or checks that the one there is of the same configuration.

    Args:
      model_dir: the directory.
      config: of the run.
      videos: to train on; None for weights that do not come from a run.
      flagfile: text of `flags.txt`; None writes none.
      override: whether a run of another configuration, or on other data, is resumed with this one.

    Raises:
      InputError: the directory holds a run of another configuration or on other data, or something
        else.
    """
    paths = RunDirectory(model_dir)
    now = RunState(config, records=RunRecords.of(videos) if videos else None)
    if not tf.io.gfile.exists(paths.config):
        if tf.io.gfile.exists(model_dir) and (
            not tf.io.gfile.isdir(model_dir) or _names_of_others(model_dir)
        ):
            raise InputError(
                f"{model_dir} is not empty and is not a run of cvrl_tf (no {CONFIG_FILE} in it):"
                " name a new or empty directory."
            )
        _write(paths, now, flagfile)
        return
    stored = _load(model_dir)
    if type(stored.config) is not type(config):
        raise InputError(
            f"{model_dir} holds a run of another command, which has other flags: name another"
            " directory."
        )
    differing = stored.differences(now)
    if stored.config.method != config.method:
        raise InputError(
            f"{model_dir} holds a run of another method ({', '.join(differing)}), which has"
            " other networks: resume it with the same settings, or name another"
            " directory and start from its weights with init_checkpoint."
        )
    if differing and not override:
        raise InputError(
            f"{model_dir} holds a run with {', '.join(differing)}: resume it with the same"
            " settings and data, name another directory, or give override to resume it with the"
            " new ones."
        )
    if differing:
        progress.note(f"note: resuming with other settings, {', '.join(differing)}.")
    now = dataclasses.replace(now, order=stored.order)
    if now != stored:
        _write(paths, now, flagfile if now.config != stored.config else None)


@contextlib.contextmanager
def training_in(
    model_dir: str,
    config: NetworkConfig,
    videos: IndexedSource,
    is_chief: bool,
    flagfile: str | None = None,
    override: bool = False,
) -> Iterator[Order]:
    """Holds the directory of a run while it is trained, made or checked as by `prepare`.

    Args:
      model_dir: the directory.
      config: of the run.
      videos: to train on.
      is_chief: whether this process writes; the other workers only read the directory.
      flagfile: text of `flags.txt`; None writes none.
      override: as for `prepare`.

    Yields:
      The order in which the run reads the videos, from its beginning to its end.

    Raises:
      InputError: as `prepare`, or another process trains in the directory.
    """
    paths = RunDirectory(model_dir)
    if not is_chief:
        # A new run has the newest order, whether or not the chief has made the directory by now.
        begun = tf.io.gfile.exists(paths.config)
        yield Order(config.seed, _load(model_dir).order if begun else INDEX_ORDER)
        return
    prepare(model_dir, config, videos, flagfile, override)
    with files.locked(paths.lock, f"training in {model_dir}"):
        yield Order(config.seed, _load(model_dir).order)


def write(model_dir: str, config: NetworkConfig) -> None:
    """Writes the configuration of weights that no training resumes from, replacing another one.

    Args:
      model_dir: the directory; `config.json` in it is not of a run.
      config: of the weights.

    Raises:
      InputError: it cannot be written.
    """
    _write(RunDirectory(model_dir), RunState(config), None)


def load_config(model_dir: str) -> NetworkConfig:
    """The configuration of the run in `model_dir`.

    Raises:
      InputError: no run there, or its configuration cannot be read.
    """
    return _load(model_dir).config


def _written(value: Any) -> Any:
    """As on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def _load(model_dir: str) -> RunState:
    path = RunDirectory(model_dir).config
    if not tf.io.gfile.exists(path):
        found = f"holds no {CONFIG_FILE}" if tf.io.gfile.exists(model_dir) else "does not exist"
        raise InputError(
            f"{model_dir} {found}: expected a directory that python -m"
            " cvrl_tf.train, cvrl_tf.finetune or cvrl_tf.import_checkpoint has written."
        )
    with files.reading(path):
        text = files.read_text(path)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    try:
        return RunState.from_json(values)
    except (InputError, TypeError) as error:
        raise InputError(f"{path} cannot be read by this version: {error}.") from None


def _names_of_others(model_dir: str) -> list[str]:
    """Names in a directory that no `prepare` killed before its configuration has left there."""
    names = files.names_in(model_dir)
    return [name for name in names if name != FLAGS_FILE and not files.is_temporary(name)]


def _write(paths: RunDirectory, state: RunState, flagfile: str | None) -> None:
    try:
        tf.io.gfile.makedirs(paths.path)
        if flagfile is not None:
            files.write_atomically(paths.flags, flagfile)
        files.write_json(paths.config, state.as_json())
    except tf.errors.OpError as error:
        raise InputError(f"{paths.path} cannot be written: {error.message}") from None
