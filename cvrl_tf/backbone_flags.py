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


def checkpoint_path() -> str:
    """The directory or checkpoint that the user chose, for `run_directory.locate`.

    Raises:
      InputError: none or both of the flags are given.
    """
    given = [holder.value for holder in (MODEL_DIR, INIT_CHECKPOINT) if holder.value]
    if len(given) != 1:
        raise InputError(
            f"Found {'both' if given else 'neither'} of --model_dir and --init_checkpoint: give one"
            " of them, to choose the backbone; --help shows an example."
        )
    return given[0]
