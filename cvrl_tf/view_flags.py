"""The flags by which the commands that compute features choose the views of a video."""

from absl import flags

from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.training.run_directory import PretrainConfig

NUM_FRAMES = flags.DEFINE_integer(
    "num_frames", None, "Frames of a clip; by default as in pre-training.", lower_bound=1
)
STRIDE = flags.DEFINE_integer(
    "stride",
    None,
    "Frames of the video from one frame of a clip to the next; by default as in pre-training.",
    lower_bound=1,
)
CROP_SIZE = flags.DEFINE_integer(
    "crop_size",
    None,
    "Height and width of a clip in pixels, to which the shorter side of the video is resized; by"
    " default as in pre-training. The paper's evaluation of its checkpoints has --num_frames=32"
    " --stride=2 --crop_size=256 --num_clips=10 --num_crops=3.",
    lower_bound=32,
)
NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", 3, "Evenly spaced clips of each video.", lower_bound=1
)
NUM_CROPS = flags.DEFINE_enum(
    "num_crops",
    "1",
    ["1", "3"],
    "Crops of each of them: the centre, or three along the longer side.",
)

GROUP = (NUM_FRAMES, STRIDE, CROP_SIZE, NUM_CLIPS, NUM_CROPS)


def clip(config: PretrainConfig) -> ClipSpec:
    """The clips that the user chose; those of the run where a flag is not given."""
    return ClipSpec(
        NUM_FRAMES.value or config.num_frames,
        STRIDE.value or config.stride,
        CROP_SIZE.value or config.crop_size,
    )
