"""The flags by which evaluations choose the views of a video."""

import dataclasses

from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.training.config import NetworkConfig

CLIP = tuple(
    dataclasses.replace(flag, default=None)
    for flag in flags_of(NetworkConfig, "num_frames", "stride", "crop_size")
)
NUMBERS = (
    Flag("num_clips", 3, "Number of evenly spaced clips per video.", lower=1),
    Flag(
        "num_crops",
        1,
        "Crops of each clip, after the shorter side of the video is resized to the size of the"
        " crop: 1 at the centre, or 3 along the longer side.",
        choices=(1, 3),
    ),
)
FLAGS = (*CLIP, *NUMBERS)
OF_CLASSIFIER = (
    *CLIP,
    *(dataclasses.replace(flag, default=None, kind=int) for flag in NUMBERS),
)
HEADING = "Views (by default, clips as in pre-training)"


def of_clip(flags: Values, clip: ClipSpec) -> EvaluationViews:
    """The views that the flags choose, with the given clip."""
    return EvaluationViews(clip, flags.num_clips, flags.num_crops)


def of_run(flags: Values, config: NetworkConfig) -> EvaluationViews:
    """The views that the flags choose; the clip is that of `config` where a flag is not given."""
    clip = ClipSpec(
        flags.num_frames or config.num_frames,
        flags.stride or config.stride,
        flags.crop_size or config.crop_size,
    )
    return of_clip(flags, clip)


def of_classifier(flags: Values, views: EvaluationViews) -> EvaluationViews:
    """The views that the flags `OF_CLASSIFIER` choose; as `views` where a flag is not given."""
    clip = ClipSpec(
        flags.num_frames or views.clip.frames,
        flags.stride or views.clip.stride,
        flags.crop_size or views.clip.size,
    )
    num_clips, num_crops = flags.num_clips or views.num_clips, flags.num_crops or views.num_crops
    return EvaluationViews(clip, num_clips, num_crops)
