"""The description of an export: export.json, and the contents of the model card."""

import os
from typing import Any

import keras
import tensorflow as tf

import cvrl_tf
from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import report
from cvrl_tf.evaluation.classifier import Classifier
from cvrl_tf.models.published import PROJECT, PUBLISHED
from cvrl_tf.training import metrics
from cvrl_tf.training.config import SupervisedConfig, values_by_name
from cvrl_tf.training.origin import Origin
from cvrl_tf.training.run_directory import EVALUATIONS, METRICS_FILE, RunDirectory


def describe(
    backbone: keras.Model, origin: Origin, classifier: Classifier | None = None
) -> dict[str, Any]:
    """The content of export.json.

    Args:
      backbone: what is exported.
      origin: of its weights.
      classifier: with the same backbone, if it is exported too.
    """
    config = origin.config
    short_side = "crop_size"
    if classifier and classifier.views.clip.size != config.crop_size:
        short_side = f"{classifier.views.clip.size} pixels, as in the test"
    of_run = origin.model_dir is not None
    is_run = of_run and bool(origin.train_data)  # imported weights have no data
    imported_from = config.init_checkpoint if of_run else origin.checkpoint
    # Of other runs it is a directory, whatever its name.
    from_authors = not is_run or isinstance(config, SupervisedConfig) and config.init == "official"
    return {
        "architecture": {
            "name": config.backbone,
            "width_multiplier": config.width_multiplier,
            "parameters": backbone.count_params(),
            "feature_size": backbone.output_shape[-1],
            "pooling": "global average over time, height and width",
        },
        "input": {
            "layout": "clips, frames, height, width, RGB",
            "dtype": "float32",
            "range": [0.0, 1.0],
            "num_frames": config.num_frames,
            "stride": config.stride,
            "crop_size": config.crop_size,
            "resize": f"shorter side to {short_side}, bilinear, rounded down to uint8; centre crop",
        },
        "classifier": classifier
        and {
            "class_names": classifier.class_names,
            "views": classifier.views.as_json(),
        },
        "linear_evaluation": {"feature_normalization": "L2"},
        "provenance": {
            "kind": origin.kind,
            "checkpoint": origin.checkpoint,
            "step": origin.step,
            # Other weights have no training data here, and no flags that made them.
            "flags": values_by_name(config) if is_run else None,
            "imported_from": None if is_run else imported_from,
            "published": _published(imported_from) if from_authors else None,
            "versions": {
                "cvrl_tf": cvrl_tf.__version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
        },
    }


def _published(name: str | None) -> dict[str, Any] | None:
    """What the authors state of a published checkpoint; None for other weights."""
    found = PUBLISHED.get(name or "")
    if found is None:
        return None
    return {
        "name": name,
        "address": found.address,
        "project": PROJECT,
        "data": found.data,
        "epochs": found.epochs,
        "linear_top1_percent": dict(found.figures),
    }


def find_figures(origin: Origin) -> dict[str, dict[str, Any]]:
    """The figures of these weights in the directory of the run: test, evaluations and training.

    Evaluations at another step, or of the average instead of the trained weights, are excluded.

    Raises:
      InputError: a file that is damaged.
    """
    figures: dict[str, dict[str, Any]] = {}
    if origin.model_dir is None:
        return figures
    names = files.names_in(RunDirectory(origin.model_dir).evaluations)
    own = report.RESULTS_FILE  # of the test of a classifier
    for name in (own, *(os.path.join(EVALUATIONS, name, report.RESULTS_FILE) for name in names)):
        path = os.path.join(origin.model_dir, name)
        if not tf.io.gfile.exists(path):
            continue
        try:
            result = files.read_json(path)
            checkpoint, test = result["checkpoint"], result["test"]
            found = {"data": test["name"], "videos": test["videos"]}
            found |= {key: figure["value"] for key, figure in result["figures"].items()}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}): remove it.") from None
        of_head = name == own and getattr(origin.config, "frozen", False)  # step of its backbone
        same_kind = (checkpoint.get("kind") == "momentum") == (origin.kind == "momentum")
        same = checkpoint["step"] == origin.step and same_kind
        if checkpoint["path"] is None or same or of_head:
            figures[name] = found
    rows = [row for row in metrics.read_metrics(origin.model_dir) if row["step"] <= origin.step]
    if rows:
        figures[METRICS_FILE] = rows[-1]
    return figures
