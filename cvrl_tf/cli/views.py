"""The flags by which evaluations choose the views of a video."""

from absl import flags

from cvrl_tf.cli import clip as clip_flags
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import PretrainConfig

NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", 3, "Evenly spaced clips of each video.", lower_bound=1
)
NUM_CROPS = flags.DEFINE_enum(
    "num_crops",
    "1",
    ["1", "3"],
    "Crops of each of them, once the shorter side of the video is resized to their size: the"
    " centre, or three along the longer side.",
)

GROUP = (*clip_flags.GROUP, NUM_CLIPS, NUM_CROPS)
HEADING = "Views; their clips are as in pre-training where a flag is not given"


def of_clip(clip: ClipSpec) -> EvaluationViews:
    """The views that the flags choose, with the given clip."""
    return EvaluationViews(clip, NUM_CLIPS.value, int(NUM_CROPS.value))


def of_run(config: PretrainConfig) -> EvaluationViews:
    """The views that the flags choose; the clip is that of the run where a flag is not given."""
    return of_clip(
        ClipSpec(
            clip_flags.NUM_FRAMES.value or config.num_frames,
            clip_flags.STRIDE.value or config.stride,
            clip_flags.CROP_SIZE.value or config.crop_size,
        )
    )
