"""The state on disk from which a conversion resumes: plans, reports of finished shards, incidents.

All of it lies in the hidden directory `.conversion` of the output directory:

  <split>.json              the plan: what is converted, how, into how many shards
  <shard>.json              the report of a shard; written last; a shard without one is made again
  <shard>.incidents.json    videos of an unfinished shard at which a worker hung or died
  lock, lease               held while a process converts into the directory, local or remote
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

import cvrl_tf
from cvrl_tf import files, lease
from cvrl_tf.conversion.catalogs import Catalog
from cvrl_tf.conversion.frames import Settings
from cvrl_tf.data import index_file
from cvrl_tf.errors import InputError
from cvrl_tf.lease import Lease

DIRECTORY, LEASE_FILE = ".conversion", "lease"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a split's shards are made from. Equal plans give equal shards.

    Attributes:
      split: its name.
      version: of this package.
      dataset: name of the data set.
      classes: names in the order of their labels; empty when unlabelled.
      parameters: the settings by name.
      num_shards: in the names of the shards; None while it is not decided.
      num_videos: entries of the split.
      video_ids, paths, labels: digests of the entries'.
    """

    split: str
    version: str
    dataset: str
    classes: list[str]
    parameters: dict[str, Any]
    num_shards: int | None
    num_videos: int
    video_ids: str
    paths: str
    labels: str

    @classmethod
    def of(cls, catalog: Catalog, split: str, settings: Settings, num_shards: int | None) -> "Plan":
        """The plan for a split of a catalog, whatever the order of its entries."""
        entries = sorted(catalog.splits[split], key=lambda entry: entry.video_id)

        def digest(values: Sequence[Any]) -> str:
            return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]

        return cls(
            split=split,
            version=cvrl_tf.__version__,
            dataset=catalog.dataset,
            classes=list(catalog.classes),
            parameters=dataclasses.asdict(settings),
            num_shards=num_shards,
            num_videos=len(entries),
            video_ids=digest([entry.video_id for entry in entries]),
            paths=digest([entry.path for entry in entries]),
            labels=digest([(entry.label, entry.label_name, entry.start) for entry in entries]),
        )

    def shard(self, index: int) -> str:
        """The name of a shard."""
        return f"{self.split}-{index:05d}-of-{self.num_shards:05d}"


@dataclasses.dataclass(frozen=True)
class Failure:
    """A video that was skipped, or that was kept although its file is damaged.

    Attributes:
      video_id: its id.
      path: the file.
      reason: a few words, the same for all videos with this fault.
      detail: what is particular to this one; may be empty.
      frames_recovered: frames that could be decoded.
      kept: whether those are in a shard.
    """

    video_id: str
    path: str
    reason: str
    detail: str
    frames_recovered: int
    kept: bool

    @property
    def description(self) -> str:
        """The reason with its detail."""
        return self.reason + (f": {self.detail}" if self.detail else "")

    def row(self) -> dict[str, Any]:
        """The row of a table of failures."""
        return {
            "video_id": self.video_id,
            "path": self.path,
            "reason": self.description,
            "frames_recovered": self.frames_recovered,
            "kept": "yes" if self.kept else "no",
        }


@dataclasses.dataclass(frozen=True)
class Incident:
    """How a worker failed at a video, and whether the video must not be tried again."""

    reason: str
    final: bool


@dataclasses.dataclass(frozen=True)
class ShardReport:
    """What a finished shard holds. A shard without videos has a report but no file.

    `index` has what `index_file.DescribedRecord` holds of each record: its id, and the values. It
    is empty in reports of earlier versions.
    """

    videos: int
    frames: int
    bytes: int
    videos_per_class: dict[str, int]
    failures: list[Failure]
    index: list[tuple[str, tuple[int, ...]]] = dataclasses.field(default_factory=list)

    @property
    def skipped(self) -> int:
        """The number of its videos without a record."""
        return sum(not failure.kept for failure in self.failures)


class State:
    """The plans and reports in an output directory.

    Args:
      output_dir: local or remote.
    """

    def __init__(self, output_dir: str):
        self.output_dir = output_dir
        self._directory = os.path.join(output_dir, DIRECTORY)
        self._lease: Lease | None = None

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the directory and keeps other processes from converting into it.

        Raises:
          InputError: another process holds it.
        """
        tf.io.gfile.makedirs(self._directory)
        what = f"converting into output_dir={self.output_dir}"
        if not files.is_remote(self.output_dir):
            with files.locked(self._path("lock"), what):
                yield
            return
        with lease.held(self._path(LEASE_FILE), what) as self._lease:
            yield

    def check_held(self) -> None:
        """Raises InputError if this process has lost its hold of a remote directory."""
        if self._lease:
            self._lease.check()

    def remove_temporaries(self) -> None:
        """Removes incomplete files that killed runs have left."""
        for directory in (self.output_dir, self._directory):
            for name in files.names_in(directory):
                if re.search(r"\.(json|csv|txt|shard)\.tmp-", name):
                    tf.io.gfile.remove(os.path.join(directory, name))
        files.remove_temporaries(os.path.join(self.output_dir, index_file.DIRECTORY))

    def temporary(self, shard: str) -> str:
        """Where to write a shard before it has its name; another path on every call."""
        return self._path(f"{shard}.shard.tmp-{uuid.uuid4().hex}")

    def plans(self) -> dict[str, Plan]:
        """The plans by split, in the order of their names.

        Raises:
          InputError: a plan that cannot be read.
        """
        found = {}
        for name in files.names_in(self._directory):
            if re.fullmatch(r"\w+\.json", name):
                try:
                    plan = Plan(**files.read_json(self._path(name)))
                except (ValueError, TypeError):
                    raise InputError(
                        f"{self._path(name)} is not as this version writes it: choose another"
                        " output_dir."
                    ) from None
                found[plan.split] = plan
        return found

    def write_plan(self, plan: Plan) -> None:
        """Writes the plan of a split."""
        text = files.json_text(dataclasses.asdict(plan))
        files.write_if_changed(self._path(f"{plan.split}.json"), text)

    def report(self, shard: str) -> ShardReport | None:
        """The report of a shard; None unless the shard is there as it was written."""
        path = self._path(f"{shard}.json")
        if not tf.io.gfile.exists(path):
            return None
        values = files.read_json(path)
        failures = [Failure(**failure) for failure in values.pop("failures")]
        report = ShardReport(**values, failures=failures)
        shard_path = os.path.join(self.output_dir, shard)
        if report.videos and (
            not tf.io.gfile.exists(shard_path)
            or tf.io.gfile.stat(shard_path).length != report.bytes
        ):
            return None
        return report

    def write_report(self, shard: str, report: ShardReport) -> None:
        """Writes the report of a shard, whose file is complete."""
        files.write_json(self._path(f"{shard}.json"), dataclasses.asdict(report))
        incidents = self._path(f"{shard}.incidents.json")
        if tf.io.gfile.exists(incidents):
            tf.io.gfile.remove(incidents)

    def incidents(self, shard: str) -> dict[str, Incident]:
        """Where workers hung or died in an unfinished shard, by video id."""
        path = self._path(f"{shard}.incidents.json")
        found = files.read_json(path) if tf.io.gfile.exists(path) else {}
        return {video_id: Incident(**values) for video_id, values in found.items()}

    def write_incidents(self, shard: str, incidents: Mapping[str, Incident]) -> None:
        """Writes what `incidents` reads."""
        files.write_json(
            self._path(f"{shard}.incidents.json"),
            {video_id: dataclasses.asdict(incident) for video_id, incident in incidents.items()},
        )


def differences(found: Plan, wanted: Plan, names: Sequence[str]) -> list[str]:
    """In words, how a plan on disk differs from the one of this call, in the named attributes."""
    texts = []
    for name in names:
        there, here = getattr(found, name), getattr(wanted, name)
        if name == "num_shards" and here is None or there == here:
            continue
        if name == "parameters":
            texts += [
                f"{key} is {there.get(key)} there and {here.get(key)} here"
                for key in sorted({*there, *here})
                if there.get(key) != here.get(key)
            ]
        elif name in ("video_ids", "paths", "labels"):
            texts.append(f"{name.replace('_', ' ')} differ")
        else:
            label = name.replace("num_", "number of ")
            texts.append(f"{label} is {_short(there)} there and {_short(here)} here")
    return texts


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"({len(value)}) {', '.join(value[:5])}{', ...' if len(value) > 5 else ''}"
    return f"'{value}'" if isinstance(value, str) else str(value)
