"""The one result of every evaluation: `results.json`, and the table that is printed.

| key             | meaning                                                                        |
|-----------------|--------------------------------------------------------------------------------|
| `protocol`      | `knn`, `linear`, `finetune`, ...                                               |
| `version`       | of this package                                                                |
| `checkpoint`    | `path` (null where there is none), `step`, `fingerprint`, `kind`               |
| `train`, `test` | `name` as given, `videos`, `classes`, `fingerprint` of the ids and labels      |
|                 | used, `ids_file` that chose them, empty for all                                |
| `overlap`       | test videos that are training videos too: `ids`, by their ids; `contents`, by  |
|                 | their frames, under other ids                                                  |
| `views`         | of a test video: `clips`, `crops`, `frames`, `stride`, `size`                  |
| `settings`      | what else decides the figures                                                  |
| `figures`       | by name: `value`, `low`, `high`                                                |
| `interval`      | what `low` and `high` are: level, method, unit, resamples, seed                |
| `wall_seconds`  | of the whole evaluation                                                        |
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import cvrl_tf
from cvrl_tf import files, text
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import bootstrap
from cvrl_tf.evaluation.bootstrap import Estimate
from cvrl_tf.evaluation.overlap import Overlap
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.origin import COLOR_HISTOGRAM, Origin
from cvrl_tf.training.run_directory import RunDirectory

_FIRST_KEYS = (
    *("protocol", "checkpoint", "train", "test", "overlap"),
    *("views", "settings", "figures"),
)
RESULTS_FILE = "results.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The weights that were evaluated.

    Attributes:
      path: of the weights; None for what has seen no data.
      step: training steps that the weights have seen.
      fingerprint: `fingerprint_weights`.
      kind: where they come from: see `training.origin.Origin`.
    """

    path: str | None
    step: int
    fingerprint: str
    kind: str = "run"

    @classmethod
    def of(cls, backbone: keras.Model, origin: Origin) -> "Checkpoint":
        """Of a backbone and where it comes from."""
        weights = fingerprint_weights(backbone)
        return cls(origin.checkpoint or None, origin.step, weights, origin.kind)

    def __str__(self) -> str:
        if self.kind == COLOR_HISTOGRAM:
            return "colour histogram"
        inflated = "inflated " if self.kind == "inflated" else ""
        return f"{inflated}{self.path or 'random weights'} (step {self.step})"


@dataclasses.dataclass(frozen=True)
class Data:
    """Videos that were used.

    Attributes:
      name: what the user called them.
      videos: how many.
      classes: how many different labels they have.
      fingerprint: of their ids and labels, whatever their order and files.
      ids_file: the list of ids that chose them among more; empty where they are all.
    """

    name: str
    videos: int
    classes: int
    fingerprint: str
    ids_file: str = ""

    def __str__(self) -> str:
        chosen = f" ({self.ids_file})" if self.ids_file else ""
        return f"{self.name}{chosen}: {self.videos} videos, {self.classes} classes"


@dataclasses.dataclass(frozen=True)
class Result:
    """What an evaluation found, and of what.

    Attributes:
      protocol: name of the evaluation.
      checkpoint: the weights.
      test: the videos that the figures are of.
      views: of each test video.
      figures: by name, in the order of the table.
      wall_seconds: of the whole evaluation.
      train: the labelled videos that were learnt from, or that are the neighbours.
      overlap: test videos that are training videos too.
      settings: what else decides the figures: JSON values by name.
    """

    protocol: str
    checkpoint: Checkpoint
    test: Data
    views: EvaluationViews
    figures: Mapping[str, Estimate]
    wall_seconds: float
    train: Data | None = None
    overlap: Overlap = Overlap()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The content of `results.json`."""
        values = dataclasses.asdict(self)
        values |= {"views": self.views.as_json(), "wall_seconds": round(self.wall_seconds, 2)}
        first = {name: values.pop(name) for name in _FIRST_KEYS}
        return {
            "protocol": first.pop("protocol"),
            "version": cvrl_tf.__version__,
            **first,
            "interval": {
                "level": bootstrap.LEVEL,
                "method": "bootstrap, percentile",
                "unit": "test video",
                "resamples": bootstrap.RESAMPLES,
                "seed": bootstrap.SEED,
            },
            **values,
        }


def describe_data(name: str, ids: Sequence[str], labels: np.ndarray, ids_file: str = "") -> Data:
    """Describes the videos that were used.

    Args:
      name: what the user called them.
      ids: N record ids.
      labels: (N,) integers, class indices.
      ids_file: the list of ids that chose them; empty where they are all.
    """
    pairs = sorted(f"{record_id}\t{label}\n" for record_id, label in zip(ids, labels, strict=True))
    digest = hashlib.sha256("".join(pairs).encode())
    return Data(name, len(pairs), len(np.unique(labels)), digest.hexdigest()[:16], ids_file)


def fingerprint_weights(*models: keras.Model) -> str:
    """16 hexadecimal digits that identify the weights of networks by value and order."""
    digest = hashlib.sha256()
    for model in models:
        for weight in model.weights:
            value = np.ascontiguousarray(weight.numpy())
            digest.update(f"{value.dtype} {value.shape} ".encode())
            digest.update(value.data)
    return digest.hexdigest()[:16]


def default_directory(
    model_dir: str, protocol: str, checkpoint: str | None, ids_files: Sequence[str] = ()
) -> str:
    """Where the result of an evaluation goes by default: one place for each of these arguments.

    Args:
      model_dir: of the run whose weights are evaluated.
      protocol: name of the evaluation.
      checkpoint: prefix of the checkpoint's files; None for random weights.
      ids_files: lists of ids that choose the videos, empty where all are used.

    Returns:
      `MODEL_DIR/evaluations/PROTOCOL_CHECKPOINT`, such as `runs/first/evaluations/knn_ckpt-500`,
      `.../knn_random` for random weights, and `.../knn_ckpt-500_ids_1pct` for the list
      `ids_1pct.txt`.
    """
    lists = (os.path.splitext(os.path.basename(path))[0] for path in ids_files if path)
    name = os.path.basename(checkpoint) if checkpoint else "random"
    return os.path.join(RunDirectory(model_dir).evaluations, "_".join([protocol, name, *lists]))


def make_directory(directory: str) -> None:
    """Makes the directory of a result, before the work on it.

    Raises:
      InputError: it cannot be made or written to.
    """
    try:
        tf.io.gfile.makedirs(directory)
    except tf.errors.OpError as error:
        raise InputError(
            f"The directory {directory} for the result cannot be made ({error.message}): name"
            " another."
        ) from None
    path = os.path.join(directory, RESULTS_FILE)
    files.check_writable(path, path)


def write(directory: str, result: Result) -> str:
    """Writes `results.json` into a directory, which is made; atomically. Returns its path."""
    make_directory(directory)
    path = os.path.join(directory, RESULTS_FILE)
    files.write_json(path, result.as_json())
    return path


def table(result: Result) -> str:
    """What was evaluated, in a few lines, and the figures with their intervals in columns."""
    lines = [f"{result.protocol}: {result.checkpoint}"]
    for name, data in ("train", result.train), ("test", result.test):
        if data:
            lines.append(f"{name:<5}  {data}")
    if result.overlap != Overlap():
        lines.append(f"       of these, training videos: {result.overlap}")
    lines.append(f"views  {result.views}")
    return "\n".join([*lines, "", text.table(figure_rows(result))])


def print_result(result: Result, written: Sequence[str]) -> None:
    """Prints the table of a result, and the paths of the files that were written."""
    print(table(result))
    print(f"\nwritten: {', '.join(written)}")


def figure_rows(result: Result) -> list[list[str]]:
    """The figures as rows of text: a header and one row for each."""
    rows = [["figure", "value", f"{100 * bootstrap.LEVEL:.0f} % interval"]]
    for name, figure in result.figures.items():
        rows.append([name, f"{figure.value:.4f}", f"{figure.low:.4f} to {figure.high:.4f}"])
    return rows
