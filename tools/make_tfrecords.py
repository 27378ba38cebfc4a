"""Converts videos to TFRecord shards of JPEG frames, for all other entry points to read.

Your own videos, one folder for each class:
  python -m tools.make_tfrecords --dataset=folder --video_dir=videos/train --output_dir=records

UCF-101, as its authors distribute it, training and test split:
  python -m tools.make_tfrecords --dataset=ucf101 --video_dir=UCF-101 \\
      --annotation_dir=ucfTrainTestlist --split_number=1 --output_dir=ucf101_records
"""

from absl import flags

from cvrl_tf import commandline
from cvrl_tf.conversion import catalogs, frames, shards
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
    "output_dir", None, "Directory for the shards, labels.txt and dataset_info.json."
)
NUM_SHARDS = flags.DEFINE_integer(
    "num_shards", 0, "Shards of each split; 0 makes one for every 32 videos.", lower_bound=0
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
WORKERS = flags.DEFINE_integer(
    "workers", 0, "Processes that convert; 0 starts one for each core.", lower_bound=0
)

GROUPS = {
    "Input": [DATASET, VIDEO_DIR, SPLIT, ANNOTATION_DIR, SPLIT_NUMBER],
    "Output": [OUTPUT_DIR, NUM_SHARDS, SHORT_SIDE, QUALITY],
    "Speed": [WORKERS],
}
APPLY_TO = {"folder": [SPLIT], "ucf101": [ANNOTATION_DIR, SPLIT_NUMBER]}


def main() -> None:
    """Converts what the flags say and prints a summary."""
    _check_flags()
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
        short_side=SHORT_SIDE.value,
        quality=QUALITY.value,
        num_shards=NUM_SHARDS.value or None,
        workers=WORKERS.value or None,
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
    pattern = f"{OUTPUT_DIR.value}/{next(iter(info['splits']))}-*"
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
    for dataset, holders in APPLY_TO.items():
        for holder in holders:
            if dataset != DATASET.value and commandline.given(holder):
                raise InputError(
                    f"--{holder.name} is for --dataset={dataset}, found --dataset={DATASET.value}:"
                    " leave it out."
                )


def run() -> None:
    """The command line."""
    commandline.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
