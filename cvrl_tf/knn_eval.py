"""Nearest-neighbour evaluation of a pre-trained backbone; writes knn.json.

  python -m cvrl_tf.knn_eval --model_dir=runs/first \\
      --train_data='records/train-*' --test_data='records/test-*'
"""

import os

from absl import flags

from cvrl_tf import commandline, files
from cvrl_tf.data import pipeline
from cvrl_tf.data.source import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import probes
from cvrl_tf.evaluation.features import extract_features
from cvrl_tf.training import run_directory

MODEL_DIR = flags.DEFINE_string(
    "model_dir", "", "Directory of a run of cvrl_tf.train; its newest checkpoint is evaluated."
)
INIT = flags.DEFINE_enum(
    "init",
    "pretrained",
    ["pretrained", "random"],
    "Weights: of the newest checkpoint, or the run's initial ones, as a baseline.",
)
TRAIN_DATA = flags.DEFINE_string(
    "train_data",
    "",
    "The labelled TFRecord shards that hold the neighbours: a glob pattern or tfds:NAME:SPLIT, as"
    " in training.",
)
TEST_DATA = flags.DEFINE_string(
    "test_data", "", "The labelled TFRecord shards to classify: the same."
)
NUM_CLIPS = flags.DEFINE_integer(
    "num_clips",
    3,
    "Evenly spaced clips of each video, of the length, stride and size of pre-training; a video's"
    " feature is their mean.",
    lower_bound=1,
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Videos at a time.", lower_bound=1)
NUM_NEIGHBORS = flags.DEFINE_integer(
    "num_neighbors", probes.NEIGHBORS, "Training videos that vote.", lower_bound=1
)
LOGISTIC_REGRESSION = flags.DEFINE_bool(
    "logistic_regression", False, "Also fit a logistic regression on the same features."
)
OUTPUT = flags.DEFINE_string(
    "output",
    "",
    "File for the result; knn.json in the model directory (knn_random.json for --init=random) when"
    " empty.",
)

GROUPS = {
    "Backbone": (MODEL_DIR, INIT),
    "Data": (TRAIN_DATA, TEST_DATA, NUM_CLIPS, BATCH_SIZE),
    "Classifier": (NUM_NEIGHBORS, LOGISTIC_REGRESSION),
    "Output": (OUTPUT,),
}


def main() -> None:
    """Evaluates as the flags say."""
    for holder in (MODEL_DIR, TRAIN_DATA, TEST_DATA):
        if not holder.value:
            raise InputError(f"--{holder.name} is missing; --help shows an example.")
    config = run_directory.load_config(MODEL_DIR.value)
    sources = {
        holder.name: find_source(holder.value, holder.name) for holder in (TRAIN_DATA, TEST_DATA)
    }
    for source in sources.values():
        pipeline.check_shards(source, config.clip)
    backbone, step = run_directory.load_backbone(MODEL_DIR.value, INIT.value == "pretrained")
    train, test = (
        extract_features(
            backbone, source, config.clip, NUM_CLIPS.value, BATCH_SIZE.value, f"features of {name}"
        )
        for name, source in sources.items()
    )
    probes.check_labels(train, test)
    result = {
        "init": INIT.value,
        "step": step,
        "top1": probes.top1(probes.knn_predict(train, test, NUM_NEIGHBORS.value), test.labels),
        "num_neighbors": NUM_NEIGHBORS.value,
        "num_clips": NUM_CLIPS.value,
        "train_videos": len(train.labels),
        "test_videos": len(test.labels),
        "train_data": TRAIN_DATA.value,
        "test_data": TEST_DATA.value,
    }
    if LOGISTIC_REGRESSION.value:
        predictions = probes.logistic_regression_predict(train, test)
        result["logistic_regression_top1"] = probes.top1(predictions, test.labels)
    name = "knn.json" if INIT.value == "pretrained" else "knn_random.json"
    output = OUTPUT.value or os.path.join(MODEL_DIR.value, name)
    files.write_json(output, result)
    figures = [f"{key}={result[key]:.4f}" for key in result if key.endswith("top1")]
    print(f"{INIT.value} (step {step}): {' '.join(figures)} of {len(test.labels)} videos")
    print(f"written to {output}")


def run() -> None:
    """The command line."""
    commandline.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
