"""The flags that every command that trains has."""

from collections.abc import Sequence

from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.errors import InputError
from cvrl_tf.training.loop import LoopOptions
from cvrl_tf.training.pretrain import Execution
from cvrl_tf.training.rendezvous import START_SECONDS
from cvrl_tf.training.strategy import STRATEGIES, TPU

STRATEGY = (
    Flag(
        "strategy",
        "auto",
        f"Devices to train on: {', '.join(STRATEGIES)} or {TPU}NAME. one_device: the first GPU, or"
        " the CPU. mirrored: all GPUs of this machine. multi_worker: the machines of the"
        " environment variable TF_CONFIG; start the same command on each; all must have access to"
        " the same files. slurm: the tasks that srun started in a job of Slurm, without TF_CONFIG."
        " auto: multi_worker if TF_CONFIG names several workers, mirrored if there are several"
        " GPUs, otherwise one_device.",
    ),
    Flag(
        "start_timeout",
        START_SECONDS,
        "Longest time in seconds that workers wait for each other at the start. Raise it if a"
        " scheduler starts them far apart.",
        lower=0,
    ),
)
READING = (*flags_of(LoopOptions, "parallel_reads"), *flags_of(Execution, "data_service"))
OUTPUT = (
    *flags_of(
        LoopOptions,
        "save_every_steps",
        "save_every_minutes",
        "keep_checkpoints",
        "log_every_steps",
    ),
    Flag("profile", [], "FIRST,LAST: profile these steps for TensorBoard, such as 100,110."),
    *flags_of(LoopOptions, "override"),
)
FAULT_TOLERANCE = flags_of(LoopOptions, "max_bad_records", "on_nan")


def options(flags: Values) -> LoopOptions:
    """The options of the loop that the user chose.

    Raises:
      InputError: --profile is not two steps in their order.
    """
    return flags.make(LoopOptions, profile=_profile(flags.profile), flagfile=flags.flagfile())


def _profile(steps: Sequence[str]) -> tuple[int, int] | None:
    if not steps:
        return None
    try:
        first, last = map(int, steps)
        if not 1 <= first <= last:
            raise ValueError
    except ValueError:
        raise InputError(
            f"--profile={','.join(steps)}: expected the first and the last step to profile, such as"
            " 100,110."
        ) from None
    return first, last
