"""Chooses a class-balanced subset of labelled records and writes the list of its ids.

  python -m cvrl_tf.make_subset --data='records/train-*' --fraction=0.01 --output=ids_1pct.txt
  python -m cvrl_tf.make_subset --data='records/train-*' --fraction=0.1 --output=ids_10pct.txt

Each class gets the same number of videos, at least one, unless it has fewer. The same data,
fraction and seed give the same list, and a smaller subset of a seed is part of a larger one. The
commands that train on labels take the list as --train_ids=ids_1pct.txt.
"""

import numpy as np

from cvrl_tf import files
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.data import subset
from cvrl_tf.data.labels import UNREADABLE, read_labels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError

FLAGS = {
    "Choice": (
        Flag(
            "data",
            "",
            "The labelled TFRecord shards: a glob pattern or tfds:NAME:SPLIT, as in training.",
        ),
        Flag("fraction", None, "Share of the videos to choose: 0.01 for 1 %.", float, 0, 1),
        Flag("seed", 0, "Seed of the choice.", lower=0),
    ),
    "Output": (Flag("output", "", "Text file for the ids, one per line."),),
}


def main(flags: Values) -> None:
    """Chooses and writes as the flags say."""
    for name in ("data", "fraction", "output"):
        if not flags[name].value:
            raise InputError(f"--{name} is missing; --help shows an example.")
    files.check_writable(flags.output, f"--output={flags.output}")
    source = find_source(flags.data, "data")
    records = read_labels(source.indexed())
    readable = np.flatnonzero(records.labels != UNREADABLE)
    ids, labels = [records.ids[number] for number in readable], records.labels[readable]
    subset.check(source.name, ids, labels)
    chosen = subset.choose(ids, labels, flags.fraction, flags.seed)
    subset.write_ids(flags.output, chosen)
    _, counts = np.unique(labels[subset.positions(source.name, ids, chosen)], return_counts=True)
    each = (
        f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    )
    damaged = len(records.labels) - len(readable)
    print(
        f"{flags.output}: {len(chosen)} of {len(ids)} videos, {each} of each of {len(counts)}"
        f" classes" + (f"; {damaged} damaged records were skipped" if damaged else "")
    )


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
