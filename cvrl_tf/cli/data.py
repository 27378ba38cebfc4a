"""The flags by which the evaluations on labels choose training and test videos."""

from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification
from cvrl_tf.evaluation.classification import DataChoice, Task

ALLOW_OVERLAP = Flag(
    "allow_overlap",
    False,
    "Evaluate even if all test videos are also training videos (same id or same first frame). A"
    " partial overlap is only noted.",
)
FLAGS = (
    Flag(
        "train_data",
        "",
        "Labelled TFRecord shards of the training videos: a glob pattern or tfds:NAME:SPLIT, as in"
        " pre-training. Their largest label determines the number of classes.",
    ),
    Flag(
        "train_ids",
        "",
        "Train on these videos only: a text file with one id per line, as python -m"
        " cvrl_tf.make_subset writes it for evaluations with 1 % and 10 % of the labels.",
    ),
    Flag("test_data", "", "Labelled TFRecord shards of the test videos, named as in --train_data."),
    Flag(
        "test_ids",
        "",
        "Test on these videos only, listed as in --train_ids. To choose settings, test on training"
        " videos that --train_ids does not list: give --test_data the value of --train_data.",
    ),
    ALLOW_OVERLAP,
)


def check_given(flags: Values) -> None:
    """Raises InputError if the training or the test data are missing."""
    for name in ("train_data", "test_data"):
        if not flags[name].value:
            raise InputError(f"--{name} is missing; --help shows an example.")


def read_task(flags: Values, test_clip: ClipSpec, train_clip: ClipSpec | None = None) -> Task:
    """The data that the user gave.

    Args:
      flags: of a command that has `FLAGS`.
      test_clip: the clips to take of the test videos.
      train_clip: the clips to train on; None where training videos are seen as test videos are.

    Raises:
      InputError: as `check_given` and `classification.read_task`.
    """
    check_given(flags)
    enlarge = train_clip is None
    train = DataChoice(
        flags.train_data, "train_data", train_clip or test_clip, flags.train_ids, enlarge
    )
    test = DataChoice(flags.test_data, "test_data", test_clip, flags.test_ids, enlarge=True)
    return classification.read_task(train, test, flags.allow_overlap)
