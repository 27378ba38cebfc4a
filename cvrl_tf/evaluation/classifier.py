"""Trained classifiers: in the directory of a fine-tuned run or of a linear evaluation."""

import dataclasses
import os
from typing import Any

import keras
import tensorflow as tf

from cvrl_tf import files, progress
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import class_names, report
from cvrl_tf.evaluation.extraction import Network
from cvrl_tf.evaluation.features import FrozenFeatures
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.models.heads import build_classifier
from cvrl_tf.training import checkpoints, run_config, weights
from cvrl_tf.training.config import NetworkConfig, SupervisedConfig
from cvrl_tf.training.origin import COLOR_HISTOGRAM, Origin
from cvrl_tf.training.run_directory import RunDirectory

DEFAULT_CLIPS, DEFAULT_CROPS = 10, 3  # of the test, source: paper section 4.2
_PARTS = ("backbone", "classifier")


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network that classifies clips.

    Attributes:
      backbone: from clips (n, T, H, W, 3) to features (n, D).
      head: from features (n, D) to logits (n, C).
      normalized: whether the head takes features of norm 1, as in the linear evaluation.
      class_names: of the C classes.
      views: that the run was tested with.
      origin: of the weights.
    """

    backbone: keras.Model
    head: keras.Model
    normalized: bool
    class_names: list[str]
    views: EvaluationViews
    origin: Origin

    def probabilities(self, clips: tf.Tensor) -> tf.Tensor:
        """The softmax over classes of clips (n, T, H, W, 3) in [0, 1]: (n, C) float32."""
        if self.normalized:
            features = FrozenFeatures(self.backbone)(clips)
        else:
            features = self.backbone(clips, training=False)
        return tf.nn.softmax(self.head(features))

    def network(self, views: EvaluationViews) -> Network:
        """For an extraction: the probabilities of each view."""
        return Network(
            self.probabilities,
            len(self.class_names),
            "predictions",
            [self.backbone, self.head],
            views,
        )

    @property
    def title(self) -> str:
        """In a few words, for headings: `finetuned, step 500`."""
        return report.Checkpoint(self.origin.checkpoint, self.origin.step, "").title


def check_directory(directory: str) -> None:
    """Checks before any work that `save` may write to a directory.

    Raises:
      InputError: it holds a run of training.
    """
    if not tf.io.gfile.exists(RunDirectory(directory).config):
        return
    result = tf.io.gfile.exists(os.path.join(directory, report.RESULTS_FILE))
    if not result or not isinstance(run_config.load_config(directory), SupervisedConfig):
        raise InputError(
            f"{directory} holds a run, whose weights would be replaced: name another directory"
            " with --output_dir."
        )


def save(
    directory: str, config: SupervisedConfig, backbone: keras.Model, head: keras.Model, step: int
) -> None:
    """Keeps a classifier that was not trained by a run, for `load`.

    Args:
      directory: of the result of the same classifier; checked with `check_directory`.
      config: of the classifier.
      backbone: see `Classifier`.
      head: see `Classifier`.
      step: number of training steps that the backbone has seen.
    """
    weights.save(directory, dict(zip(_PARTS, (backbone, head), strict=True)), step)
    run_config.write(directory, config)


def load(path: str) -> Classifier:
    """The classifier of a run.

    Its class names and views are those of its test, from `results.json`. If the run was not tested
    yet, the class names are those beside the training data, and the views are the clips of training
    at `DEFAULT_CLIPS` times and `DEFAULT_CROPS` places, with a note.

    Args:
      path: a directory of `finetune` or `linear_eval`, or a checkpoint in one; see
        `checkpoints.locate`.

    Raises:
      InputError: it holds no classifier, or what it holds cannot be loaded.
    """
    model_dir, prefix = checkpoints.locate(path)
    config = _config(path, model_dir)
    if prefix is None:
        raise InputError(
            f"{RunDirectory(model_dir).checkpoints} holds no checkpoint: the run has not saved one"
            " yet; continue it with the command that started it."
        )
    backbone = config.build_backbone()
    head = build_classifier(backbone.output_shape[-1], config.num_classes)
    step = tf.Variable(0, dtype=tf.int64)
    networks = dict(zip(_PARTS, (backbone, head), strict=True))
    checkpoints.restore(tf.train.Checkpoint(**networks, step=step), prefix)
    result = _result(model_dir)
    names = result.get("class_names") or class_names.name_all(
        class_names.read(config.train_data), config.num_classes
    )
    if "views" in result:
        views = EvaluationViews.from_json(result["views"])
    else:
        views = EvaluationViews(config.clip, DEFAULT_CLIPS, DEFAULT_CROPS)
        progress.note(
            f"note: {model_dir} has no {report.RESULTS_FILE} of a test: views are {views}."
        )
    origin = Origin(config, prefix, int(step.numpy()), model_dir)
    return Classifier(backbone, head, config.frozen, list(names), views, origin)


def is_classifier(config: NetworkConfig) -> bool:
    """Whether a run of this configuration has a classifier that `load` loads."""
    return isinstance(config, SupervisedConfig) and config.init != COLOR_HISTOGRAM


def _config(path: str, model_dir: str) -> SupervisedConfig:
    """The configuration of a classifier; raises InputError if there is none."""
    has_result = tf.io.gfile.exists(os.path.join(model_dir, report.RESULTS_FILE))
    if has_result and not tf.io.gfile.exists(RunDirectory(model_dir).config):
        raise InputError(
            f"{path} holds a result, but no classifier: expected a directory of python -m"
            " cvrl_tf.finetune or cvrl_tf.linear_eval. A nearest-neighbour evaluation has no"
            " classifier; a linear evaluation by an earlier version did not keep it: run it again."
        )
    config = run_config.load_config(model_dir)
    if isinstance(config, SupervisedConfig) and config.init == COLOR_HISTOGRAM:
        raise InputError(
            f"{path} is a classifier of colour histograms, a baseline for evaluations: give a run"
            " of a network."
        )
    if not isinstance(config, SupervisedConfig):
        raise InputError(
            f"{path} is not a classifier: its weights were not trained on labels. Give a directory"
            f" of python -m cvrl_tf.finetune or cvrl_tf.linear_eval{_found_in(model_dir)}."
        )
    return config


def _found_in(model_dir: str) -> str:
    """The classifiers among the evaluations of a run, for messages."""
    evaluations = RunDirectory(model_dir).evaluations
    found = [
        os.path.join(evaluations, name)
        for name in files.names_in(evaluations)
        if tf.io.gfile.exists(RunDirectory(os.path.join(evaluations, name)).config)
    ]
    return f", here {' or '.join(found)}" if found else ""


def _result(model_dir: str) -> dict[str, Any]:
    """The content of `results.json`; empty where there is none."""
    path = os.path.join(model_dir, report.RESULTS_FILE)
    if not tf.io.gfile.exists(path):
        return {}
    try:
        with files.reading(path):
            result = files.read_json(path)
        EvaluationViews.from_json(result["views"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({error}): remove it.") from None
    return result
