"""The flags of a clip, which every command that takes clips of videos has.

They have no defaults: a command that knows some sets them with `flags.set_default`.
"""

from absl import flags

NUM_FRAMES = flags.DEFINE_integer("num_frames", None, "Frames of a clip.", lower_bound=1)
STRIDE = flags.DEFINE_integer(
    "stride", None, "Frames of the video from one frame of a clip to the next.", lower_bound=1
)
CROP_SIZE = flags.DEFINE_integer(
    "crop_size", None, "Height and width of a clip in pixels.", lower_bound=32
)

GROUP = (NUM_FRAMES, STRIDE, CROP_SIZE)
