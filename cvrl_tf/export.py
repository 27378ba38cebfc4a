"""Hands a backbone over to projects that have TensorFlow and Keras, but not this package.

  python -m cvrl_tf.export --model_dir=runs/first --output_dir=exports/first

The directory then holds backbone.keras and saved_model/, to fine-tune or to serve, and a README.md
with the code for each. Both are reloaded in a fresh process, and their features compared with those
of the checkpoint, before the directory appears.
"""

import os

from absl import flags

from cvrl_tf.cli import application
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.errors import InputError
from cvrl_tf.exporting import directory

OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Directory to make; it must not exist yet.")

GROUPS = {
    "Backbone": backbone_flags.TRAINED,
    "Output": (OUTPUT_DIR,),
}


def main() -> None:
    """Exports as the flags say."""
    output_dir = OUTPUT_DIR.value.rstrip("/")
    if not output_dir:
        raise InputError("--output_dir is missing; --help shows an example.")
    directory.check(output_dir)
    backbone, origin = backbone_flags.load()
    if not origin.checkpoint:
        raise InputError(
            f"Found --backbone ({origin.description}): an export hands over what was trained; give"
            " --model_dir, --init_checkpoint, --official or --inflate."
        )
    name = origin.config.backbone
    print(
        f"exporting {name} of step {origin.step}, then reloading it in a fresh process", flush=True
    )
    difference = directory.write(backbone, origin, output_dir)
    print(f"written: {output_dir}")
    print(f"verified: features differ from the checkpoint's by {difference:.0e} of the largest")
    print(f"next: the code to fine-tune and serve it: {os.path.join(output_dir, 'README.md')}")


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
