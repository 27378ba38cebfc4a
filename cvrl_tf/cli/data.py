"""The flags by which the evaluations on labels choose the videos to learn from and to test on."""

from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification
from cvrl_tf.evaluation.classification import Task

FLAGS = (
    Flag(
        "train_data",
        "",
        "Labelled TFRecord shards to learn from: a glob pattern or tfds:NAME:SPLIT, as in"
        " pre-training. Their largest label determines the number of classes.",
    ),
    Flag(
        "train_ids",
        "",
        "Learn from these records only: a text file with one id per line, as python -m"
        " cvrl_tf.make_subset writes it for evaluations with 1 % and 10 % of the labels.",
    ),
    Flag("test_data", "", "Labelled TFRecord shards to test on, named as in --train_data."),
    Flag(
        "test_ids",
        "",
        "Test on these records only, listed as in --train_ids. To choose settings, test on training"
        " videos that --train_ids does not list: give --test_data the value of --train_data.",
    ),
)


def check_given(flags: Values) -> None:
    """Raises InputError if the data to learn from or to test on are missing."""
    for name in ("train_data", "test_data"):
        if not flags[name].value:
            raise InputError(f"--{name} is missing; --help shows an example.")


def read_task(flags: Values, clip: ClipSpec) -> Task:
    """The data that the user gave.

    Args:
      flags: of a command that has `FLAGS`.
      clip: the clips to be taken.

    Raises:
      InputError: as `check_given` and `classification.read_task`.
    """
    check_given(flags)
    return classification.read_task(
        flags.train_data, flags.test_data, clip, flags.train_ids, flags.test_ids
    )
