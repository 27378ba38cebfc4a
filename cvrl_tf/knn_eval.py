"""Nearest-neighbour evaluation of a pre-trained backbone; writes knn.json.

  python -m cvrl_tf.knn_eval --model_dir=runs/first \\
      --train_data='records/train-*' --test_data='records/test-*'
"""

import os

from absl import flags

from cvrl_tf import backbone_flags, commandline, files
from cvrl_tf.data import pipeline
from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.data.source import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import probes
from cvrl_tf.evaluation.features import extract_features

TRAIN_DATA = flags.DEFINE_string(
    "train_data",
    "",
    "The labelled TFRecord shards that hold the neighbours: a glob pattern or tfds:NAME:SPLIT, as"
    " in training.",
)
TEST_DATA = flags.DEFINE_string(
    "test_data", "", "The labelled TFRecord shards to classify: the same."
)
NUM_FRAMES = flags.DEFINE_integer(
    "num_frames", None, "Frames of a clip; as in pre-training when not given.", lower_bound=1
)
STRIDE = flags.DEFINE_integer(
    "stride", None, "Frames of the video from one frame of a clip to the next; the same.", 1
)
CROP_SIZE = flags.DEFINE_integer(
    "crop_size", None, "Height and width of a clip in pixels; the same.", lower_bound=32
)
NUM_CLIPS = flags.DEFINE_integer(
    "num_clips",
    3,
    "Evenly spaced clips of each video; a video's feature is their mean.",
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
    "File for the result. When empty, in the directory of the run: knn.json, or knn_ckpt-500.json"
    " for an --init_checkpoint of that name. What is of no run needs it.",
)

GROUPS = {
    "Backbone": backbone_flags.HOLDERS,
    "Data": (TRAIN_DATA, TEST_DATA, BATCH_SIZE),
    "Views": (NUM_FRAMES, STRIDE, CROP_SIZE, NUM_CLIPS),
    "Classifier": (NUM_NEIGHBORS, LOGISTIC_REGRESSION),
    "Output": (OUTPUT,),
}


def main() -> None:
    """Evaluates as the flags say."""
    for holder in (TRAIN_DATA, TEST_DATA):
        if not holder.value:
            raise InputError(f"--{holder.name} is missing; --help shows an example.")
    backbone, origin = backbone_flags.load()
    output = OUTPUT.value
    if not output and origin.model_dir is None:
        raise InputError(
            f"--output is missing: {origin.description} is of no run whose directory the result"
            " could go to."
        )
    if not output:
        name = os.path.basename(backbone_flags.INIT_CHECKPOINT.value).removesuffix(".index")
        output = os.path.join(origin.model_dir, f"knn_{name}.json" if name else "knn.json")
    clip = origin.config.clip
    clip = ClipSpec(
        NUM_FRAMES.value or clip.frames,
        STRIDE.value or clip.stride,
        CROP_SIZE.value or clip.size,
    )
    sources = {
        holder.name: find_source(holder.value, holder.name) for holder in (TRAIN_DATA, TEST_DATA)
    }
    for source in sources.values():
        pipeline.check_shards(source, clip)
    train, test = (
        extract_features(
            backbone, source, clip, NUM_CLIPS.value, BATCH_SIZE.value, f"features of {data}"
        )
        for data, source in sources.items()
    )
    probes.check_labels(train, test)
    result = {
        "init": origin.kind,
        "step": origin.step,
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
    files.write_json(output, result)
    figures = [f"{key}={result[key]:.4f}" for key in result if key.endswith("top1")]
    print(f"{origin.description}: {' '.join(figures)} of {len(test.labels)} videos")
    print(f"written to {output}")


def run() -> None:
    """The command line."""
    commandline.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
