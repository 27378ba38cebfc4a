"""The flags by which the commands after pre-training choose a backbone.

A command puts `HOLDERS`, or `TRAINED` if it has no use for random weights, under a heading of its
help, and calls `load`.
"""

import keras
from absl import flags

from cvrl_tf.errors import InputError
from cvrl_tf.models import BACKBONES
from cvrl_tf.training import origin
from cvrl_tf.training.origin import Origin

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
OFFICIAL = flags.DEFINE_string(
    "official",
    "",
    "Instead of these, a checkpoint of the authors' released code: its files' common name, without"
    " .index and .data-00000-of-00001.",
)
INFLATE = flags.DEFINE_string(
    "inflate",
    "",
    "Instead of these, a network of single images whose kernels are repeated over time: a"
    " .weights.h5 or .keras file of keras.applications.ResNet50, or a run of cvrl_tf.train with"
    " --num_frames=1.",
)
BACKBONE = flags.DEFINE_enum(
    "backbone",
    None,
    [*BACKBONES, origin.COLOR_HISTOGRAM],
    "Instead of these, what has seen no data: this network with random weights, as a baseline or"
    " to train from scratch, or the colours of a clip as its features.",
)
WIDTH_MULTIPLIER = flags.DEFINE_integer(
    "width_multiplier", 1, "Factor of all numbers of filters of --backbone.", lower_bound=1
)

TRAINED = (MODEL_DIR, INIT_CHECKPOINT, OFFICIAL, INFLATE)
HOLDERS = (*TRAINED, BACKBONE, WIDTH_MULTIPLIER)


def load(dtype: str = "float32", seed: int = 0) -> tuple[keras.Model, Origin]:
    """The backbone that the user chose, and where it comes from.

    Args:
      dtype: Keras dtype policy.
      seed: of random weights.

    Raises:
      InputError: none or several of the flags are given, or what they name cannot be loaded.
    """
    holders = (*TRAINED, BACKBONE)
    given = [holder for holder in holders if holder.value]
    if len(given) != 1:
        found, all_names = (", ".join(f"--{holder.name}" for holder in x) for x in (given, holders))
        raise InputError(
            f"Found {found or 'none'} of {all_names}: give one of them, to choose the backbone;"
            " --help shows an example."
        )
    (chosen,) = given
    if WIDTH_MULTIPLIER.value != 1 and chosen is not BACKBONE:
        raise InputError(
            f"Found --width_multiplier with --{chosen.name}, whose weights tell it: give it with"
            " --backbone only."
        )
    if chosen is OFFICIAL:
        return origin.load_official(chosen.value, dtype)
    if chosen is INFLATE:
        return origin.load_inflated(chosen.value, dtype)
    if chosen is BACKBONE:
        return origin.untrained(chosen.value, WIDTH_MULTIPLIER.value, dtype, seed)
    return origin.load_run(chosen.value, dtype)
