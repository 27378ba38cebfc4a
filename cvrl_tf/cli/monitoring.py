"""The evaluation during pre-training: its flags, and the measurement that they ask for."""

import keras

from cvrl_tf import progress
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification, knn
from cvrl_tf.evaluation.classification import DataChoice
from cvrl_tf.evaluation.features import extract_features
from cvrl_tf.evaluation.inference import OmittedRecords
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import MAX_EPOCHS, PretrainConfig
from cvrl_tf.training.pretrain import Evaluation

NEIGHBORS, CLIPS = 5, 3

FLAGS = (
    Flag(
        "eval_data",
        "",
        f"Labelled shards for a periodic {NEIGHBORS}-nearest-neighbour evaluation, logged"
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
)


def knn_evaluation(flags: Values, config: PretrainConfig) -> Evaluation | None:
    """Measures a backbone by the nearest neighbours of --eval_data in --train_data.

    Args:
      flags: of a command that has `FLAGS`.
      config: of the run.

    Returns:
      None without --eval_data.

    Raises:
      InputError: as `classification.read_task`.
    """
    if not flags.eval_data:
        return None
    train = DataChoice(config.train_data, "train_data", config.clip, config.train_ids)
    test = DataChoice(flags.eval_data, "eval_data", config.clip, enlarge=True)
    task = classification.read_task(train, test, flags.allow_overlap)
    views = EvaluationViews(config.clip, CLIPS)
    parts = [
        (data.videos, f"features of --{name}", OmittedRecords(data.videos, "the evaluation"))
        for name, data in (("train_data", task.train), ("eval_data", task.test))
    ]

    def measure(backbone: keras.Model) -> dict[str, float]:
        try:
            train_features, test_features = (
                extract_features(backbone, videos, views, description, omitted)
                for videos, description, omitted in parts
            )
            found = knn.classify(train_features, test_features, [NEIGHBORS])
        except InputError as error:  # too few records can be read: the run is worth more
            progress.note(f"note: this evaluation is omitted. {error}")
            return {}
        return {"knn_top1": found.figures[f"knn_{NEIGHBORS}_top1"].value}

    return Evaluation(measure, flags.eval_every_epochs)
