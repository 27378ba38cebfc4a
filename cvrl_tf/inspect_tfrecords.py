"""Checks every record of TFRecord shards and reports what they hold.

  python -m cvrl_tf.inspect_tfrecords records
  python -m cvrl_tf.inspect_tfrecords 'records/train-*' --html=records.html
  python -m cvrl_tf.inspect_tfrecords s3://bucket/records --write_index

Prints tables of counts, lengths and frame sizes, then what is wrong. Exit status: 0 when nothing is
wrong, 1 when something is, 2 when the command cannot be carried out.
"""

from cvrl_tf import files, text
from cvrl_tf.cli.application import Argument, Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.inspection import dataset, indexes, page, tables

PATTERN = Argument(
    "PATTERN",
    "The shards: a directory of them, or a glob pattern in quotes; several with commas. What a"
    " conversion writes beside them (labels.txt, dataset_info.json, failures.csv) is read too.",
)
FLAGS = {
    "Checks": (
        Flag(
            "frames_per_video",
            0,
            "Number of frames of each video to decode, evenly spaced; 0 decodes all. The bytes of"
            " all frames are compared with the checksums, and the sizes of all are checked.",
            lower=0,
        ),
        Flag(
            "write_index",
            False,
            "Write an index of the records, .index/SPLIT.npz beside the shards, with which training"
            " and evaluation start without searching for them. Use it for shards in a bucket that"
            " have none, or that no longer fit it. Without this flag an existing index is checked.",
        ),
        Flag("workers", 0, "Processes that inspect; 0 starts one for each core.", lower=0),
    ),
    "Page": (
        Flag(
            "html",
            None,
            "File for a page to look at: histograms of classes and lengths, frame sizes, frames of"
            " random videos, problems, and the videos that failed to convert.",
        ),
        Flag("seed", 0, "Seed of the choice of videos on the page.", lower=0),
    ),
}
PROBLEMS_PRINTED = 1000


def main(flags: Values, pattern: str) -> int:
    """Inspects, prints, writes the page; returns the exit status."""
    if flags.html is not None:
        files.check_writable(flags.html, f"--html={flags.html}")
    paths = dataset.find_shards(pattern)
    found = dataset.inspect(
        paths, frames_per_video=flags.frames_per_video, workers=flags.workers or None
    )
    written = indexes.write(found.tables) if flags.write_index else []
    found.problems += indexes.check(found.tables)
    _print(found)
    if flags.html is not None:
        files.write_atomically(flags.html, page.render(found, pattern, flags.seed))
        print(f"\npage: {flags.html}")
    for path in written:
        print(f"\nindex: {path}")
    videos = sum(len(split.videos) for split in found.splits)
    problems = _count(len(found.problems), "problem")
    print(f"\n{problems} in {_count(videos, 'video')} of {_count(len(paths), 'shard')}")
    return 1 if found.problems else 0


def _print(found: dataset.Inspection) -> None:
    print(text.table(tables.summary_table(found)))
    print("Three figures are the smallest, the median and the largest.\n")
    print(text.table(tables.size_table(found, rows_per_split=5)))
    if found.problems:
        print()
        print("\n".join(map(text.printable, found.problems[:PROBLEMS_PRINTED])))
    if len(found.problems) > PROBLEMS_PRINTED:
        print(f"and {len(found.problems) - PROBLEMS_PRINTED} more")
    for note in found.notes:
        print(f"\nnote: {text.printable(note)}")
    if found.failures or found.damaged:
        print(
            f"\n{_count(len(found.failures), 'video')} failed to convert, {len(found.damaged)}"
            f" damaged but kept: see {dataset.FAILURES_FILE}"
        )


def _count(number: int, name: str) -> str:
    return f"{number or 'no'} {name}{'' if number == 1 else 's'}"


COMMAND = Command(main, __doc__, FLAGS, PATTERN)

if __name__ == "__main__":
    COMMAND.run()
