"""Fine-tunes all layers of a backbone on labelled videos, and tests it; writes results.json.

  python -m cvrl_tf.finetune --model_dir=runs/first --output_dir=runs/first_ucf101 \\
      --train_data='ucf101/train-*' --test_data='ucf101/test-*'
  python -m cvrl_tf.finetune --backbone=r3d_50 --output_dir=runs/scratch_ucf101 \\
      --train_data='ucf101/train-*' --test_data='ucf101/test-*'

The second trains from scratch: the supervised baseline. The classifier is one layer on the pooled
features. Training sees one random clip of each video and epoch, cropped and flipped, colours as
they are; the test averages the softmax over 10 clips x 3 crops of each video. The same command goes
on with a run that was stopped. flags/ has recipes: --flagfile=flags/finetune_ucf101.
"""

import time

from absl import flags

from cvrl_tf.cli import application
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import clip as clip_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import supervised as supervised_command
from cvrl_tf.cli.supervised import DEFAULTS
from cvrl_tf.errors import InputError
from cvrl_tf.training.origin import COLOR_HISTOGRAM
from cvrl_tf.training.strategy import make_strategy

WEIGHT_DECAY = flags.DEFINE_float(
    "weight_decay",
    DEFAULTS.weight_decay,
    "Factor of half the sum of the squared kernels, added to the loss.",
    lower_bound=0,
)
DROPOUT = flags.DEFINE_float(
    "dropout",
    DEFAULTS.dropout,
    "Share of the features before the classifier that is set to 0 in training.",
    lower_bound=0,
    upper_bound=0.99,
)
LABEL_SMOOTHING = flags.DEFINE_float(
    "label_smoothing",
    DEFAULTS.label_smoothing,
    "Share of the target that is spread over all classes.",
    lower_bound=0,
    upper_bound=0.99,
)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    "",
    "Directory for checkpoints, metrics, results.json and confusion.png. If it holds a run of the"
    " same settings, that run goes on. It can be another command's --model_dir.",
)

GROUPS = {
    "Backbone": backbone_flags.HOLDERS,
    "Data": data_flags.GROUP,
    "Training clips": clip_flags.GROUP,
    "Training": (*supervised_command.TRAINING, WEIGHT_DECAY, DROPOUT, LABEL_SMOOTHING),
    "Test": supervised_command.TEST_VIEWS,
    "Devices and trouble": (loop_flags.STRATEGY, *loop_flags.TROUBLE),
    "Output": (OUTPUT_DIR, *loop_flags.OUTPUT),
}


def main() -> None:
    """Fine-tunes and tests as the flags say."""
    start = time.monotonic()
    if not OUTPUT_DIR.value:
        raise InputError("--output_dir is missing; --help shows an example.")
    strategy = make_strategy(loop_flags.STRATEGY.value)
    task = supervised_command.read_task()
    backbone, found = supervised_command.load_backbone(strategy)
    if found.kind == COLOR_HISTOGRAM:
        raise InputError(
            f"--backbone={COLOR_HISTOGRAM} has no weights to train: evaluate it with python -m"
            " cvrl_tf.linear_eval or cvrl_tf.knn_eval."
        )
    config = supervised_command.configure(
        task,
        found,
        frozen=False,
        weight_decay=WEIGHT_DECAY.value,
        dropout=DROPOUT.value,
        label_smoothing=LABEL_SMOOTHING.value,
    )
    print(f"initial weights: {found.description}", flush=True)
    supervised_command.train_and_test(
        "finetune", config, backbone, found, task, strategy, OUTPUT_DIR.value, GROUPS, start
    )


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
