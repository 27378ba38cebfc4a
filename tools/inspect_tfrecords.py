"""Checks every record of TFRecord shards, and tells what they hold.

  python -m tools.inspect_tfrecords records
  python -m tools.inspect_tfrecords 'records/train-*' --html=records.html

Prints tables of counts, lengths and frame sizes, then what is wrong. Exit status: 0 when all is
well, 1 when something is wrong, 2 when the command cannot be carried out.
"""

from absl import flags

from cvrl_tf import files, text
from cvrl_tf.cli import application
from cvrl_tf.inspection import dataset, page, tables

PATTERN = application.Argument(
    "PATTERN",
    "The shards: a directory of them, or a glob pattern in quotes; several with commas. What a"
    " conversion writes beside them (labels.txt, dataset_info.json, failures.csv) is read too.",
)
FRAMES_PER_VIDEO = flags.DEFINE_integer(
    "frames_per_video",
    0,
    "How many frames of each video are decoded, evenly spaced; 0 decodes all. The bytes of all are"
    " compared with the checksums, and the sizes of all are checked.",
    lower_bound=0,
)
WORKERS = flags.DEFINE_integer(
    "workers", 0, "Processes that inspect; 0 starts one for each core.", lower_bound=0
)
HTML = flags.DEFINE_string(
    "html",
    None,
    "File for a page to look at: histograms of classes and lengths, frame sizes, frames of random"
    " videos, problems, and the videos that failed to convert.",
)
SEED = flags.DEFINE_integer("seed", 0, "Of the choice of videos on the page.", lower_bound=0)

GROUPS = {"Checks": [FRAMES_PER_VIDEO, WORKERS], "Page": [HTML, SEED]}
PROBLEMS_PRINTED = 1000


def main(pattern: str) -> int:
    """Inspects, prints, writes the page; returns the exit status."""
    if HTML.value is not None:
        files.check_writable(HTML.value, f"--html={HTML.value}")
    paths = dataset.find_shards(pattern)
    found = dataset.inspect(
        paths, frames_per_video=FRAMES_PER_VIDEO.value, workers=WORKERS.value or None
    )
    print(text.table(tables.summary_table(found)))
    print("Three figures are the smallest, the median and the largest.\n")
    print(text.table(tables.size_table(found, rows_per_split=5)))
    if found.problems:
        print()
        print("\n".join(map(str, found.problems[:PROBLEMS_PRINTED])))
    if len(found.problems) > PROBLEMS_PRINTED:
        print(f"and {len(found.problems) - PROBLEMS_PRINTED} more")
    if found.failures or found.damaged:
        print(
            f"\n{_count(len(found.failures), 'video')} failed to convert, {len(found.damaged)}"
            f" damaged but kept: see {dataset.FAILURES_FILE}"
        )
    if HTML.value is not None:
        files.write_atomically(HTML.value, page.render(found, pattern, SEED.value))
        print(f"\npage: {HTML.value}")
    videos = sum(len(split.videos) for split in found.splits)
    problems = _count(len(found.problems), "problem")
    print(f"\n{problems} in {_count(videos, 'video')} of {_count(len(paths), 'shard')}")
    return 1 if found.problems else 0


def _count(number: int, name: str) -> str:
    return f"{number or 'no'} {name}{'' if number == 1 else 's'}"


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__, PATTERN)


if __name__ == "__main__":
    run()
