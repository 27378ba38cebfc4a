"""Exports a backbone for projects that have TensorFlow and Keras, but not this package.

  python -m cvrl_tf.export --model_dir=runs/first --output_dir=exports/first

The directory then holds backbone.keras and saved_model/, to fine-tune or to serve, and a README.md
with the code for each. The export of a run of cvrl_tf.finetune or cvrl_tf.linear_eval also holds
classifier.keras, from clips to class probabilities, which the SavedModel returns too. Before the
directory appears, all files are reloaded in a fresh process and their outputs are compared with
those of the checkpoint.
"""

import os

from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classifier as classifiers
from cvrl_tf.exporting import directory

FLAGS = {
    "Backbone": backbone_flags.TRAINED,
    "Output": (Flag("output_dir", "", "Directory to make; it must not exist yet."),),
}


def main(flags: Values) -> None:
    """Exports as the flags say."""
    output_dir = flags.output_dir.rstrip("/")
    if not output_dir:
        raise InputError("--output_dir is missing; --help shows an example.")
    directory.check(output_dir)
    backbone, origin = backbone_flags.load(flags)
    print(
        f"exporting {origin.description}, then reloading it in a fresh process",
        flush=True,
    )
    classifier = None
    if origin.kind == "run" and origin.checkpoint and classifiers.is_classifier(origin.config):
        classifier = classifiers.load(origin.checkpoint)
    difference = directory.write(backbone, origin, output_dir, classifier)
    print(f"written: {output_dir}")
    outputs = "features and probabilities" if classifier else "features"
    print(f"verified: {outputs} differ from the checkpoint's by {difference:.0e} of the largest")
    print(f"next: the code to fine-tune and serve it: {os.path.join(output_dir, 'README.md')}")


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
