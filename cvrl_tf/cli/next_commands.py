"""The commands that a command prints for the user to continue with."""

import os
import shlex

from cvrl_tf import files
from cvrl_tf.data.augment import Geometry
from cvrl_tf.data.lookup import find_source
from cvrl_tf.evaluation import class_names, knn
from cvrl_tf.training.config import PretrainConfig


def after_pretraining(model_dir: str, config: PretrainConfig, eval_data: str) -> list[str]:
    """Commands that continue with a trained backbone, complete and quoted.

    The validation split beside the training split, if there is one, validates the fine-tuning.
    Flips are those of the pre-training: where left and right matter, they do so in both.

    Args:
      model_dir: of the run.
      config: of the run.
      eval_data: labelled videos that were evaluated during training; empty for none.
    """
    train_data = config.train_data
    train = f"--train_data={shlex.quote(train_data)}"
    run = f"--model_dir={shlex.quote(model_dir)}"
    test_data, validation_data = _held_out(train_data, eval_data)
    if not test_data:
        output = shlex.quote(os.path.join(model_dir, "features.npz"))
        data = f"--data={shlex.quote(train_data)}"
        return [f"features: python -m cvrl_tf.extract_features {run} {data} --output={output}"]
    data = f"{train} --test_data={shlex.quote(test_data)}"
    number = len(find_source(train_data, "train_data").indexed())
    neighbors = f" --num_neighbors={min(number, 5)}" if number < max(knn.NUM_NEIGHBORS) else ""
    output = f"--output_dir={shlex.quote(model_dir.rstrip('/') + '_finetuned')}"
    if validation_data:
        output += f" --validation_data={shlex.quote(validation_data)}"
    flips = config.augmentation.flip_probability
    if flips != Geometry.flip_probability:
        output += f" --flip_probability={flips:g}"
    return [
        f"evaluate: python -m cvrl_tf.knn_eval {run} {data}{neighbors}",
        f"fine-tune: python -m cvrl_tf.finetune {run} {output} {data}",
    ]


def _held_out(train_data: str, eval_data: str) -> tuple[str, str]:
    """The videos to test on and those to validate on; each may be nothing."""
    validation = _split_beside(train_data, "validation") or _split_beside(train_data, "val")
    if eval_data and eval_data != validation:
        return eval_data, validation
    test = _split_beside(train_data, "test")
    return (test, validation) if test else (eval_data or validation, "")


def _split_beside(train_data: str, split: str) -> str:
    """The labelled shards of a split beside training shards such as records/train-*, or nothing."""
    directory, name = os.path.split(train_data)
    if not name.startswith("train") or not class_names.find_file(train_data):
        return ""
    pattern = os.path.join(directory, split + name.removeprefix("train"))
    return pattern if files.matching(pattern) else ""
