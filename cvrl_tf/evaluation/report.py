"""The one result of every evaluation: its files, and the table that is printed.

`results.json` has the keys below. Beside it are `predictions.csv` (`predictions.Predictions`) and
`confusion.png`, the confusion matrix as a picture.

| key             | meaning                                                                        |
|-----------------|--------------------------------------------------------------------------------|
| `protocol`      | `knn`, `linear`, `finetune`, ...                                               |
| `version`       | of this package                                                                |
| `checkpoint`    | `path` (null where there is none), `step`, `fingerprint`, `kind`, and `run`,   |
|                 | the name of the directory of the run (null where there is none)                |
| `train`, `test` | `name` as given, `videos`, `classes`, `fingerprint` of the ids and labels      |
|                 | used, `ids_file` that chose them, empty for all                                |
| `overlap`       | test videos that are training videos too: `ids`, by their ids; `contents`, by  |
|                 | their frames, under other ids                                                  |
| `views`         | of a test video: `clips`, `crops`, `frames`, `stride`, `size`                  |
| `settings`      | what else decides the figures                                                  |
| `figures`       | by name: `value`, `low`, `high`                                                |
| `baselines`     | accuracies without any network: `chance`, one class drawn at random for each   |
|                 | video; `majority_class`, the most frequent training class for all videos       |
| `class_names`   | in the order of the labels                                                     |
| `confusion`     | counts of test videos: a row for each true class, a column for each predicted  |
| `interval`      | what `low` and `high` are: level, method, unit, resamples, seed                |
| `wall_seconds`  | of the whole evaluation                                                        |
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import cvrl_tf
from cvrl_tf import files, text
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import bootstrap, confusion
from cvrl_tf.evaluation.bootstrap import Estimate
from cvrl_tf.evaluation.overlap import Overlap
from cvrl_tf.evaluation.predictions import PREDICTIONS_FILE, Predictions
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.origin import COLOR_HISTOGRAM, Origin
from cvrl_tf.training.run_directory import EVALUATIONS, RunDirectory

_FIRST_KEYS = (
    *("protocol", "checkpoint", "train", "test", "overlap"),
    *("views", "settings", "figures", "baselines"),
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

    @property
    def run(self) -> str | None:
        """The name of the directory of the run; None for weights that do not come from one.

        `first` of `runs/first/checkpoints/ckpt-500`; and of the classifier of one of its
        evaluations `first/linear_fast_ckpt-500`.
        """
        if self.kind not in ("run", "momentum") or not self.path:
            return None
        path = self.path if files.is_remote(self.path) else os.path.abspath(self.path)
        parts = path.split("/")[:-2]
        return "/".join(parts[-3::2] if parts[-2:-1] == [EVALUATIONS] else parts[-1:])

    @property
    def title(self) -> str:
        """In a few words, for headings: `first, step 500`."""
        if self.kind == COLOR_HISTOGRAM:
            return "colour histogram"
        name = self.run or os.path.basename(self.path or "") or "random weights"
        kinds = {"inflated": "inflated ", "momentum": "momentum average of "}
        return f"{kinds.get(self.kind, '')}{name}" + (f", step {self.step}" if self.step else "")

    def __str__(self) -> str:
        return f"{self.title} ({self.path})" if self.path else self.title


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
        videos, classes = text.counted(self.videos, "video"), text.counted(self.classes, "class")
        return f"{self.name}{chosen}: {videos}, {classes}"


@dataclasses.dataclass(frozen=True)
class Result:
    """What an evaluation found, and of what.

    Attributes:
      protocol: name of the evaluation.
      checkpoint: the weights.
      test: the videos that the figures are of.
      views: of each test video.
      figures: by name, in the order of the table; the first is that of `predictions`.
      wall_seconds: of the whole evaluation.
      train: the labelled videos that were learnt from, or that are the neighbours.
      overlap: test videos that are training videos too.
      settings: what else decides the figures: JSON values by name.
      baselines: accuracies without any network, see `accuracy.baselines`.
      predictions: for the test videos; their labels are known.
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
    baselines: Mapping[str, float] = dataclasses.field(default_factory=dict)
    predictions: Predictions | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of `results.json`."""
        values = dataclasses.asdict(dataclasses.replace(self, predictions=None))
        del values["predictions"]
        values |= {"views": self.views.as_json(), "wall_seconds": round(self.wall_seconds, 2)}
        values["checkpoint"]["run"] = self.checkpoint.run
        if self.predictions:
            values["class_names"] = list(self.predictions.class_names)
            values["confusion"] = self.predictions.confusion.tolist()
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
      checkpoint: prefix of the checkpoint's files, or `Origin.name`; None for random weights.
      ids_files: lists of ids that choose the videos, empty where all are used.

    Returns:
      `MODEL_DIR/evaluations/PROTOCOL_CHECKPOINT`, such as `runs/first/evaluations/knn_ckpt-500`,
      `.../knn_random` for random weights, and `.../knn_ckpt-500_ids_1pct` for the list
      `ids_1pct.txt`.
    """
    lists = (os.path.splitext(os.path.basename(path))[0] for path in ids_files if path)
    name = os.path.basename(checkpoint) if checkpoint else "random"
    return os.path.join(RunDirectory(model_dir).evaluations, "_".join([protocol, name, *lists]))


@dataclasses.dataclass(frozen=True)
class Subject:
    """What an evaluation is of. A result does not replace that of another subject.

    Attributes:
      protocol: name of the evaluation.
      train: the videos to learn from.
      test: the videos to test on.
      views: of each test video.
      weights: fingerprint of the weights; empty where the evaluation trains them.
    """

    protocol: str
    train: Data
    test: Data
    views: EvaluationViews
    weights: str = ""

    def check(self, directory: str) -> None:
        """Checks before any work that the result can be written to a directory.

        Raises:
          InputError: it holds the result of another subject, or a damaged one.
        """
        path = os.path.join(directory, RESULTS_FILE)
        if not tf.io.gfile.exists(path):
            return
        try:
            with files.reading(path):
                differing = self._differences(files.read_json(path))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is damaged ({error}): remove it.") from None
        if differing:
            raise InputError(
                f"{path} holds another evaluation, with {', '.join(differing)}: name another"
                " directory with --output_dir, or move these results elsewhere."
            )

    def _differences(self, stored: Mapping[str, Any]) -> list[str]:
        """What differs from the content of a results.json, for messages."""
        differing = []
        if stored["protocol"] != self.protocol:
            differing.append(f"protocol={stored['protocol']} (now {self.protocol})")
        found = stored["checkpoint"]["fingerprint"]
        if self.weights and found != self.weights:
            differing.append(f"weights of fingerprint {found} (now {self.weights})")
        for name, data in ("train", self.train), ("test", self.test):
            before = stored[name] or {}
            if before.get("fingerprint") != data.fingerprint:
                was = f"{Data(**before)}, {before['fingerprint']}" if before else "none"
                differing.append(f"{name} data {was} (now {data}, {data.fingerprint})")
        views = EvaluationViews.from_json(stored["views"])
        if views != self.views:
            differing.append(f"views {views} (now {self.views})")
        return differing


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


def write(directory: str, result: Result) -> list[str]:
    """Writes the files of a result into a directory, which is made; each atomically.

    Returns:
      The paths of the files: `results.json`, and if the result has predictions, `predictions.csv`
      and `confusion.png`.
    """
    make_directory(directory)
    names = RESULTS_FILE, PREDICTIONS_FILE, confusion.CONFUSION_FILE
    path, table_path, picture = (os.path.join(directory, name) for name in names)
    written = [path]
    if result.predictions:
        files.write_atomically(table_path, result.predictions.as_csv())
        name, figure = next(iter(result.figures.items()))
        title = (
            f"{result.checkpoint.title}, {result.protocol}:\n{name} {figure.value:.3f} of"
            f" {result.test.videos} videos"
        )
        matrix, class_names = result.predictions.confusion, result.predictions.class_names
        confusion.write(picture, matrix, class_names, title)
        written += [table_path, picture]
    text = files.json_text(result.as_json())
    # A row of the confusion matrix is a line.
    rows = re.sub(r"\[\s+(\d[\d,\s]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    files.write_atomically(path, rows)
    return written


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
    """The figures, then the baselines, as rows of text: a header and one row for each."""
    rows = [["figure", "value", f"{100 * bootstrap.LEVEL:.0f} % interval"]]
    for name, figure in result.figures.items():
        rows.append([name, f"{figure.value:.4f}", f"{figure.low:.4f} to {figure.high:.4f}"])
    rows += [[name, f"{value:.4f}", ""] for name, value in result.baselines.items()]
    return rows
