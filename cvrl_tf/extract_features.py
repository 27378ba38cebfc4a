"""Writes the features of videos to a file, with their ids: from records or from video files.

  python -m cvrl_tf.extract_features --model_dir=runs/first \\
      --files='videos/**/*.mp4' --output=features.npz

  stored = np.load("features.npz")  # features (N, V, D), ids (N,), labels (N,)

Axis 1 of the features is the views of a video, all crops of its first clip first: take the mean
over it for one feature per video. The features are the pooled outputs of the backbone, not
normalised. The same command resumes after any stop; unfinished features are kept in OUTPUT.partial.
A video that cannot be decoded is skipped and listed in OUTPUT.failures.csv. The paper's views are
--num_frames=32 --stride=2 --crop_size=256 --num_clips=10 --num_crops=3.
"""

import sys
from collections.abc import Sequence

from cvrl_tf import files, progress, text
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.conversion import catalogs, workers
from cvrl_tf.conversion.state import Failure
from cvrl_tf.data import checks
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import extraction

SHOWN_FAILURES = 10

FLAGS = {
    "Backbone": backbone_flags.FLAGS,
    "Videos": (
        Flag(
            "data",
            "",
            "TFRecord shards, labelled or not: a glob pattern or tfds:NAME:SPLIT, as in training.",
        ),
        Flag(
            "files",
            "",
            "Instead of --data, video files: a glob pattern, in which ** matches any number of"
            " folders, or a .txt file with one path per line. They are decoded as"
            " cvrl_tf.make_tfrecords does by default; videos smaller than --crop_size are"
            " enlarged.",
        ),
    ),
    "Decoding of --files": (
        Flag(
            "workers",
            0,
            "Processes that decode; 0 starts one for each core. Lower it when memory runs out.",
            lower=0,
        ),
        Flag(
            "timeout",
            workers.TIMEOUT,
            "Seconds without a decoded frame after which a file is skipped; raise it where files"
            " are on a slow disk.",
            lower=1,
        ),
    ),
    view_flags.HEADING: view_flags.FLAGS,
    "Output": (
        Flag(
            "output",
            "",
            "File to make: .npz for NumPy, or .tfrecord with a tf.train.Example per video"
            " (features, features/shape, example/id, clip/label/index).",
        ),
    ),
}


def main(flags: Values) -> None:
    """Extracts as the flags say."""
    if bool(flags.data) == bool(flags.files):
        raise InputError(
            f"Found {'both' if flags.data else 'none'} of --data and --files: give one of them, to"
            " choose the videos; --help shows an example."
        )
    if not flags.output:
        raise InputError("--output is missing; --help shows an example.")
    extraction.check_output(flags.output)
    backbone, origin = backbone_flags.load(flags)
    views = view_flags.of_run(flags, origin.config)
    if flags.data:
        videos = checks.check_shards(find_source(flags.data, "data"), views.clip, enlarge=True)
        stored = extraction.from_records(backbone, videos, views, flags.output)
    else:
        files.load_file_systems(flags.files)
        catalog = catalogs.files(flags.files)
        for note in catalog.notes:
            progress.note(f"note: {text.printable(note)}")
        (entries,) = catalog.splits.values()
        pool = workers.WorkerPool(flags.workers or None, flags.timeout)
        stored = extraction.from_files(backbone, entries, views, flags.output, pool)
    shape = ", ".join(map(str, (len(stored.ids), *stored.values.shape[1:])))
    print(f"features of {origin.description}: ({shape}) videos, views, size: {flags.output}")
    if stored.failures:
        _print_failures(stored.failures, f"{flags.output}.failures.csv")


def _print_failures(failures: Sequence[Failure], path: str) -> None:
    """Prints the first failures on stderr, then their numbers and the file that lists all."""
    for failure in failures[:SHOWN_FAILURES]:
        what = "damaged, but used" if failure.kept else "skipped"
        print(text.printable(f"{what}: {failure.path}: {failure.description}"), file=sys.stderr)
    if len(failures) > SHOWN_FAILURES:
        print(f"and {len(failures) - SHOWN_FAILURES} more", file=sys.stderr)
    kept = sum(failure.kept for failure in failures)
    print(f"{len(failures) - kept} videos skipped, {kept} damaged but used: {path}")


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
