"""The flags by which the evaluations on labels choose the videos to learn from and to test on."""

from absl import flags

from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification
from cvrl_tf.evaluation.classification import Task

TRAIN_DATA = flags.DEFINE_string(
    "train_data",
    "",
    "The labelled TFRecord shards to learn from: a glob pattern or tfds:NAME:SPLIT, as in"
    " pre-training. Their largest label says how many classes there are.",
)
TRAIN_IDS = flags.DEFINE_string(
    "train_ids",
    "",
    "Learn from these of the records only: a text file with an id on each line, as python -m"
    " tools.make_subset writes it for evaluations with 1 % and 10 % of the labels.",
)
TEST_DATA = flags.DEFINE_string(
    "test_data", "", "The labelled TFRecord shards to test on: the same."
)
TEST_IDS = flags.DEFINE_string(
    "test_ids",
    "",
    "Test on these of the records only: the same. With --test_data as --train_data they can be"
    " training videos that --train_ids leaves out, to choose settings by.",
)

GROUP = (TRAIN_DATA, TRAIN_IDS, TEST_DATA, TEST_IDS)


def check_given() -> None:
    """Raises InputError if the data to learn from or to test on are missing."""
    for holder in (TRAIN_DATA, TEST_DATA):
        if not holder.value:
            raise InputError(f"--{holder.name} is missing; --help shows an example.")


def read_task(clip: ClipSpec) -> Task:
    """The data that the user gave.

    Args:
      clip: the clips to be taken.

    Raises:
      InputError: as `check_given` and `classification.read_task`.
    """
    check_given()
    return classification.read_task(
        TRAIN_DATA.value, TEST_DATA.value, clip, TRAIN_IDS.value, TEST_IDS.value
    )
