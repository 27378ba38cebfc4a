"""Exports the backbone of a run as a SavedModel that runs without this package.

python -m cvrl_tf.export --model_dir=runs/first --output_dir=exports/first

backbone = tf.saved_model.load("exports/first")
features = backbone.serve(clips)   # (N, T, H, W, 3) float32 in [0, 1] -> (N, D) float32
"""

from absl import flags

from cvrl_tf import commandline
from cvrl_tf.errors import InputError
from cvrl_tf.models.saved_model import export_saved_model
from cvrl_tf.training import run_directory

MODEL_DIR = flags.DEFINE_string(
    "model_dir", "", "Directory of a run of cvrl_tf.train; its newest checkpoint is exported."
)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Directory to make for the SavedModel; it must not exist yet."
)

GROUPS = {"Export": (MODEL_DIR, OUTPUT_DIR)}


def main() -> None:
    """Exports as the flags say."""
    for holder in (MODEL_DIR, OUTPUT_DIR):
        if not holder.value:
            raise InputError(f"--{holder.name} is missing; --help shows an example.")
    backbone, step = run_directory.load_backbone(MODEL_DIR.value)
    export_saved_model(backbone, OUTPUT_DIR.value)
    print(f"SavedModel of step {step}: {OUTPUT_DIR.value}")


def run() -> None:
    """The command line."""
    commandline.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
