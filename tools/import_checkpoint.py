"""Makes a checkpoint of the authors' released code one of ours, for all commands to use.

  python -m tools.import_checkpoint --official=r3d_1x_k400_800ep/ckpt-48000 --output=runs/k400_800ep

The directory is then like one of cvrl_tf.train:
  python -m cvrl_tf.knn_eval --model_dir=runs/k400_800ep ...
  python -m cvrl_tf.export --model_dir=runs/k400_800ep --output_dir=exports/k400_800ep
  python -m cvrl_tf.train --init_checkpoint=runs/k400_800ep ...
"""

import shlex

from absl import flags

from cvrl_tf.cli import application
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

OFFICIAL = flags.DEFINE_string(
    "official",
    "",
    "Prefix of the authors' checkpoint: the files' common name, without .index and"
    " .data-00000-of-00001. A backbone alone, or a full pre-training checkpoint.",
)
OUTPUT = flags.DEFINE_string("output", "", "Directory to make for the checkpoint.")

GROUPS = {"Import": (OFFICIAL, OUTPUT)}


def main() -> None:
    """Imports as the flags say."""
    for holder in (OFFICIAL, OUTPUT):
        if not holder.value:
            raise InputError(f"--{holder.name} is missing; --help shows an example.")
    prefix = OFFICIAL.value.removesuffix(".index")
    name, width_multiplier = official_architecture(prefix)
    config = NetworkConfig(backbone=name, width_multiplier=width_multiplier, init_checkpoint=prefix)
    backbone, head = config.build_backbone(), None
    if has_head(prefix):
        head = build_projection_head(backbone.output_shape[-1])
    load_official_checkpoint(backbone, prefix, head)
    step = official_step(prefix)
    run_config.prepare(OUTPUT.value, config)
    weights.save_imported(OUTPUT.value, backbone, head, step)
    parts = "backbone and projection head" if head else "backbone (it has no projection head)"
    print(f"{OUTPUT.value}: {name}, {width_multiplier} x filters, {parts}, step {step}")
    directory = shlex.quote(OUTPUT.value)
    print(
        f"next: python -m cvrl_tf.export --model_dir={directory} --output_dir=..., or"
        f" python -m cvrl_tf.train --init_checkpoint={directory} ..."
    )


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
