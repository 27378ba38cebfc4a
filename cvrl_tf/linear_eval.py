"""Linear evaluation: a classifier on the features of a frozen backbone; writes results.json.

  python -m cvrl_tf.linear_eval --model_dir=runs/first --mode=fast \\
      --train_data='records/train-*' --test_data='records/test-*'

--mode=sgd is the paper's protocol: the backbone sees one random clip of each video and epoch,
cropped and flipped, and one layer on its normalised features is trained with SGD. The fast modes
compute the features of a few clips of each video once, keep them on disk, and train on these:
fast_sgd in the same way, fast with a logistic regression, which needs no learning rate and suits up
to some 10,000 videos. All test on 10 clips x 3 crops of each video, with the mean of the softmax.
"""

import os
import time
from typing import Any

import keras
import numpy as np
from absl import flags

from cvrl_tf.cli import application
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import clip as clip_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import supervised as supervised_command
from cvrl_tf.data import subset
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification, linear, report
from cvrl_tf.evaluation.classification import Task
from cvrl_tf.evaluation.features import cached_features
from cvrl_tf.evaluation.report import Checkpoint
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import SupervisedConfig
from cvrl_tf.training.origin import Origin
from cvrl_tf.training.strategy import make_strategy

MODE = flags.DEFINE_enum(
    "mode",
    "sgd",
    ["sgd", "fast_sgd", "fast"],
    "The paper's protocol; its SGD on stored features; or a logistic regression on them.",
)
FEATURE_CLIPS = flags.DEFINE_integer(
    "feature_clips",
    3,
    "Fast modes: evenly spaced clips of each training video, in their centre crop, of the test's"
    " size.",
    lower_bound=1,
)
FEATURE_DIR = flags.DEFINE_string(
    "feature_dir",
    "",
    "Fast modes: local directory that keeps the features; those of other weights, data or clips are"
    " never taken for them. By default features/ in the directory of the run.",
)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    "",
    "Directory for results.json and confusion.png, and with --mode=sgd for checkpoints and metrics:"
    " a run of the same settings that it holds goes on. By default in the directory of the run,"
    " such as evaluations/linear_sgd_ckpt-500.",
)
for holder, value in (
    (supervised_command.BATCH_SIZE, 1024),
    (loop_flags.EPOCHS, 100.0),
    (supervised_command.LEARNING_RATE, 32.0),
    (loop_flags.WARMUP_EPOCHS, 5.0),
):
    flags.set_default(holder, value)

GROUPS = {
    "Backbone": backbone_flags.HOLDERS,
    "Data": data_flags.GROUP,
    "Protocol": (MODE, FEATURE_CLIPS, FEATURE_DIR),
    "Training clips": clip_flags.GROUP,
    "Training": supervised_command.TRAINING,
    "Test": supervised_command.TEST_VIEWS,
    "Devices and trouble": (loop_flags.STRATEGY, *loop_flags.TROUBLE),
    "Output": (OUTPUT_DIR, *loop_flags.OUTPUT),
}


def _output_dir(protocol: str, found: Origin) -> str:
    """What the user named, or a directory in that of the run."""
    if OUTPUT_DIR.value:
        return OUTPUT_DIR.value
    if not found.model_dir:
        raise InputError(
            f"--output_dir is missing: what is evaluated ({found.description}) is of no run in"
            " whose directory the result could go."
        )
    return report.default_directory(found.model_dir, protocol, found.checkpoint)


def main() -> None:
    """Evaluates as the flags say."""
    start = time.monotonic()
    strategy = make_strategy(loop_flags.STRATEGY.value)
    task = supervised_command.read_task()
    backbone, found = supervised_command.load_backbone(strategy)
    config = supervised_command.configure(task, found, frozen=True)
    output_dir = _output_dir(protocol := f"linear_{MODE.value}", found)
    print(f"backbone: {found.description}", flush=True)
    if MODE.value == "sgd":
        supervised_command.train_and_test(
            protocol, config, backbone, found, task, strategy, output_dir, GROUPS, start
        )
        return
    report.make_directory(output_dir)
    views = supervised_command.test_views()
    directory = found.model_dir or output_dir
    probabilities, settings = _classify_stored(task, config, backbone, views, directory)
    result = classification.describe(
        task,
        probabilities,
        Checkpoint.of(backbone, found),
        views,
        protocol=protocol,
        settings=settings,
        wall_seconds=time.monotonic() - start,
    )
    written = classification.write_result(output_dir, result, task, probabilities.argmax(axis=1))
    report.print_result(result, written)


def _classify_stored(
    task: Task,
    config: SupervisedConfig,
    backbone: keras.Model,
    views: EvaluationViews,
    directory: str,
) -> tuple[np.ndarray, dict[str, Any]]:
    """The class probabilities of the test videos by a fast mode, and what decides them."""
    feature_dir = FEATURE_DIR.value or os.path.join(directory, "features")
    # Of all training videos, for the next subset of them.
    train_views = EvaluationViews(views.clip, FEATURE_CLIPS.value)
    train = cached_features(
        backbone, task.train.videos.source.indexed(), train_views, feature_dir, "training features"
    )
    test = cached_features(backbone, task.test.videos, views, feature_dir, "test features")
    values, labels = train.values, task.train.labels.labels
    if config.train_ids:
        values = values[subset.positions(task.train.videos.name, train.ids, task.train.labels.ids)]
    if MODE.value == "fast":
        predict = linear.fit_logistic_regression(values, labels)
        settings = {"init": config.init}
    else:
        predict = linear.fit_sgd(config, values, labels)
        settings = supervised_command.settings(config)
    settings |= {"feature_clips": FEATURE_CLIPS.value}
    return linear.predict_in_chunks(predict, test.values), settings


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
