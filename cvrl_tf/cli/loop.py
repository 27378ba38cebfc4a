"""The flags of training that every command that trains has."""

from absl import flags

from cvrl_tf.errors import InputError
from cvrl_tf.training.log import ON_NAN
from cvrl_tf.training.loop import DEFAULT_OPTIONS, LoopOptions
from cvrl_tf.training.precision import DTYPE_POLICIES
from cvrl_tf.training.strategy import STRATEGIES, TPU

STRATEGY = flags.DEFINE_string(
    "strategy",
    "auto",
    f"{'|'.join(STRATEGIES)}|{TPU}NAME: the first GPU, or the CPU; all GPUs of this machine; the"
    " machines of the environment variable TF_CONFIG, on each of which the same command is started,"
    " with the same files in reach; a TPU. auto: multi_worker if TF_CONFIG names several workers,"
    " otherwise mirrored.",
)
EPOCHS = flags.DEFINE_float("epochs", None, "Passes over the data.", lower_bound=0)
WARMUP_EPOCHS = flags.DEFINE_float(
    "warmup_epochs", None, "Epochs of linear warm-up.", lower_bound=0
)
PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    list(DTYPE_POLICIES),
    "Type of the computation; weights are float32 in any case.",
)
SAVE_EVERY_STEPS = flags.DEFINE_integer(
    "save_every_steps",
    DEFAULT_OPTIONS.save_every_steps,
    "Steps from one checkpoint to the next.",
    lower_bound=1,
)
SAVE_EVERY_MINUTES = flags.DEFINE_float(
    "save_every_minutes",
    DEFAULT_OPTIONS.save_every_minutes,
    "Also a checkpoint when so long has passed since the last; 0 for never.",
    lower_bound=0,
)
KEEP_CHECKPOINTS = flags.DEFINE_integer(
    "keep_checkpoints",
    DEFAULT_OPTIONS.keep_checkpoints,
    "How many of the newest checkpoints stay.",
    lower_bound=1,
)
LOG_EVERY_STEPS = flags.DEFINE_integer(
    "log_every_steps",
    DEFAULT_OPTIONS.log_every_steps,
    "Steps from one line of metrics to the next.",
    lower_bound=1,
)
MAX_BAD_RECORDS = flags.DEFINE_integer(
    "max_bad_records",
    DEFAULT_OPTIONS.max_bad_records,
    "So many different records that are damaged, or have a frame that cannot be decoded, are left"
    " out, counted and listed in bad_records.txt; one more ends the run.",
    lower_bound=0,
)
ON_NAN_FLAG = flags.DEFINE_enum(
    "on_nan",
    DEFAULT_OPTIONS.on_nan,
    list(ON_NAN),
    "A step whose loss or gradients are not finite never changes the weights; then the run stops,"
    " or skips the step and goes on.",
)
PROFILE = flags.DEFINE_list(
    "profile", [], "FIRST,LAST: profile these steps for TensorBoard, such as 100,110."
)
OVERRIDE = flags.DEFINE_bool(
    "override", False, "Go on with a run that was started with other flags, with those given now."
)

OUTPUT = (
    SAVE_EVERY_STEPS,
    SAVE_EVERY_MINUTES,
    KEEP_CHECKPOINTS,
    LOG_EVERY_STEPS,
    PROFILE,
    OVERRIDE,
)
TROUBLE = (MAX_BAD_RECORDS, ON_NAN_FLAG)


def loop_options() -> LoopOptions:
    """What the flags say.

    Raises:
      InputError: --profile is not two steps in their order.
    """
    return LoopOptions(
        save_every_steps=SAVE_EVERY_STEPS.value,
        save_every_minutes=SAVE_EVERY_MINUTES.value,
        keep_checkpoints=KEEP_CHECKPOINTS.value,
        log_every_steps=LOG_EVERY_STEPS.value,
        max_bad_records=MAX_BAD_RECORDS.value,
        on_nan=ON_NAN_FLAG.value,
        profile=_profile(),
    )


def _profile() -> tuple[int, int] | None:
    if not PROFILE.value:
        return None
    try:
        first, last = map(int, PROFILE.value)
        if not 1 <= first <= last:
            raise ValueError
    except ValueError:
        raise InputError(
            f"--profile={','.join(PROFILE.value)}: expected the first and the last step to profile,"
            " such as 100,110."
        ) from None
    return first, last
