"""Writes the features of videos to a file, with their ids: from records or from video files.

  python -m cvrl_tf.extract_features --model_dir=runs/first \\
      --files='videos/**/*.mp4' --output=features.npz

  stored = np.load("features.npz")  # features (N, V, D), ids (N,), labels (N,)

Axis 1 of the features is the views of a video, all crops of its first clip first: take the mean
over it for one feature per video. They are the pooled outputs of the backbone, not normalised. The
same command resumes after any stop; unfinished features are kept in OUTPUT.partial. The paper's
views are --num_frames=32 --stride=2 --crop_size=256 --num_clips=10 --num_crops=3.
"""

import sys
from collections.abc import Mapping

from cvrl_tf import files
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.conversion import catalogs
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
            " tools.make_tfrecords does by default; videos smaller than --crop_size are enlarged.",
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
        videos = checks.check_shards(find_source(flags.data, "data"), views.clip)
        stored = extraction.from_records(backbone, videos, views, flags.output)
    else:
        files.load_file_systems(flags.files)
        catalog = catalogs.files(flags.files)
        for note in catalog.notes:
            print(f"note: {note}", file=sys.stderr)
        (entries,) = catalog.splits.values()
        stored = extraction.from_files(backbone, entries, views, flags.output)
    _print_damage("skipped", stored.failures)
    _print_damage("damaged, but used", stored.damaged)
    shape = ", ".join(map(str, (len(stored.ids), *stored.values.shape[1:])))
    print(f"features of {origin.description}: ({shape}) videos, views, size: {flags.output}")
    if stored.failures or stored.damaged:
        print(
            f"{len(stored.failures)} videos skipped, {len(stored.damaged)} damaged but used:"
            f" {flags.output}.failures.csv"
        )


def _print_damage(what: str, reasons: Mapping[str, str]) -> None:
    for video_id, reason in list(reasons.items())[:SHOWN_FAILURES]:
        print(f"{what}: {video_id}: {reason}", file=sys.stderr)
    if len(reasons) > SHOWN_FAILURES:
        print(f"{what}: {len(reasons) - SHOWN_FAILURES} more", file=sys.stderr)


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
