"""Chooses a class-balanced subset of labelled records, and writes the list of its ids.

  python -m tools.make_subset --data='records/train-*' --fraction=0.01 --output=ids_1pct.txt
  python -m tools.make_subset --data='records/train-*' --fraction=0.1 --output=ids_10pct.txt

Each class has the same number of videos, as far as it has so many, and at least one. The same data,
fraction and seed give the same list, and a smaller subset of a seed lies in a larger one. The
commands that train on labels take it as --train_ids=ids_1pct.txt.
"""

import numpy as np
from absl import flags

from cvrl_tf import files
from cvrl_tf.cli import application
from cvrl_tf.data import subset
from cvrl_tf.data.labels import UNREADABLE, read_labels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError

DATA = flags.DEFINE_string(
    "data",
    "",
    "The labelled TFRecord shards: a glob pattern or tfds:NAME:SPLIT, as in training.",
)
FRACTION = flags.DEFINE_float(
    "fraction", None, "Share of the videos to choose: 0.01 for 1 %.", lower_bound=0, upper_bound=1
)
SEED = flags.DEFINE_integer("seed", 0, "Of the choice.", lower_bound=0)
OUTPUT = flags.DEFINE_string("output", "", "Text file for the ids, one to a line.")

GROUPS = {"Choice": (DATA, FRACTION, SEED), "Output": (OUTPUT,)}


def main() -> None:
    """Chooses and writes as the flags say."""
    for holder in (DATA, FRACTION, OUTPUT):
        if not holder.value:
            raise InputError(f"--{holder.name} is missing; --help shows an example.")
    files.check_writable(OUTPUT.value, f"--output={OUTPUT.value}")
    source = find_source(DATA.value, DATA.name)
    records = read_labels(source.indexed())
    readable = np.flatnonzero(records.labels != UNREADABLE)
    ids, labels = [records.ids[number] for number in readable], records.labels[readable]
    subset.check(source.name, ids, labels)
    chosen = subset.choose(ids, labels, FRACTION.value, SEED.value)
    subset.write_ids(OUTPUT.value, chosen)
    _, counts = np.unique(labels[subset.positions(source.name, ids, chosen)], return_counts=True)
    each = (
        f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    )
    damaged = len(records.labels) - len(readable)
    print(
        f"{OUTPUT.value}: {len(chosen)} of {len(ids)} videos, {each} of each of {len(counts)}"
        f" classes" + (f"; {damaged} damaged records were left out" if damaged else "")
    )


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
