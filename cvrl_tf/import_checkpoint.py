"""Converts a checkpoint of the authors' released code to one that all commands can use.

  python -m cvrl_tf.import_checkpoint --official=k400_800ep --output=runs/k400_800ep

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
from cvrl_tf.models.official import has_head, load_official_checkpoint, official_step
from cvrl_tf.models.published import PUBLISHED
from cvrl_tf.training import run_config, weights
from cvrl_tf.training.origin import official_config

FLAGS = {
    "Import": (
        Flag(
            "official",
            "",
            f"Name of a published checkpoint, {', '.join(PUBLISHED)}, which is downloaded once, or"
            " prefix of other files of the authors' code: their common name, without .index and"
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
    output = flags.output
    prefix, config = official_config(flags.official)
    backbone, head = config.build_backbone(), None
    if has_head(prefix):
        head = build_projection_head(backbone.output_shape[-1])
    load_official_checkpoint(backbone, prefix, head)
    step = official_step(prefix)
    run_config.prepare(output, config)
    weights.save_imported(output, backbone, head, step)
    parts = "backbone and projection head" if head else "backbone (it has no projection head)"
    network = f"{config.backbone}, {config.width_multiplier} x filters"
    print(f"{output}: {network}, {parts}, step {step}")
    quoted = shlex.quote(output)
    print(
        f"next: python -m cvrl_tf.export --model_dir={quoted} --output_dir=..., or"
        f" python -m cvrl_tf.train --init_checkpoint={quoted} ..."
    )


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
