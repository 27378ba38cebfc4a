"""Writes the features of videos to a file, with their ids: from records or from video files.

  python -m cvrl_tf.extract_features --model_dir=runs/first \\
      --files='videos/**/*.mp4' --output=features.npz

  stored = np.load("features.npz")  # features (N, V, D), ids (N,), labels (N,)

Axis 1 of the features is the views of a video, all crops of its first clip first: take the mean of
it for one feature a video. They are the pooled outputs of the backbone, not normalised. The same
command goes on after any stop; until it is done, what there is lies in OUTPUT.partial. The paper's
views are --num_frames=32 --stride=2 --crop_size=256 --num_clips=10 --num_crops=3.
"""

import sys
from collections.abc import Mapping

from absl import flags

from cvrl_tf import files
from cvrl_tf.cli import application
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.conversion import catalogs
from cvrl_tf.data import checks
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import extraction

SHOWN_FAILURES = 10

DATA = flags.DEFINE_string(
    "data",
    "",
    "TFRecord shards, labelled or not: a glob pattern or tfds:NAME:SPLIT, as in training.",
)
FILES = flags.DEFINE_string(
    "files",
    "",
    "Instead of --data, video files: a glob pattern, in which ** is any number of folders, or a"
    " .txt file with one path a line. They are decoded as tools.make_tfrecords does by default;"
    " those smaller than --crop_size are enlarged.",
)
OUTPUT = flags.DEFINE_string(
    "output",
    "",
    "File to make: .npz for NumPy, or .tfrecord with a tf.train.Example for each video (features,"
    " features/shape, example/id, clip/label/index).",
)

GROUPS = {
    "Backbone": backbone_flags.HOLDERS,
    "Videos": (DATA, FILES),
    view_flags.HEADING: view_flags.GROUP,
    "Output": (OUTPUT,),
}


def main() -> None:
    """Extracts as the flags say."""
    if bool(DATA.value) == bool(FILES.value):
        raise InputError(
            f"Found {'both' if DATA.value else 'none'} of --data and --files: give one of them, to"
            " choose the videos; --help shows an example."
        )
    if not OUTPUT.value:
        raise InputError("--output is missing; --help shows an example.")
    extraction.check_output(OUTPUT.value)
    backbone, origin = backbone_flags.load()
    views = view_flags.of_run(origin.config)
    if DATA.value:
        videos = checks.check_shards(find_source(DATA.value, DATA.name), views.clip)
        stored = extraction.from_records(backbone, videos, views, OUTPUT.value)
    else:
        files.load_file_systems(FILES.value)
        catalog = catalogs.files(FILES.value)
        for note in catalog.notes:
            print(f"note: {note}", file=sys.stderr)
        (entries,) = catalog.splits.values()
        stored = extraction.from_files(backbone, entries, views, OUTPUT.value)
    _print_damage("left out", stored.failures)
    _print_damage("damaged, but used", stored.damaged)
    shape = ", ".join(map(str, (len(stored.ids), *stored.values.shape[1:])))
    print(f"features of {origin.description}: ({shape}) videos, views, size: {OUTPUT.value}")
    if stored.failures or stored.damaged:
        print(
            f"{len(stored.failures)} videos left out, {len(stored.damaged)} damaged but used:"
            f" {OUTPUT.value}.failures.csv"
        )


def _print_damage(what: str, reasons: Mapping[str, str]) -> None:
    for video_id, reason in list(reasons.items())[:SHOWN_FAILURES]:
        print(f"{what}: {video_id}: {reason}", file=sys.stderr)
    if len(reasons) > SHOWN_FAILURES:
        print(f"{what}: {len(reasons) - SHOWN_FAILURES} more", file=sys.stderr)


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
