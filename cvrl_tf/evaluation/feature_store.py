"""Features of many videos on disk: appended one by one, resumable, memory-mapped.

  store.json      what the features are of, and whether all are there
  features.npy    (N, V, D): V views of each of N videos
  videos.jsonl    a line for each of the N: id and label
  failures.jsonl  a line for each damaged video: what is wrong, and whether it is used nevertheless
  lock            held while a process writes

A line of `videos.jsonl` is written after its row of `features.npy`, so that after SIGKILL at any
moment the complete lines determine which videos are there.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from cvrl_tf import files
from cvrl_tf.conversion.state import Failure
from cvrl_tf.errors import InputError

_STORE_FILE, _FEATURES_FILE = "store.json", "features.npy"
_VIDEOS_FILE, _FAILURES_FILE = "videos.jsonl", "failures.jsonl"


@dataclasses.dataclass(frozen=True)
class StoredFeatures:
    """Features of all views of N videos.

    Attributes:
      values: (N, V, D), mapped from a file: rows are read when they are used.
      labels: (N,) int64, class indices; -1 where there is none.
      ids: N ids.
      failures: what is wrong with damaged files; `kept` for those whose video is used nevertheless.
    """

    values: np.ndarray
    labels: np.ndarray
    ids: list[str]
    failures: Sequence[Failure] = ()


class FeatureStore:
    """The writing end; made by `open_store`.

    Attributes:
      ids: of the videos that are there, in the order of their rows.
      labels: theirs, -1 for none.
      failures: what is wrong with damaged files, by id.
      complete: whether `finish` was called, now or in an earlier process.
    """

    def __init__(self, directory: str, identity: Mapping[str, Any], row: tuple[int, int]):
        self._directory, self._identity, self._row = directory, dict(identity), row
        self._dtype = np.dtype(identity["dtype"])
        self.complete = self._check_identity()
        videos = self._lines(_VIDEOS_FILE)[: self._rows_there()]
        self.ids = [line["id"] for line in videos]
        self.labels = [line["label"] for line in videos]
        failures = [_failure(**line) for line in self._lines(_FAILURES_FILE)]
        self.failures = {failure.video_id: failure for failure in failures}
        self._features: BinaryIO | None = None

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _check_identity(self) -> bool:
        path = self._path(_STORE_FILE)
        if not os.path.exists(path):
            files.write_json(path, {"identity": self._identity, "complete": False})
            return False
        stored = files.read_json(path)
        before = stored["identity"]
        differing = [
            f"{name}={before.get(name)} (now {self._identity.get(name)})"
            for name in sorted(before.keys() | self._identity.keys())
            if before.get(name) != self._identity.get(name)
        ]
        if differing:
            raise InputError(
                f"{self._directory} holds unfinished values with {', '.join(differing)}: remove it,"
                " or name another output."
            )
        return stored["complete"]

    def _rows_there(self) -> int:
        """Whole rows of the features: after a power failure these may be fewer than the lines."""
        path = self._path(_FEATURES_FILE)
        if not os.path.exists(path):
            return 0
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            head = file.tell()
            return (file.seek(0, os.SEEK_END) - head) // self._row_bytes

    def _lines(self, name: str) -> list[dict[str, Any]]:
        """The complete lines of a file; the rest is removed."""
        path = self._path(name)
        if not os.path.exists(path):
            return []
        with open(path, "rb+") as file:
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                file.truncate(len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def append(self, values: np.ndarray, label: int, record_id: str) -> None:
        """Adds a video.

        Args:
          values: (V, D) floats.
          label: class index, -1 when unlabelled.
          record_id: its id.

        Raises:
          InputError: a value that is not finite in the type of the store.
        """
        with np.errstate(over="ignore"):
            row = np.ascontiguousarray(values, self._dtype)
        if not np.all(np.isfinite(row)):
            raise InputError(
                f"The features of '{record_id}' are not finite as {self._dtype}: the weights are"
                " damaged, or are of a training that diverged."
            )
        if self._features is None:
            self._features = self._open_features()
        self._features.write(row.data)
        self._features.flush()
        self._write_line(_VIDEOS_FILE, {"id": record_id, "label": label})
        self.ids.append(record_id)
        self.labels.append(label)

    @property
    def num_skipped(self) -> int:
        """The number of videos that cannot be used."""
        return sum(not failure.kept for failure in self.failures.values())

    def note_failure(self, failure: Failure) -> None:
        """Notes what is wrong with a file."""
        line = dataclasses.asdict(failure)
        self._write_line(_FAILURES_FILE, {"id": line.pop("video_id")} | line)
        self.failures[failure.video_id] = failure

    def _write_line(self, name: str, values: Mapping[str, Any]) -> None:
        with open(self._path(name), "a") as file:
            file.write(json.dumps(values) + "\n")

    def _open_features(self) -> BinaryIO:
        """The file, with as many rows as there are videos; so are the lines from here on."""
        lines = self._lines(_VIDEOS_FILE)
        if len(lines) > len(self.ids):
            text = "".join(json.dumps(line) + "\n" for line in lines[: len(self.ids)])
            files.write_atomically(self._path(_VIDEOS_FILE), text)
        path = self._path(_FEATURES_FILE)
        if not os.path.exists(path):
            self._write_header(path, 0)
        file = open(path, "rb+")  # noqa: SIM115
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        end = file.tell() + len(self.labels) * self._row_bytes
        file.truncate(end)
        file.seek(end)
        return file

    @property
    def _row_bytes(self) -> int:
        return self._row[0] * self._row[1] * self._dtype.itemsize

    def _write_header(self, path: str, rows: int) -> None:
        """The header of an .npy file; NumPy reserves space in it for more rows."""
        with open(path, "rb+" if os.path.exists(path) else "wb") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (rows, *self._row),
            }
            np.lib.format.write_array_header_1_0(file, header)

    def close(self) -> None:
        """Closes the file of an unfinished store."""
        if self._features is not None:
            self._features.close()
            self._features = None

    def finish(self) -> None:
        """Marks the store as complete."""
        self.close()
        if not self.complete:
            self._open_features().close()
            self._write_header(self._path(_FEATURES_FILE), len(self.labels))
            files.write_json(
                self._path(_STORE_FILE), {"identity": self._identity, "complete": True}
            )
            self.complete = True

    def read(self) -> StoredFeatures:
        """The features, once the store is complete."""
        path = self._path(_FEATURES_FILE)
        expected = (len(self.labels), *self._row)
        try:
            values = np.load(path, mmap_mode="r") if self.labels else np.zeros(expected)
            if values.shape != expected:
                raise ValueError(f"shape {values.shape}, expected {expected}")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} is damaged ({error}): remove the directory {self._directory}."
            ) from None
        return StoredFeatures(
            values,
            np.array(self.labels, np.int64),
            list(self.ids),
            list(self.failures.values()),
        )


def _failure(
    id: str,  # noqa: A002
    reason: str,
    kept: bool,
    path: str = "",
    detail: str = "",
    frames_recovered: int = 0,
) -> Failure:
    """A line of `failures.jsonl`; earlier versions wrote the first three values only."""
    return Failure(id, path, reason, detail, frames_recovered, kept)


@contextlib.contextmanager
def open_store(
    directory: str, identity: Mapping[str, Any], row: tuple[int, int]
) -> Iterator[FeatureStore]:
    """Opens a store, or creates it, and locks it against other processes.

    Args:
      directory: local.
      identity: what decides the features, by name: JSON values. `dtype` is that of the file.
      row: V and D, views of a video and size of a feature.

    Raises:
      InputError: the store is of something else, another process writes it, or `directory` is
        remote.
    """
    if files.is_remote(directory):
        raise InputError(
            f"{directory} is remote: expected a local directory, since features are mapped into"
            " memory."
        )
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory} cannot be made: {error.strerror}.") from None
    with files.locked(os.path.join(directory, "lock"), f"writing to {directory}"):
        store = FeatureStore(directory, identity, row)
        try:
            yield store
        finally:
            store.close()
