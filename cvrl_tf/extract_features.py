"""Writes the features of videos to a file, with their ids: from records or from video files.

  python -m cvrl_tf.extract_features --model_dir=runs/first \\
      --files='videos/**/*.mp4' --output=features.npz

  stored = np.load("features.npz")  # features (N, V, D), ids (N,), labels (N,)

Axis 1 of the features is the views of a video, all crops of its first clip first: take the mean
over it for one feature per video. The features are the pooled outputs of the backbone, not
normalised. Labels of video files are -1; with --labels=folder they are the numbers of the folders,
whose names the file then holds as class_names. The same command resumes after any stop; unfinished
features are kept in OUTPUT.partial. A video that cannot be decoded is skipped and listed in
OUTPUT.failures.csv. The paper's views are
--num_frames=32 --stride=2 --crop_size=256 --num_clips=10 --num_crops=3.
"""

import functools
import os

from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import videos as video_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import extraction
from cvrl_tf.training.strategy import local_strategy

FLAGS = {
    "Backbone": backbone_flags.FLAGS,
    "Videos": (*video_flags.FLAGS, video_flags.LABELS),
    video_flags.DECODING_HEADING: video_flags.DECODING,
    view_flags.HEADING: view_flags.FLAGS,
    "Output": (
        Flag(
            "output",
            "",
            "File to make: .npz for NumPy, or .tfrecord with a tf.train.Example per video"
            " (features, features/shape, example/id, clip/label/index).",
        ),
    ),
}


def main(flags: Values) -> None:
    """Extracts as the flags say."""
    video_flags.check_given(flags)
    if not flags.output:
        raise InputError("--output is missing; --help shows an example.")
    writers = extraction.FEATURE_WRITERS
    extraction.check_output(flags.output, list(writers))
    with local_strategy().scope():
        backbone, origin = backbone_flags.load(flags)
    views = view_flags.of_run(flags, origin.config)
    network = extraction.features_of(backbone, views)
    write = writers[os.path.splitext(flags.output)[1]]
    videos = video_flags.find(flags, views.clip)
    if isinstance(videos, extraction.VideoFiles):
        write = functools.partial(write, class_names=videos.class_names)
    stored = extraction.extract(network, videos, flags.output, write)
    shape = ", ".join(map(str, (len(stored.ids), *stored.values.shape[1:])))
    print(f"features of {origin.description}: ({shape}) videos, views, size: {flags.output}")
    video_flags.print_failures(stored.failures, flags.output)


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
