"""The commands that a command prints for the user to continue with."""

import os
import shlex

from cvrl_tf import files
from cvrl_tf.data.lookup import find_source
from cvrl_tf.evaluation import class_names, knn


def after_pretraining(model_dir: str, train_data: str, eval_data: str) -> list[str]:
    """Commands that continue with a trained backbone, complete and quoted.

    Args:
      model_dir: of the run.
      train_data: of the run.
      eval_data: labelled videos to test on; where it is empty, those of the test or validation
        split beside the training split, if there is one with labels.
    """
    train = f"--train_data={shlex.quote(train_data)}"
    run = f"--model_dir={shlex.quote(model_dir)}"
    test_data = eval_data or _test_split_beside(train_data)
    if not test_data:
        output = shlex.quote(os.path.join(model_dir, "features.npz"))
        data = f"--data={shlex.quote(train_data)}"
        return [f"features: python -m cvrl_tf.extract_features {run} {data} --output={output}"]
    data = f"{train} --test_data={shlex.quote(test_data)}"
    number = len(find_source(train_data, "train_data").indexed())
    neighbors = f" --num_neighbors={min(number, 5)}" if number < max(knn.NUM_NEIGHBORS) else ""
    output = f"--output_dir={shlex.quote(model_dir.rstrip('/') + '_finetuned')}"
    return [
        f"evaluate: python -m cvrl_tf.knn_eval {run} {data}{neighbors}",
        f"fine-tune: python -m cvrl_tf.finetune {run} {output} {data}",
    ]


def _test_split_beside(train_data: str) -> str:
    """The labelled test shards beside training shards such as records/train-*, or nothing."""
    directory, name = os.path.split(train_data)
    if not name.startswith("train") or not class_names.find_file(train_data):
        return ""
    for split in ("test", "val", "validation"):
        pattern = os.path.join(directory, split + name.removeprefix("train"))
        if files.matching(pattern):
            return pattern
    return ""
