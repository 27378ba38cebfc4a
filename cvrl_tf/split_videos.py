"""Splits your own videos into training, validation and test videos.

  python -m cvrl_tf.split_videos --video_dir=videos --output_dir=splits
  python -m cvrl_tf.make_tfrecords --dataset=folder --video_dir=videos --annotations=splits \\
      --output_dir=records

Each class is split by the fractions. Videos of nearly equal content (copies, also re-encoded,
resized or mirrored ones) stay in one split. So do videos of one group (--group_pattern), such as
clips of one recording or person: if some of them were trained on, the accuracy on the others would
be too high. The same videos, flags and seed give the same splits. No video is changed, moved or
copied.

OUTPUT_DIR has train.txt, validation.txt and test.txt with one id per line, twins.csv with the pairs
of nearly equal videos, and failures.csv with the videos that could not be read or are damaged. They
are in the splits too, and the conversion reports them again.
"""

import csv
import io
import os
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cvrl_tf import files, progress, text
from cvrl_tf.cli import videos as video_flags
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.conversion import catalogs, splits, twins, workers
from cvrl_tf.conversion.state import Failure
from cvrl_tf.conversion.summary import FAILURES_FILE
from cvrl_tf.data.groups import EXAMPLE, groups_of
from cvrl_tf.errors import InputError

TWINS_FILE = "twins.csv"
ALL = "all videos"  # the row of videos without labels

FLAGS = {
    "Videos": (
        Flag("video_dir", "", "Directory that has one folder of videos for each class."),
        Flag(
            "files",
            "",
            "Instead of --video_dir, videos without labels: a glob pattern in quotes, in which **"
            " is any number of folders, or a .txt file with one path per line.",
        ),
    ),
    "Splits": (
        Flag(
            "validation_fraction",
            0.15,
            "Fraction of the videos for validation; 0 makes no such split.",
            lower=0,
            upper=1,
        ),
        Flag(
            "test_fraction",
            0.15,
            "Fraction of the videos for the test; 0 makes no such split. Training gets the rest.",
            lower=0,
            upper=1,
        ),
        Flag(
            "group_pattern",
            "",
            "Regular expression that finds the group of a video in its id (the path without the"
            f" extension), such as '{EXAMPLE}' for UCF-101. Videos in which the parentheses match"
            " the same text stay in one split.",
        ),
        Flag("seed", 0, "Seed of the choice among equally good splits.", lower=0),
    ),
    "Decoding": video_flags.DECODING,
    "Output": (Flag("output_dir", "", "Directory for the lists; not inside --video_dir."),),
}


def main(flags: Values) -> None:
    """Splits as the flags say."""
    if not flags.output_dir or bool(flags.video_dir) == bool(flags.files):
        raise InputError(
            "Expected --output_dir=... and one of --video_dir=... and --files=...; --help shows an"
            " example."
        )
    fractions = _fractions(flags)
    catalog = _catalog(flags)
    (entries,) = catalog.splits.values()
    ids = [entry.video_id for entry in entries]
    classes = catalog.classes or [ALL]
    labels = np.array([entry.label or 0 for entry in entries])
    splits.check(catalog, fractions)
    groups = groups_of(ids, flags.group_pattern) if flags.group_pattern else ids
    _make_directory(flags)
    failures: list[Failure] = []
    with workers.WorkerPool(flags.workers or None, flags.timeout) as pool:
        signatures = twins.signatures_of_files(entries, pool, failures.append)
    pairs = twins.find(signatures)
    units = splits.join(groups, ((pair.first, pair.second) for pair in pairs))
    chosen = splits.assign(ids, labels, units, list(fractions.values()), flags.seed)
    splits.check_none_empty(chosen, labels, units, classes, fractions)
    _write(flags.output_dir, ids, chosen, pairs, failures)
    rows = [["class", *splits.NAMES]]
    for label, name in enumerate(classes):
        counts = np.bincount(chosen[labels == label], minlength=len(splits.NAMES))
        rows.append([text.printable(name), *map(str, counts)])
    print(text.table(rows))
    _print_notes(flags, entries, units, pairs, failures)


def _fractions(flags: Values) -> dict[str, float]:
    """The share of each split, by name; training gets what remains."""
    validation, test = flags.validation_fraction, flags.test_fraction
    return dict(zip(splits.NAMES, (1.0 - validation - test, validation, test), strict=True))


def _catalog(flags: Values) -> catalogs.Catalog:
    """The videos that the flags name."""
    files.load_file_systems(flags.video_dir or flags.files)
    if flags.video_dir:
        output, videos = (os.path.realpath(name) for name in (flags.output_dir, flags.video_dir))
        if os.path.commonpath([output, videos]) == videos:
            raise InputError(
                f"--output_dir={flags.output_dir} is inside --video_dir={flags.video_dir}, whose"
                " folders are the classes: name a directory elsewhere."
            )
        catalog = catalogs.folder(flags.video_dir)
    else:
        catalog = catalogs.files(flags.files)
    for note in catalog.notes:
        progress.note(f"note: {text.printable(note)}")
    return catalog


def _make_directory(flags: Values) -> None:
    try:
        os.makedirs(flags.output_dir, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output_dir={flags.output_dir} cannot be made: {error.strerror}."
        ) from None
    path = os.path.join(flags.output_dir, TWINS_FILE)
    files.check_writable(path, f"--output_dir={flags.output_dir}")


def _write(
    directory: str,
    ids: Sequence[str],
    chosen: np.ndarray,
    pairs: Sequence[twins.Twins],
    failures: Sequence[Failure],
) -> None:
    """Writes the lists and tables; those of an earlier split are replaced or removed."""
    tables: dict[str, str] = {}
    for number, name in enumerate(splits.NAMES):
        mine = [ids[video] for video in np.flatnonzero(chosen == number)]
        tables[f"{name}.txt"] = "".join(f"{one}\n" for one in mine)
    tables[TWINS_FILE] = _csv_text(
        {
            "first": ids[pair.first],
            "second": ids[pair.second],
            "distance": f"{pair.distance:.3f}",
            "mirrored": "yes" if pair.mirrored else "no",
        }
        for pair in pairs
    )
    ordered = sorted(failures, key=lambda failure: failure.video_id)
    tables[FAILURES_FILE] = _csv_text(failure.row() for failure in ordered)
    for name, content in tables.items():
        path = os.path.join(directory, name)
        if content:
            files.write_atomically(path, content)
        elif os.path.exists(path):
            os.remove(path)


def _csv_text(rows: Iterable[dict[str, Any]]) -> str:
    """A table with a header; empty without rows."""
    listed = list(rows)
    if not listed:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return buffer.getvalue()


def _print_notes(
    flags: Values,
    entries: Sequence[catalogs.Entry],
    units: np.ndarray,
    pairs: Sequence[twins.Twins],
    failures: Sequence[Failure],
) -> None:
    """Prints what stayed together, what could not be read, and the next command."""
    directory = flags.output_dir
    if flags.group_pattern:
        print(f"{len(np.unique(units))} groups of videos, each in one split")
    else:
        print(
            "note: every video is a group of its own. If several show one recording or one person,"
            " test accuracies will be too high: find their groups with --group_pattern"
        )
    if pairs:
        mixed = sum(entries[one.first].label != entries[one.second].label for one in pairs)
        classes = f", {mixed} of them of different classes" if mixed else ""
        print(
            f"{len(pairs)} pairs of nearly equal videos, each in one split{classes}:"
            f" {os.path.join(directory, TWINS_FILE)}"
        )
    if failures:
        kept = sum(failure.kept for failure in failures)
        print(
            f"{text.counted(len(failures) - kept, 'video')} unreadable, {kept} damaged:"
            f" {os.path.join(directory, FAILURES_FILE)}; they are in the splits, and the conversion"
            " reports them again"
        )
    dataset, name = ("folder", "video_dir") if flags.video_dir else ("files", "files")
    print(
        f"next: python -m cvrl_tf.make_tfrecords --dataset={dataset}"
        f" --{name}={shlex.quote(flags.video_dir or flags.files)}"
        f" --annotations={shlex.quote(directory)} --output_dir=records"
    )


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
