"""The flags by which commands choose videos without labels: records, or video files."""

import sys
from collections.abc import Sequence

from cvrl_tf import files, progress, text
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.conversion import catalogs, workers
from cvrl_tf.conversion.state import Failure
from cvrl_tf.data import checks
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation.extraction import Records, VideoFiles

SHOWN_FAILURES = 10

FLAGS = (
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
        " cvrl_tf.make_tfrecords does by default; videos smaller than a clip are enlarged.",
    ),
)
LABELS = Flag(
    "labels",
    "none",
    "Labels of --files. folder: the class of a video is the name of its folder; labels follow the"
    " sorted names.",
    choices=("none", "folder"),
)
DECODING = (
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
)
DECODING_HEADING = "Decoding of --files"


def check_given(flags: Values) -> None:
    """Raises InputError unless one of --data and --files is given."""
    if bool(flags.data) == bool(flags.files):
        raise InputError(
            f"Found {'both' if flags.data else 'none'} of --data and --files: give one of them, to"
            " choose the videos; --help shows an example."
        )


def find(flags: Values, clip: ClipSpec) -> Records | VideoFiles:
    """The videos that the user chose.

    Args:
      flags: of a command that has `FLAGS` and `DECODING`, and perhaps `LABELS`.
      clip: the clips to be taken.

    Raises:
      InputError: as `lookup.find_source`, `checks.check_shards`, `catalogs.files` or
        `catalogs.label_by_folder`; or labels for records.
    """
    by_folder = LABELS.name in flags and flags.labels == "folder"
    if flags.data and by_folder:
        raise InputError(
            "Found --labels=folder and --data, whose records have their own labels: omit --labels."
        )
    if flags.data:
        return Records(checks.check_shards(find_source(flags.data, "data"), clip, enlarge=True))
    files.load_file_systems(flags.files)
    catalog = catalogs.files(flags.files)
    for note in catalog.notes:
        progress.note(f"note: {text.printable(note)}")
    if by_folder:
        catalog = catalogs.label_by_folder(catalog)
    (entries,) = catalog.splits.values()
    return VideoFiles(
        entries,
        lambda: workers.WorkerPool(flags.workers or None, flags.timeout),
        catalog.classes,
    )


def print_failures(failures: Sequence[Failure], output: str) -> None:
    """Prints the first failures on stderr, then their numbers and the file that lists all.

    Args:
      failures: what is wrong with files; nothing is printed if there are none.
      output: that the command has written.
    """
    for failure in failures[:SHOWN_FAILURES]:
        what = "damaged, but used" if failure.kept else "skipped"
        print(text.printable(f"{what}: {failure.path}: {failure.description}"), file=sys.stderr)
    if len(failures) > SHOWN_FAILURES:
        print(f"and {len(failures) - SHOWN_FAILURES} more", file=sys.stderr)
    if failures:
        kept = sum(failure.kept for failure in failures)
        path = f"{output}.failures.csv"
        skipped = text.counted(len(failures) - kept, "video")
        print(f"{skipped} skipped, {kept} damaged but used: {path}")
