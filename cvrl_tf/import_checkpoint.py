"""Converts a checkpoint of the authors' released code to one that all commands can use.

  python -m cvrl_tf.import_checkpoint --official=r3d_1x_k400_800ep/ckpt --output=runs/k400_800ep

The directory is then like one of cvrl_tf.train:
  python -m cvrl_tf.knn_eval --model_dir=runs/k400_800ep ...
  python -m cvrl_tf.export --model_dir=runs/k400_800ep --output_dir=exports/k400_800ep
  python -m cvrl_tf.train --init_checkpoint=runs/k400_800ep ...
"""

import shlex

from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.errors import InputError
from cvrl_tf.models import build_projection_head
from cvrl_tf.models.official import (
    has_head,
    load_official_checkpoint,
    official_architecture,
    official_step,
)
from cvrl_tf.training import run_config, weights
from cvrl_tf.training.config import NetworkConfig

FLAGS = {
    "Import": (
        Flag(
            "official",
            "",
            "Prefix of the authors' checkpoint: the files' common name, without .index and"
            " .data-00000-of-00001. A backbone alone, or a full pre-training checkpoint.",
        ),
        Flag("output", "", "Directory to make for the checkpoint."),
    )
}


def main(flags: Values) -> None:
    """Imports as the flags say."""
    for name in ("official", "output"):
        if not flags[name].value:
            raise InputError(f"--{name} is missing; --help shows an example.")
    output, prefix = flags.output, flags.official.removesuffix(".index")
    name, width_multiplier = official_architecture(prefix)
    config = NetworkConfig(backbone=name, width_multiplier=width_multiplier, init_checkpoint=prefix)
    backbone, head = config.build_backbone(), None
    if has_head(prefix):
        head = build_projection_head(backbone.output_shape[-1])
    load_official_checkpoint(backbone, prefix, head)
    step = official_step(prefix)
    run_config.prepare(output, config)
    weights.save_imported(output, backbone, head, step)
    parts = "backbone and projection head" if head else "backbone (it has no projection head)"
    print(f"{output}: {name}, {width_multiplier} x filters, {parts}, step {step}")
    quoted = shlex.quote(output)
    print(
        f"next: python -m cvrl_tf.export --model_dir={quoted} --output_dir=..., or"
        f" python -m cvrl_tf.train --init_checkpoint={quoted} ..."
    )


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
