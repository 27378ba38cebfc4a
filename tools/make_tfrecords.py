"""Converts videos to TFRecord shards of JPEG frames, for all other entry points to read.

Your own videos, one folder for each class:
  python -m tools.make_tfrecords --dataset=folder --video_dir=videos/train --output_dir=records

UCF-101, as its authors distribute it, training and test split:
  python -m tools.make_tfrecords --dataset=ucf101 --video_dir=UCF-101 \\
      --annotation_dir=ucfTrainTestlist --split_number=1 --output_dir=ucf101_records
"""

import contextlib
import shlex

from absl import flags

from cvrl_tf import commandline
from cvrl_tf.conversion import catalogs, frames, shards, workers
from cvrl_tf.errors import InputError

DATASET = flags.DEFINE_enum(
    "dataset",
    None,
    ["folder", "ucf101"],
    "How the videos are laid out: one folder for each class, or UCF-101 with its lists.",
)
VIDEO_DIR = flags.DEFINE_string("video_dir", None, "Directory of the videos.")
ANNOTATION_DIR = flags.DEFINE_string(
    "annotation_dir",
    None,
    "UCF-101's folder ucfTrainTestlist, with classInd.txt, trainlist01.txt and testlist01.txt.",
)
SPLIT_NUMBER = flags.DEFINE_integer(
    "split_number", 1, "Which of UCF-101's three splits to convert.", lower_bound=1
)
SPLIT = flags.DEFINE_string(
    "split",
    "train",
    "Name of the split that a folder is converted to. Run once for each split, with the same"
    " --output_dir and with the same class folders.",
)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Directory for the shards, labels.txt, dataset_info.json and failures.csv, which lists the"
    " videos that could not be converted (kept=no) or are damaged (kept=yes). The same command goes"
    " on with a directory that a stopped run left.",
)
NUM_SHARDS = flags.DEFINE_integer(
    "num_shards",
    0,
    "Shards of each split; 0 makes shards of 100 to 200 MB, estimated from a sample of the videos.",
    lower_bound=0,
)
SHORT_SIDE = flags.DEFINE_integer(
    "short_side",
    frames.SHORT_SIDE,
    "Pixels of the shorter side of the frames. Smaller videos are not enlarged.",
    lower_bound=1,
)
QUALITY = flags.DEFINE_integer(
    "quality", frames.QUALITY, "JPEG quality, 1 to 100.", lower_bound=1, upper_bound=100
)
FPS = flags.DEFINE_float(
    "fps",
    None,
    "Thin out to this many frames per second, by their timestamps; frames are never repeated."
    " Without it all frames are kept.",
)
MAX_SECONDS = flags.DEFINE_float(
    "max_seconds", None, "Keep only so much of the start of each video. Without it all is kept."
)
MIN_FRAMES = flags.DEFINE_integer(
    "min_frames",
    1,
    "Leave out videos that give fewer frames, because they are short or damaged.",
    lower_bound=1,
)
MAX_FAILURES = flags.DEFINE_string(
    "max_failures",
    str(shards.MAX_FAILURES),
    "End with an error when more videos of a split could not be converted: a count such as 20, or a"
    " fraction such as 0.1. The others are converted all the same.",
)
WORKERS = flags.DEFINE_integer(
    "workers", 0, "Processes that convert; 0 starts one for each core.", lower_bound=0
)
TIMEOUT = flags.DEFINE_float(
    "timeout",
    workers.TIMEOUT,
    "Seconds without a decoded frame after which a video is given up.",
    lower_bound=1,
)
RUNNER = flags.DEFINE_string(
    "runner",
    "",
    "Apache Beam runner to convert on a cluster, such as DataflowRunner; input and output must be"
    " where all its machines reach them. Without it, processes on this machine convert.",
)
RUNNER_ARGUMENTS = flags.DEFINE_string(
    "runner_arguments", "", "Arguments of the runner, such as '--project=mine --region=here'."
)

GROUPS = {
    "Input": [DATASET, VIDEO_DIR, SPLIT, ANNOTATION_DIR, SPLIT_NUMBER],
    "Output": [
        OUTPUT_DIR,
        NUM_SHARDS,
        SHORT_SIDE,
        QUALITY,
        FPS,
        MAX_SECONDS,
        MIN_FRAMES,
        MAX_FAILURES,
    ],
    "Speed": [WORKERS, TIMEOUT, RUNNER, RUNNER_ARGUMENTS],
}
APPLY_TO = {"folder": [SPLIT], "ucf101": [ANNOTATION_DIR, SPLIT_NUMBER]}


def main() -> None:
    """Converts what the flags say and prints a summary."""
    _check_flags()
    max_failures = _max_failures()
    dataset = DATASET.value
    if dataset == "ucf101":
        splits, classes = catalogs.ucf101(VIDEO_DIR.value, ANNOTATION_DIR.value, SPLIT_NUMBER.value)
        dataset = f"ucf101, split {SPLIT_NUMBER.value}"
    else:
        entries, classes = catalogs.folder(VIDEO_DIR.value)
        splits = {SPLIT.value: entries}
    info = shards.convert(
        splits,
        classes,
        OUTPUT_DIR.value,
        dataset=dataset,
        settings=frames.Settings(
            short_side=SHORT_SIDE.value,
            quality=QUALITY.value,
            fps=FPS.value,
            max_seconds=MAX_SECONDS.value,
            min_frames=MIN_FRAMES.value,
        ),
        num_shards=NUM_SHARDS.value or None,
        max_failures=max_failures,
        workers=WORKERS.value or None,
        timeout=TIMEOUT.value,
        runner=RUNNER.value,
        runner_arguments=shlex.split(RUNNER_ARGUMENTS.value),
    )
    print(f"\n{OUTPUT_DIR.value}: {len(classes)} classes")
    for split, held in info["splits"].items():
        print(
            f"  {split}: {held['videos']} videos, {held['frames']} frames,"
            f" {held['bytes'] / 1e6:.1f} MB in {held['shards']} shards"
        )
        empty = [name for name in classes if name not in held["videos_per_class"]]
        if empty:
            print(f"    without videos: {', '.join(empty)}")
        if held["failures"]:
            reasons = ", ".join(f"{name}: {count}" for name, count in held["failures"].items())
            print(f"    left out, see {shards.FAILURES_FILE}: {reasons}")
        if held["damaged"]:
            print(f"    damaged but kept, see {shards.FAILURES_FILE}: {held['damaged']}")
    split = "train" if "train" in info["splits"] else next(iter(info["splits"]))
    pattern = f"{OUTPUT_DIR.value}/{split}-*"
    print(f"next: python -m cvrl_tf.train --train_data='{pattern}' --model_dir=runs/first")


def _check_flags() -> None:
    required = [DATASET, VIDEO_DIR, OUTPUT_DIR]
    if DATASET.value == "ucf101":
        required.append(ANNOTATION_DIR)
    for holder in required:
        if not holder.value:
            raise InputError(
                f"--{holder.name} is missing: expected "
                + " ".join(f"--{needed.name}=..." for needed in required)
                + "; --help explains them and has whole examples."
            )
    for holder in (FPS, MAX_SECONDS):
        if holder.value is not None and holder.value <= 0:
            raise InputError(
                f"Found --{holder.name}={holder.value}: expected more than 0, or leave it out."
            )
    if RUNNER_ARGUMENTS.value and not RUNNER.value:
        raise InputError("--runner_arguments is for --runner, which is missing: give both.")
    for dataset, holders in APPLY_TO.items():
        for holder in holders:
            if dataset != DATASET.value and commandline.given(holder):
                raise InputError(
                    f"--{holder.name} is for --dataset={dataset}, found --dataset={DATASET.value}:"
                    " leave it out."
                )


def _max_failures() -> int | float:
    text = MAX_FAILURES.value
    if text.isdecimal():
        return int(text)
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise InputError(
        f"Found --max_failures={text}: expected a count such as 20 or a fraction such as 0.1."
    )


def run() -> None:
    """The command line."""
    commandline.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
