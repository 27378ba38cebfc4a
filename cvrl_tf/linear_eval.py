"""Linear evaluation: a classifier on the features of a frozen backbone; writes results.json.

  python -m cvrl_tf.linear_eval --model_dir=runs/first --mode=fast \\
      --train_data='records/train-*' --test_data='records/test-*'

--mode=sgd is the paper's protocol: the backbone sees one random clip of each video and epoch,
cropped and flipped, and one layer on its normalised features is trained with SGD. The fast modes
compute the features of a few clips of each video once, keep them on disk, and train on these:
fast_sgd with SGD, fast with a logistic regression, which needs no learning rate and suits up to
about 10,000 videos. All modes test with the mean softmax of 10 clips x 3 crops of each video, and
keep the classifier: python -m cvrl_tf.predict --model_dir=OUTPUT_DIR classifies other videos.
"""

import keras

from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import supervised
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.data import subset
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classifier, linear, report
from cvrl_tf.evaluation.feature_store import StoredFeatures
from cvrl_tf.evaluation.features import cached_features
from cvrl_tf.evaluation.report import Checkpoint
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import SupervisedConfig
from cvrl_tf.training.origin import COLOR_HISTOGRAM, Origin
from cvrl_tf.training.run_directory import RunDirectory

FLAGS = {
    "Backbone": backbone_flags.FLAGS,
    "Data": data_flags.FLAGS,
    "Protocol": (
        Flag(
            "mode",
            "sgd",
            "sgd: the paper's protocol. fast_sgd: its SGD on stored features. fast: a logistic"
            " regression on stored features.",
            choices=("sgd", "fast_sgd", "fast"),
        ),
        Flag(
            "feature_clips",
            3,
            "Fast modes: number of evenly spaced clips per training video, centre crops of the size"
            " of the test.",
            lower=1,
        ),
        Flag(
            "feature_dir",
            "",
            "Fast modes: local directory that keeps the features. Features of other weights, data"
            " or clips in it are never used. By default features/ in the directory of the run.",
        ),
    ),
    "Training clips": supervised.TRAINING_CLIPS,
    "Training": supervised.LINEAR.flags,
    "Test": supervised.TEST,
    "Devices": (*loop_flags.STRATEGY, *loop_flags.READING),
    "Fault tolerance": loop_flags.FAULT_TOLERANCE,
    "Output": (
        Flag(
            "output_dir",
            "",
            "Directory for results.json, predictions.csv and confusion.png, and with --mode=sgd for"
            " checkpoints and metrics; a run of the same settings in it is resumed. Results of"
            " other data, views or weights in it are not replaced. By default in the directory of"
            " the run, such as evaluations/linear_sgd_ckpt-500. Required when the backbone does not"
            " come from a run directory.",
        ),
        *loop_flags.OUTPUT,
    ),
}
DEFAULTS = {"epochs": 100.0, **supervised.DEFAULTS}


def _output_dir(flags: Values, protocol: str, origin: Origin) -> str:
    """What the user named, or a directory in that of the run."""
    if flags.output_dir:
        return flags.output_dir
    if not origin.model_dir:
        raise InputError(
            "--output_dir is missing. It is required because the backbone does not come from a run"
            f" directory: {origin.description}."
        )
    ids_files = flags.train_ids, flags.test_ids
    return report.default_directory(origin.model_dir, protocol, origin.name, ids_files)


def main(flags: Values) -> None:
    """Evaluates as the flags say."""
    protocol = f"linear_{flags.mode}"
    evaluation = supervised.prepare(
        flags, supervised.LINEAR, lambda origin: _output_dir(flags, protocol, origin)
    )
    config = evaluation.config(frozen=True)
    output_dir = _output_dir(flags, protocol, evaluation.origin)
    print(f"backbone: {evaluation.origin.description}", flush=True)
    if flags.mode == "sgd":
        evaluation.train_and_test(protocol, config, output_dir)
        return
    if flags.mode == "fast_sgd":
        config.check_schedule(len(evaluation.task.train.videos))
    checkpoint = Checkpoint.of(evaluation.backbone, evaluation.origin)
    views = evaluation.test_views
    evaluation.task.subject(protocol, views, checkpoint.fingerprint).check(output_dir)
    classifier.check_directory(output_dir)
    report.make_directory(output_dir)
    directory = RunDirectory(evaluation.origin.model_dir or output_dir)
    feature_dir = flags.feature_dir or directory.features
    head, test = _fit_stored(evaluation, config, feature_dir)
    settings = {"init": config.init} if flags.mode == "fast" else supervised.settings(config)
    settings |= {"feature_clips": flags.feature_clips}
    probabilities = linear.predict(head, test.values)
    evaluation.write(protocol, probabilities, checkpoint, settings, output_dir)
    if evaluation.origin.kind != COLOR_HISTOGRAM:
        classifier.save(output_dir, config, evaluation.backbone, head, evaluation.origin.step)


def _fit_stored(
    evaluation: supervised.Evaluation, config: SupervisedConfig, feature_dir: str
) -> tuple[keras.Model, StoredFeatures]:
    """A classifier on features by a fast mode, and the features of the test videos."""
    flags, task, backbone = evaluation.flags, evaluation.task, evaluation.backbone
    views = evaluation.test_views
    # Of all training videos, for the next subset of them.
    train_views = EvaluationViews(views.clip, flags.feature_clips)
    train = cached_features(
        backbone, task.train.videos.source.indexed(), train_views, feature_dir, "training features"
    )
    test = cached_features(backbone, task.test.videos, views, feature_dir, "test features")
    values, labels = train.values, task.train.labels.labels
    if config.train_ids:
        values = values[subset.positions(task.train.videos.name, train.ids, task.train.labels.ids)]
    if flags.mode == "fast":
        return linear.fit_logistic_regression(values, labels), test
    return linear.fit_sgd(config, values, labels), test


COMMAND = Command(main, __doc__, FLAGS, defaults=DEFAULTS)

if __name__ == "__main__":
    COMMAND.run()
