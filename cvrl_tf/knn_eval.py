"""Nearest-neighbour evaluation of a pre-trained backbone; writes knn.json.

  python -m cvrl_tf.knn_eval --model_dir=runs/first \\
      --train_data='records/train-*' --test_data='records/test-*'
"""

import os

from absl import flags

from cvrl_tf import backbone_flags, commandline, files
from cvrl_tf.data import pipeline
from cvrl_tf.data.source import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import probes
from cvrl_tf.evaluation.features import extract_features
from cvrl_tf.training import run_directory

INIT = flags.DEFINE_enum(
    "init",
    "pretrained",
    ["pretrained", "random"],
    "Weights: of the checkpoint, or random ones of the same network, as a baseline.",
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
    "File for the result. When empty, in the directory of the run: knn.json, knn_random.json for"
    " --init=random, knn_ckpt-500.json for an --init_checkpoint of that name.",
)

GROUPS = {
    "Backbone": (backbone_flags.MODEL_DIR, backbone_flags.INIT_CHECKPOINT, INIT),
    "Data": (TRAIN_DATA, TEST_DATA, NUM_CLIPS, BATCH_SIZE),
    "Classifier": (NUM_NEIGHBORS, LOGISTIC_REGRESSION),
    "Output": (OUTPUT,),
}


def main() -> None:
    """Evaluates as the flags say."""
    checkpoint = backbone_flags.checkpoint_path()
    for holder in (TRAIN_DATA, TEST_DATA):
        if not holder.value:
            raise InputError(f"--{holder.name} is missing; --help shows an example.")
    directory, prefix = run_directory.locate(checkpoint)
    config = run_directory.load_config(directory)
    sources = {
        holder.name: find_source(holder.value, holder.name) for holder in (TRAIN_DATA, TEST_DATA)
    }
    for source in sources.values():
        pipeline.check_shards(source, config.clip)
    if INIT.value == "random":
        backbone, step, name = config.build_backbone(), 0, "knn_random.json"
    else:
        backbone, step = run_directory.load_backbone(checkpoint)
        name = f"knn_{os.path.basename(prefix)}.json" if checkpoint == prefix else "knn.json"
    train, test = (
        extract_features(
            backbone, source, config.clip, NUM_CLIPS.value, BATCH_SIZE.value, f"features of {data}"
        )
        for data, source in sources.items()
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
    output = OUTPUT.value or os.path.join(directory, name)
    files.write_json(output, result)
    figures = [f"{key}={result[key]:.4f}" for key in result if key.endswith("top1")]
    print(f"{INIT.value} (step {step}): {' '.join(figures)} of {len(test.labels)} videos")
    print(f"written to {output}")


def run() -> None:
    """The command line."""
    commandline.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
