"""The flags by which the commands after pre-training choose a backbone.

A command puts `FLAGS`, or `TRAINED` if it has no use for random weights, under a heading of its
help, and calls `load`.
"""

from typing import Any

import keras

from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.download import CACHE
from cvrl_tf.errors import InputError
from cvrl_tf.models import BACKBONES
from cvrl_tf.models.published import PUBLISHED
from cvrl_tf.training import origin
from cvrl_tf.training.origin import Origin
from cvrl_tf.training.strategy import prepare_devices

TRAINED = (
    Flag(
        "model_dir",
        "",
        "Directory of a run of cvrl_tf.train or cvrl_tf.finetune, or written by"
        " cvrl_tf.import_checkpoint. Its newest checkpoint is used, or the best one that a"
        " fine-tuning with validation videos has kept.",
    ),
    Flag(
        "init_checkpoint",
        "",
        "Instead of --model_dir, one checkpoint of such a directory: DIR/checkpoints/ckpt-500.",
    ),
    Flag(
        "weights",
        "online",
        "Weights of a run: the trained ones (online), or the moving average of a run with"
        " --momentum_encoder (momentum). It applies to --model_dir and --init_checkpoint only.",
        choices=origin.WEIGHTS,
    ),
    Flag(
        "official",
        "",
        f"Instead of --model_dir, weights of the authors: {', '.join(PUBLISHED)}, downloaded once"
        f" (127 MB) into {CACHE}, by default below the user's cache directory; or the common prefix"
        " of the files of another checkpoint of their code, without .index and"
        " .data-00000-of-00001.",
    ),
    Flag(
        "inflate",
        "",
        "Instead of --model_dir, a network of single images whose kernels are repeated over time: a"
        " .weights.h5 or .keras file of keras.applications.ResNet50, or a run of cvrl_tf.train with"
        " --num_frames=1.",
    ),
)
FLAGS = (
    *TRAINED,
    Flag(
        "backbone",
        None,
        "Instead of --model_dir, features that have seen no data: this network with random weights,"
        " as a baseline or to train from scratch, or the colour histogram of a clip.",
        choices=(*BACKBONES, origin.COLOR_HISTOGRAM),
    ),
    Flag(
        "width_multiplier",
        1,
        "Multiplies the number of filters of every layer; applies only to --backbone; otherwise it"
        " is read from the checkpoint.",
        lower=1,
    ),
)
QUALIFIERS = ("weights", "width_multiplier")  # of a choice, not choices


def load(flags: Values, dtype: str = "float32", seed: int = 0) -> tuple[keras.Model, Origin]:
    """The backbone that the user chose, and where it comes from.

    Args:
      flags: of a command that has `FLAGS` or `TRAINED`.
      dtype: Keras dtype policy.
      seed: of random weights.

    Raises:
      InputError: none or several of the flags are given, or what they name cannot be loaded.
    """
    prepare_devices()
    names = [flag.name for flag in FLAGS if flag.name in flags and flag.name not in QUALIFIERS]
    given = [name for name in names if flags[name].value]
    if len(given) != 1:
        found, expected = (", ".join(f"--{name}" for name in x) for x in (given, names))
        raise InputError(
            f"Found {found or 'none'} of {expected}: give one of them, to choose the backbone;"
            " --help shows an example."
        )
    (chosen,) = given
    value: Any = flags[chosen].value
    of_run = chosen in ("model_dir", "init_checkpoint")
    if flags.weights == "momentum" and not of_run:
        raise InputError(
            f"Found --weights=momentum with --{chosen}, which has no average of its weights: give"
            " it with --model_dir or --init_checkpoint only."
        )
    if chosen == "backbone":
        return origin.untrained(value, flags.width_multiplier, dtype, seed)
    if "width_multiplier" in flags and flags.width_multiplier != 1:
        raise InputError(
            f"Found --width_multiplier with --{chosen}, whose checkpoint defines it: give it with"
            " --backbone only."
        )
    if chosen == "official":
        return origin.load_official(value, dtype)
    if chosen == "inflate":
        return origin.load_inflated(value, dtype)
    return origin.load_run(value, dtype, flags.weights)
