"""The flags by which the commands after pre-training choose a backbone."""

from absl import flags

from cvrl_tf.errors import InputError

MODEL_DIR = flags.DEFINE_string(
    "model_dir",
    "",
    "Directory of a run of cvrl_tf.train, or of tools.import_checkpoint; its newest checkpoint is"
    " used.",
)
INIT_CHECKPOINT = flags.DEFINE_string(
    "init_checkpoint",
    "",
    "Instead of --model_dir, one of the checkpoints of such a directory: DIR/checkpoints/ckpt-500.",
)


def checkpoint_path(*further: flags.FlagHolder) -> str:
    """The directory or checkpoint that the user chose, for `run_directory.locate`.

    Args:
      *further: flags of the command that choose a backbone too.

    Raises:
      InputError: none or several of the flags are given.
    """
    holders = [MODEL_DIR, INIT_CHECKPOINT, *further]
    given = [holder for holder in holders if holder.value]
    if len(given) != 1:
        found, all_names = (", ".join(f"--{holder.name}" for holder in x) for x in (given, holders))
        raise InputError(
            f"Found {found or 'none'} of {all_names}: give one of them, to choose the backbone;"
            " --help shows an example."
        )
    return given[0].value
