"""Converts videos to TFRecord shards of JPEG frames, for all other entry points to read.

Your own videos, one folder for each class:
  python -m tools.make_tfrecords --dataset=folder --video_dir=videos/train --output_dir=records

Your own videos, without labels:
  python -m tools.make_tfrecords --dataset=files --files='videos/**/*.mp4' --output_dir=records

Kinetics (K400, K600, K700-2020) as CVDF distributes it; k400 is where it was unpacked:
  python -m tools.make_tfrecords --dataset=kinetics --video_dir=k400 \\
      --annotations=k400/annotations --output_dir=k400_records

UCF-101 and HMDB-51 as their authors distribute them, training and test split:
  python -m tools.make_tfrecords --dataset=ucf101 --video_dir=UCF-101 \\
      --annotations=ucfTrainTestlist --output_dir=ucf101_records
  python -m tools.make_tfrecords --dataset=hmdb51 --video_dir=hmdb51 \\
      --annotations=testTrainMulti_7030_splits --split_number=1 --output_dir=hmdb51_records

A data set that TensorFlow Datasets has prepared, one split after the other:
  python -m tools.make_tfrecords --dataset=tfds \\
      --tfds_name=tfds:ucf101/ucf101_1_256:train --output_dir=tfds_records

From downloaded archives to records, step by step: docs/datasets.md.
"""

import contextlib
import shlex
import sys

from absl import flags

from cvrl_tf import files
from cvrl_tf.cli import application
from cvrl_tf.conversion import catalogs, convert, frames, summary, workers
from cvrl_tf.errors import InputError
from cvrl_tf.text import printable

DATASET = flags.DEFINE_enum(
    "dataset",
    None,
    ["folder", "files", "kinetics", "ucf101", "hmdb51", "tfds"],
    "How the videos are laid out: one folder for each class; files without labels; a data set with"
    " its lists; or prepared by TensorFlow Datasets.",
)
VIDEO_DIR = flags.DEFINE_string(
    "video_dir",
    None,
    "Directory of the videos. All folders in it are searched; for --dataset=folder, those that it"
    " holds are the classes.",
)
FILES = flags.DEFINE_string(
    "files",
    None,
    "For --dataset=files: a glob pattern, quoted, where ** is any number of folders; or the name of"
    " a .txt file with one path a line, absolute or from the directory of that file.",
)
ANNOTATIONS = flags.DEFINE_string(
    "annotations",
    None,
    "The lists that come with the data set. kinetics: a directory with train.csv, val.csv and"
    " test.csv, or .txt lists of paths, or the file of each split you have,"
    " train=train.csv,val=val.csv. ucf101: the folder ucfTrainTestlist. hmdb51: the folder"
    " testTrainMulti_7030_splits.",
)
TFDS_NAME = flags.DEFINE_string(
    "tfds_name",
    None,
    "For --dataset=tfds: a split as tfds:NAME[/CONFIG][:VERSION]:SPLIT. It is looked for below the"
    " environment variable TFDS_DATA_DIR, or ~/tensorflow_datasets. Training can read it without"
    " conversion, unless its frames are PNG.",
)
SPLIT_NUMBER = flags.DEFINE_integer(
    "split_number",
    1,
    "Which of the three splits of ucf101 and hmdb51 to convert.",
    lower_bound=1,
)
SPLIT = flags.DEFINE_string(
    "split",
    "train",
    "Name of the split that --dataset=folder and files are converted to. Run once for each split,"
    " with the same --output_dir, and for folder with the same class folders or --label_map.",
)
LABEL_MAP = flags.DEFINE_string(
    "label_map",
    None,
    "For folder and kinetics: a file with one class name a line, in the order of their labels, such"
    " as the labels.txt of an earlier conversion. Without it, labels follow the sorted names.",
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
    str(convert.MAX_FAILURES),
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
    "Input": [DATASET, VIDEO_DIR, FILES, ANNOTATIONS, SPLIT_NUMBER, TFDS_NAME, SPLIT, LABEL_MAP],
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
# By data set: the flags that it needs, and those that it takes as well.
NEEDED = {
    "folder": [VIDEO_DIR],
    "files": [FILES],
    "kinetics": [VIDEO_DIR, ANNOTATIONS],
    "ucf101": [VIDEO_DIR, ANNOTATIONS],
    "hmdb51": [VIDEO_DIR, ANNOTATIONS],
    "tfds": [TFDS_NAME],
}
TAKEN = {
    "folder": [SPLIT, LABEL_MAP],
    "files": [SPLIT],
    "kinetics": [LABEL_MAP],
    "ucf101": [SPLIT_NUMBER],
    "hmdb51": [SPLIT_NUMBER],
    "tfds": [],
}


def main() -> None:
    """Converts what the flags say and prints a summary."""
    _check_flags()
    max_failures = _max_failures()
    catalog = _catalog()
    for note in catalog.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    classes = catalog.classes
    info = convert.convert(
        catalog,
        OUTPUT_DIR.value,
        _executor(),
        settings=frames.Settings(
            short_side=SHORT_SIDE.value,
            quality=QUALITY.value,
            fps=FPS.value,
            max_seconds=MAX_SECONDS.value,
            min_frames=MIN_FRAMES.value,
        ),
        num_shards=NUM_SHARDS.value or None,
        max_failures=max_failures,
    )
    print(f"\n{OUTPUT_DIR.value}: {f'{len(classes)} classes' if classes else 'no labels'}")
    for split, held in info["splits"].items():
        print(
            f"  {split}: {held['videos']} videos, {held['frames']} frames,"
            f" {held['bytes'] / 1e6:.1f} MB in {held['shards']} shards"
        )
        empty = [name for name in classes if name not in held["videos_per_class"]]
        if empty:
            print(f"    without videos: {printable(', '.join(empty))}")
        if held["failures"]:
            reasons = ", ".join(f"{name}: {count}" for name, count in held["failures"].items())
            print(f"    skipped, see {summary.FAILURES_FILE}: {reasons}")
        if held["damaged"]:
            print(f"    damaged but kept, see {summary.FAILURES_FILE}: {held['damaged']}")
    split = "train" if "train" in info["splits"] else next(iter(info["splits"]))
    pattern = f"{OUTPUT_DIR.value}/{split}-*"
    pattern = shlex.quote(pattern)
    print(f"next: python -m cvrl_tf.train --train_data={pattern} --model_dir=runs/first")


def _executor() -> workers.Executor:
    if not RUNNER.value:
        return workers.WorkerPool(WORKERS.value or None, TIMEOUT.value)
    try:
        from cvrl_tf.conversion.beam import BeamPipeline
    except ImportError as error:
        raise InputError(
            f"--runner={RUNNER.value} needs Apache Beam ({error}): run pip install -r"
            " requirements.txt 'cvrl-tf[beam]', one command for all, which finds versions that go"
            " together."
        ) from None
    return BeamPipeline(RUNNER.value, shlex.split(RUNNER_ARGUMENTS.value), TIMEOUT.value)


def _catalog() -> catalogs.Catalog:
    dataset = DATASET.value
    files.load_file_systems(*(holder.value or "" for holder in (VIDEO_DIR, FILES, ANNOTATIONS)))
    label_map = catalogs.read_label_map(LABEL_MAP.value) if LABEL_MAP.value else None
    if dataset == "folder":
        return catalogs.folder(VIDEO_DIR.value, SPLIT.value, label_map, OUTPUT_DIR.value)
    if dataset == "files":
        return catalogs.files(FILES.value, SPLIT.value)
    if dataset == "kinetics":
        annotations = catalogs.find_annotations(ANNOTATIONS.value)
        return catalogs.kinetics(VIDEO_DIR.value, annotations, label_map)
    if dataset == "tfds":
        from cvrl_tf.conversion import tfds_videos  # imports tensorflow_datasets

        return tfds_videos.tfds(TFDS_NAME.value)
    read = catalogs.ucf101 if dataset == "ucf101" else catalogs.hmdb51
    return read(VIDEO_DIR.value, ANNOTATIONS.value, SPLIT_NUMBER.value)


def _check_flags() -> None:
    dataset = DATASET.value
    required = [DATASET, *NEEDED.get(dataset, [VIDEO_DIR]), OUTPUT_DIR]
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
    for holder in GROUPS["Input"][1:]:
        takers = [
            name
            for name in NEEDED
            if any(holder is flag for flag in NEEDED[name] + TAKEN[name])  # they have no ==
        ]
        if dataset not in takers and application.given(holder):
            raise InputError(
                f"--{holder.name} is for --dataset={', '.join(takers)}; found"
                f" --dataset={dataset}: leave it out."
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
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
