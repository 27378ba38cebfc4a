"""Fine-tunes all layers of a backbone on labelled videos, and tests it; writes results.json.

  python -m cvrl_tf.finetune --model_dir=runs/first --output_dir=runs/first_ucf101 \\
      --train_data='ucf101/train-*' --test_data='ucf101/test-*'
  python -m cvrl_tf.finetune --backbone=r3d_50 --output_dir=runs/scratch_ucf101 \\
      --train_data='ucf101/train-*' --test_data='ucf101/test-*'

The second trains from scratch: the supervised baseline. The classifier is one layer on the pooled
features. Training sees one random clip of each video and epoch, cropped and flipped, with unchanged
colours; the test averages the softmax over 10 clips x 3 crops of each video. The same command
resumes a run that was stopped. flags/ has recipes: --flagfile=flags/finetune_ucf101.
"""

import dataclasses

from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import supervised
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.errors import InputError
from cvrl_tf.training.config import SupervisedConfig, Validation
from cvrl_tf.training.origin import COLOR_HISTOGRAM

FLAGS = {
    "Backbone": backbone_flags.FLAGS,
    "Data": data_flags.FLAGS,
    "Training clips": supervised.TRAINING_CLIPS,
    "Training": (
        *supervised.FINE_TUNING.flags,
        *flags_of(SupervisedConfig, "weight_decay", "dropout", "label_smoothing"),
        *flags_of(SupervisedConfig, "freeze", "classifier_rate"),
    ),
    "Validation": flags_of(Validation, *(field.name for field in dataclasses.fields(Validation))),
    "Test": supervised.TEST,
    "Devices": (*loop_flags.STRATEGY, *loop_flags.READING),
    "Fault tolerance": loop_flags.FAULT_TOLERANCE,
    "Output": (
        Flag(
            "output_dir",
            "",
            "Required. Directory for checkpoints, metrics, results.json, predictions.csv and"
            " confusion.png. A run of the same settings in it is resumed. Results of other data or"
            " views in it are not replaced. Other commands take it as --model_dir.",
        ),
        *loop_flags.OUTPUT,
    ),
}


def main(flags: Values) -> None:
    """Fine-tunes and tests as the flags say."""
    if not flags.output_dir:
        raise InputError("--output_dir is missing; --help shows an example.")
    evaluation = supervised.prepare(flags, supervised.FINE_TUNING, lambda origin: flags.output_dir)
    if evaluation.origin.kind == COLOR_HISTOGRAM:
        raise InputError(
            f"--backbone={COLOR_HISTOGRAM} has no weights to train: evaluate it with python -m"
            " cvrl_tf.linear_eval or cvrl_tf.knn_eval."
        )
    print(f"initial weights: {evaluation.origin.description}", flush=True)
    evaluation.train_and_test("finetune", evaluation.config(frozen=False), flags.output_dir)


COMMAND = Command(main, __doc__, FLAGS, defaults=supervised.DEFAULTS)

if __name__ == "__main__":
    COMMAND.run()
