"""Converts videos to TFRecord shards of JPEG frames, for all other entry points to read.

Your own videos, one folder for each class:
  python -m cvrl_tf.make_tfrecords --dataset=folder --video_dir=videos/train --output_dir=records

Your own videos, split by `python -m cvrl_tf.split_videos --video_dir=videos --output_dir=splits`:
  python -m cvrl_tf.make_tfrecords --dataset=folder --video_dir=videos --annotations=splits \\
      --output_dir=records

Your own videos, without labels:
  python -m cvrl_tf.make_tfrecords --dataset=files --files='videos/**/*.mp4' --output_dir=records

Kinetics (K400, K600, K700-2020) as CVDF distributes it; k400 is where it was unpacked:
  python -m cvrl_tf.make_tfrecords --dataset=kinetics --video_dir=k400 \\
      --annotations=k400/annotations --output_dir=k400_records

UCF-101 and HMDB-51 as their authors distribute them, training and test split:
  python -m cvrl_tf.make_tfrecords --dataset=ucf101 --video_dir=UCF-101 \\
      --annotations=ucfTrainTestlist --output_dir=ucf101_records
  python -m cvrl_tf.make_tfrecords --dataset=hmdb51 --video_dir=hmdb51 \\
      --annotations=testTrainMulti_7030_splits --split_number=1 --output_dir=hmdb51_records

A data set that TensorFlow Datasets has prepared, one split after the other:
  python -m cvrl_tf.make_tfrecords --dataset=tfds \\
      --tfds_name=tfds:ucf101/ucf101_1_256:train --output_dir=tfds_records

From downloaded archives to records, step by step: docs/datasets.md.
"""

import contextlib
import os
import shlex
import sys
from typing import Any

from cvrl_tf import files
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.conversion import catalogs, convert, summary, workers
from cvrl_tf.conversion.frames import Settings
from cvrl_tf.errors import InputError
from cvrl_tf.text import counted, printable

HELD_OUT = ("test", "val", "validation")  # splits that nobody trains on
SMALL = 5000  # videos, up to which the recipe for small data is advised
INPUT = (
    Flag(
        "dataset",
        None,
        "How the videos are laid out: one folder for each class; files without labels; a data set"
        " with its lists; or prepared by TensorFlow Datasets.",
        choices=("folder", "files", "kinetics", "ucf101", "hmdb51", "tfds"),
    ),
    Flag(
        "video_dir",
        None,
        "Directory of the videos, searched recursively; for --dataset=folder, its direct subfolders"
        " are the classes, and videos below these are skipped.",
    ),
    Flag(
        "files",
        None,
        "For --dataset=files: a video; a quoted glob pattern, where ** is any number of folders; or"
        " a .txt file with one path per line, absolute or from the directory of that file.",
    ),
    Flag(
        "annotations",
        None,
        "The lists of the splits. folder and files: the directory that cvrl_tf.split_videos wrote,"
        " with the ids of each split in train.txt and so on. Otherwise the lists that come with the"
        " data set. kinetics: a directory with train.csv, val.csv and test.csv, or .txt lists of"
        " paths, or the file of each split you have, train=train.csv,val=val.csv. ucf101: the"
        " folder ucfTrainTestlist. hmdb51: the folder testTrainMulti_7030_splits.",
    ),
    Flag(
        "split_number",
        1,
        "Which of the three splits of ucf101 and hmdb51 to convert.",
        lower=1,
    ),
    Flag(
        "tfds_name",
        None,
        "For --dataset=tfds: a split as tfds:NAME[/CONFIG][:VERSION]:SPLIT. It is looked for below"
        " the environment variable TFDS_DATA_DIR, or ~/tensorflow_datasets. Training can read it"
        " without conversion, unless its frames are PNG.",
    ),
    Flag(
        "split",
        "train",
        "Name of the split that --dataset=folder and files are converted to. Run once for each"
        " split, with the same --output_dir, and for folder with the same class folders or"
        " --label_map.",
    ),
    Flag(
        "label_map",
        None,
        "For folder and kinetics: a file with one class name per line, in the order of their"
        " labels, such as the labels.txt of an earlier conversion. Without it, labels follow the"
        " sorted names.",
    ),
)
FLAGS = {
    "Input": INPUT,
    "Output": (
        Flag(
            "output_dir",
            None,
            "Directory for the shards, labels.txt, dataset_info.json and failures.csv, which lists"
            " the videos that could not be converted (kept=no) or are damaged (kept=yes). The same"
            " command resumes a conversion that was stopped.",
        ),
        Flag(
            "num_shards",
            0,
            "Shards of each split; 0 makes shards of 100 to 200 MB, estimated from a sample of the"
            " videos.",
            lower=0,
        ),
        *flags_of(Settings, "short_side", "quality", "fps", "max_seconds", "min_frames"),
        Flag(
            "max_failures",
            str(convert.MAX_FAILURES),
            "Maximum number of videos of a split that may fail: a count such as 20, or a fraction"
            " such as 0.1. If more fail, the remaining videos are still converted, then the command"
            " fails.",
        ),
    ),
    "Speed": (
        Flag("workers", 0, "Processes that convert; 0 starts one for each core.", lower=0),
        Flag(
            "timeout",
            workers.TIMEOUT,
            "Seconds without a decoded frame after which a video counts as failed.",
            lower=1,
        ),
        Flag(
            "runner",
            "",
            "Apache Beam runner to convert on a cluster, such as DataflowRunner; all its machines"
            " must reach input and output. Without it, processes on this machine convert.",
        ),
        Flag(
            "runner_arguments",
            "",
            "Arguments of the runner, such as '--project=mine --region=here'.",
        ),
    ),
}
# By data set: the flags that it needs, and those that it takes as well.
NEEDED = {
    "folder": ("video_dir",),
    "files": ("files",),
    "kinetics": ("video_dir", "annotations"),
    "ucf101": ("video_dir", "annotations"),
    "hmdb51": ("video_dir", "annotations"),
    "tfds": ("tfds_name",),
}
TAKEN = {
    "folder": ("split", "label_map", "annotations"),
    "files": ("split", "annotations"),
    "kinetics": ("label_map",),
    "ucf101": ("split_number",),
    "hmdb51": ("split_number",),
    "tfds": (),
}


def main(flags: Values) -> None:
    """Converts what the flags name and prints a summary."""
    _check_flags(flags)
    max_failures = _max_failures(flags.max_failures)
    executor = _executor(flags)
    catalog = _catalog(flags)
    for note in catalog.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    info = convert.convert(
        catalog,
        flags.output_dir,
        executor,
        settings=flags.make(Settings),
        num_shards=flags.num_shards or None,
        max_failures=max_failures,
    )
    _print_summary(flags.output_dir, info)


def _print_summary(output_dir: str, info: dict[str, Any]) -> None:
    classes = info["classes"]
    print(f"\n{output_dir}: {counted(len(classes), 'class') if classes else 'no labels'}")
    for split, held in info["splits"].items():
        print(
            f"  {split}: {counted(held['videos'], 'video')}, {counted(held['frames'], 'frame')},"
            f" {held['bytes'] / 1e6:.1f} MB in {counted(held['shards'], 'shard')}"
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
    pattern = shlex.quote(f"{output_dir}/{split}-*")
    if split in HELD_OUT:
        print(f"next: convert the training videos to the same {shlex.quote(output_dir)}")
        return
    small = info["splits"][split]["videos"] <= SMALL
    recipe = f"--flagfile={shlex.quote(_recipe())} " if small and os.path.exists(_recipe()) else ""
    print(f"next: python -m cvrl_tf.train {recipe}--train_data={pattern} --model_dir=runs/first")


def _recipe() -> str:
    """The flagfile for small data in the clone of this package, as it is named from here."""
    return os.path.relpath(os.path.join(os.path.dirname(__file__), "..", "flags", "small"))


def _executor(flags: Values) -> workers.Executor:
    if not flags.runner:
        return workers.WorkerPool(flags.workers or None, flags.timeout)
    try:
        from cvrl_tf.conversion.beam import BeamPipeline
    except ImportError as error:
        raise InputError(
            f"--runner={flags.runner} needs Apache Beam ({error}): run pip install -r"
            " requirements.txt -e '.[beam]' in the clone of this package, one command for all,"
            " which finds versions that go together."
        ) from None
    # Its jobs are those of shards, which return nothing.
    pipeline: Any = BeamPipeline(flags.runner, shlex.split(flags.runner_arguments), flags.timeout)
    return pipeline


def _catalog(flags: Values) -> catalogs.Catalog:
    names = (flags.video_dir, flags.files, flags.annotations)
    files.load_file_systems(*(name for name in names if name))
    label_map = catalogs.read_label_map(flags.label_map) if flags.label_map else None
    if flags.dataset in ("folder", "files"):
        if flags.dataset == "files":
            catalog = catalogs.files(flags.files, flags.split)
        else:
            catalog = catalogs.folder(flags.video_dir, flags.split, label_map, flags.output_dir)
        lists = flags.annotations
        return catalogs.split_by_lists(catalog, lists) if lists else catalog
    if flags.dataset == "kinetics":
        annotations = catalogs.find_annotations(flags.annotations)
        return catalogs.kinetics(flags.video_dir, annotations, label_map)
    if flags.dataset == "tfds":
        from cvrl_tf.conversion import tfds_videos  # imports tensorflow_datasets

        return tfds_videos.tfds(flags.tfds_name)
    read = catalogs.ucf101 if flags.dataset == "ucf101" else catalogs.hmdb51
    return read(flags.video_dir, flags.annotations, flags.split_number)


def _check_flags(flags: Values) -> None:
    dataset = flags.dataset
    required = ["dataset", *NEEDED.get(dataset, ["video_dir"]), "output_dir"]
    for name in required:
        if not flags[name].value:
            raise InputError(
                f"--{name} is missing: expected "
                + " ".join(f"--{needed}=..." for needed in required)
                + "; --help explains them and has whole examples."
            )
    if dataset in ("folder", "files") and flags.annotations and flags.given("split"):
        raise InputError(
            f"Found --split={flags.split} and --annotations={flags.annotations}, whose lists name"
            " the splits: omit one of them."
        )
    if flags.runner_arguments and not flags.runner:
        raise InputError("--runner_arguments is for --runner, which is missing: give both.")
    for flag in INPUT[1:]:
        takers = [name for name in NEEDED if flag.name in NEEDED[name] + TAKEN[name]]
        if dataset not in takers and flags.given(flag.name):
            raise InputError(
                f"--{flag.name} is for --dataset={', '.join(takers)}; found"
                f" --dataset={dataset}: omit it."
            )


def _max_failures(text: str) -> int | float:
    if text.isdecimal():
        return int(text)
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise InputError(
        f"Found --max_failures={text}: expected a count such as 20 or a fraction such as 0.1."
    )


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
