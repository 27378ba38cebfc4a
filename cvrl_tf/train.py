"""Contrastive pre-training of an R3D backbone on TFRecords of videos (CVRL, CVPR 2021).

  python -m cvrl_tf.train --train_data='records/train-*' --model_dir=runs/first

The same command resumes a run that was stopped. Without --train_data it is a demonstration, which
takes minutes on a CPU: it renders a small data set of videos, converts it to records, pre-trains on
them, and evaluates and exports the backbone.
"""

import os
import shlex
import sys

import keras

from cvrl_tf import files
from cvrl_tf.cli import augmentation as augmentation_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import sizes
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data import checks
from cvrl_tf.data.lookup import find_source
from cvrl_tf.demo import run as demo
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import class_names, classification, knn
from cvrl_tf.evaluation.classification import DataChoice
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import MAX_EPOCHS, PretrainConfig, fitting_batch_size
from cvrl_tf.training.pretrain import Evaluation, Execution, pretrain
from cvrl_tf.training.strategy import make_strategy

KNN_NEIGHBORS, KNN_CLIPS = 5, 3  # of the evaluation during training

FLAGS = {
    "Data": (
        Flag(
            "train_data",
            "",
            "Glob pattern of the TFRecord shards to train on; several are separated by commas. Or a"
            " split of a data set that TensorFlow Datasets has prepared below TFDS_DATA_DIR,"
            " tfds:NAME[/CONFIG][:VERSION]:SPLIT, such as tfds:ucf101/ucf101_1_256:train. When"
            " empty, the demonstration runs in --model_dir, with defaults of its own.",
        ),
    ),
    "Views": (
        *flags_of(PretrainConfig, "num_frames", "stride", "crop_size"),
        *flags_of(PretrainConfig, "clips_per_video", "interval", "interval_power"),
    ),
    "Augmentation": augmentation_flags.FLAGS,
    "Network": flags_of(PretrainConfig, "backbone", "width_multiplier", "init_checkpoint"),
    "Method": flags_of(
        PretrainConfig, "loss", "temperature", "momentum_encoder", "anneal_momentum"
    ),
    "Batch and length": sizes.derived(
        flags_of(PretrainConfig, "batch_size", "accumulate", "epochs", "steps"),
        batch_size=sizes.batch_size_text("--max_batch_size"),
    )
    + (
        Flag(
            "max_batch_size",
            PretrainConfig.batch_size,
            "The largest batch size that is derived from the number of videos.",
            lower=2,
        ),
    ),
    "Optimization": (
        *sizes.derived(
            flags_of(PretrainConfig, "optimizer", "learning_rate", "scale_learning_rate"),
            learning_rate=f"{PretrainConfig.learning_rate}, in proportion to a batch size below"
            f" {PretrainConfig.batch_size} that is derived",
        ),
        *flags_of(PretrainConfig, "warmup_epochs", "weight_decay", "seed"),
    ),
    "Devices, speed and memory": (
        loop_flags.STRATEGY,
        *flags_of(PretrainConfig, "precision"),
        *flags_of(Execution, "augment_on", "remat"),
    ),
    "Evaluation during training": (
        Flag(
            "eval_data",
            "",
            f"Labelled shards for a periodic {KNN_NEIGHBORS}-nearest-neighbour evaluation, logged"
            " as knn_top1. --train_data must be labelled too; each evaluation reads both in full.",
        ),
        Flag(
            "eval_every_epochs",
            10.0,
            "Epochs between these evaluations.",
            lower=0,
            upper=MAX_EPOCHS,
        ),
        data_flags.ALLOW_OVERLAP,
    ),
    "Fault tolerance": loop_flags.FAULT_TOLERANCE,
    "Output": (
        Flag(
            "model_dir",
            "",
            "Directory for checkpoints, metrics and pictures. A run of the same settings in it is"
            f" resumed. Required with --train_data; the demonstration uses {demo.DIRECTORY} by"
            " default.",
        ),
        *loop_flags.OUTPUT,
    ),
}


def main(flags: Values) -> None:
    """Pre-trains as the flags say."""
    strategy = make_strategy(flags.strategy)  # several workers need it before anything else
    demo_directory = None if flags.train_data else flags.model_dir or demo.DIRECTORY
    if demo_directory:
        demo.make_data(demo_directory)
        flags.model_dir = os.path.join(demo_directory, "model")  # type: ignore[assignment]
        for name, value in demo.settings(demo_directory).items():
            flags.set_default(name, value)
    elif not flags.model_dir:
        raise InputError(
            "--train_data is given without --model_dir: name a directory for checkpoints and"
            " metrics, such as --model_dir=runs/first."
        )
    else:
        checks.note_crops(flags.crop_size)
    _derive_sizes(flags, strategy.num_replicas_in_sync * flags.accumulate)
    config = flags.make(PretrainConfig, augmentation=augmentation_flags.chosen(flags))
    pretrain(
        config,
        flags.model_dir,
        loop_flags.options(flags),
        flags.make(Execution),
        _knn_evaluation(flags, config) if flags.eval_data else None,
        strategy,
    )
    if demo_directory:
        demo.evaluate_and_export(demo_directory, config, flags.model_dir)
        return
    print(f"checkpoints, metrics.jsonl, clip_pairs.png: {flags.model_dir}")
    print(f"watch:    tensorboard --logdir={shlex.quote(flags.model_dir)}")
    print("\n".join(next_commands(flags.model_dir, config.train_data, flags.eval_data)))


def next_commands(model_dir: str, train_data: str, eval_data: str) -> list[str]:
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
        f"classify: python -m cvrl_tf.finetune {run} {output} {data}",
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


def _derive_sizes(flags: Values, parts: int) -> None:
    """Batch size and learning rate where they are not given; `parts` are those of a batch."""
    sizes.follow_run(flags, flags.model_dir, sizes.BATCH)
    if flags.batch_size is None:
        number = len(find_source(flags.train_data, "train_data").indexed())
        fitting = fitting_batch_size(number, parts, flags.max_batch_size)
    else:
        fitting = flags.batch_size
    reference = 0 if flags.scale_learning_rate else PretrainConfig.batch_size
    sizes.follow_data(flags, fitting, PretrainConfig.learning_rate, reference)


def _knn_evaluation(flags: Values, config: PretrainConfig) -> Evaluation:
    """Measures a backbone by the nearest neighbours of --eval_data in --train_data."""
    train = DataChoice(config.train_data, "train_data", config.clip)
    test = DataChoice(flags.eval_data, "eval_data", config.clip, enlarge=True)
    task = classification.read_task(train, test, flags.allow_overlap)
    views = EvaluationViews(config.clip, KNN_CLIPS)

    def measure(backbone: keras.Model) -> dict[str, float]:
        try:
            found = knn.evaluate(backbone, task, views, [KNN_NEIGHBORS])
        except InputError as error:  # a record, which training skips: the run is worth more
            print(f"note: this evaluation is omitted. {error}", file=sys.stderr)
            return {}
        return {"knn_top1": found.figures[f"knn_{KNN_NEIGHBORS}_top1"].value}

    return Evaluation(measure, flags.eval_every_epochs)


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
