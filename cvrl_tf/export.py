"""Exports the backbone of a run as a SavedModel that runs without this package.

python -m cvrl_tf.export --model_dir=runs/first --output_dir=exports/first

backbone = tf.saved_model.load("exports/first")
features = backbone.serve(clips)   # (N, T, H, W, 3) float32 in [0, 1] -> (N, D) float32
"""

from absl import flags

from cvrl_tf import backbone_flags, commandline
from cvrl_tf.errors import InputError
from cvrl_tf.models.saved_model import export_saved_model
from cvrl_tf.training import run_directory

OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Directory to make for the SavedModel; it must not exist yet."
)

GROUPS = {
    "Backbone": (backbone_flags.MODEL_DIR, backbone_flags.INIT_CHECKPOINT),
    "Output": (OUTPUT_DIR,),
}


def main() -> None:
    """Exports as the flags say."""
    checkpoint = backbone_flags.checkpoint_path()
    if not OUTPUT_DIR.value:
        raise InputError("--output_dir is missing; --help shows an example.")
    backbone, step = run_directory.load_backbone(checkpoint)
    export_saved_model(backbone, OUTPUT_DIR.value)
    print(f"SavedModel of step {step}: {OUTPUT_DIR.value}")


def run() -> None:
    """The command line."""
    commandline.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
