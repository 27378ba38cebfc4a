"""The flags that linear_eval and finetune share."""

from absl import flags

from cvrl_tf.training.pretrain import DTYPE_POLICIES
from cvrl_tf.training.supervised import SupervisedConfig

TRAIN_DATA = flags.DEFINE_string(
    "train_data",
    "",
    "The labelled TFRecord shards to train on: a glob pattern or tfds:NAME:SPLIT, as in"
    " pre-training. Their largest class index decides how many outputs the classifier has.",
)
TEST_DATA = flags.DEFINE_string(
    "test_data", "", "The labelled TFRecord shards to test on: the same."
)
NUM_FRAMES = flags.DEFINE_integer("num_frames", 32, "Frames of a clip.", lower_bound=1)
STRIDE = flags.DEFINE_integer(
    "stride", 2, "Frames of the video from one frame of a clip to the next.", lower_bound=1
)
CROP_SIZE = flags.DEFINE_integer(
    "crop_size", 224, "Height and width of a training clip in pixels.", lower_bound=32
)
TEST_CROP_SIZE = flags.DEFINE_integer(
    "test_crop_size",
    256,
    "Height and width of a test clip in pixels; the shorter side of the video is resized to it.",
    lower_bound=32,
)
NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", 10, "Evenly spaced clips of each test video.", lower_bound=1
)
NUM_CROPS = flags.DEFINE_enum(
    "num_crops",
    "3",
    ["1", "3"],
    "Crops of each of them: the centre, or three along the longer side.",
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 0, "Videos of a step over all devices; one clip of each.", lower_bound=1
)
EPOCHS = flags.DEFINE_float("epochs", 0, "Passes over the data.", lower_bound=0)
