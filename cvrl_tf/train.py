"""Contrastive pre-training of an R3D backbone on TFRecords of videos (CVRL, CVPR 2021).

python -m cvrl_tf.train
    renders a small video data set and goes the whole way on it, in minutes on a CPU
python -m cvrl_tf.train --train_data='records/train-*' --model_dir=runs/first
    pre-trains on your records; the same command goes on with a run that was stopped
"""

from collections.abc import Callable

import keras
from absl import flags

from cvrl_tf.cli import application
from cvrl_tf.cli import clip as clip_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.data.augment import AUGMENTATIONS
from cvrl_tf.data.labels import UNLABELLED, check_classes
from cvrl_tf.data.sampling import INTERVALS
from cvrl_tf.demo import run as demo
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification, knn
from cvrl_tf.evaluation.classification import Task
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.models import BACKBONES
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.optimizer import OPTIMIZERS
from cvrl_tf.training.pretrain import AUGMENT_ON, pretrain
from cvrl_tf.training.strategy import make_strategy

DEFAULTS = PretrainConfig(train_data="")
KNN_NEIGHBORS, KNN_CLIPS = 5, 3  # of the evaluation on the way

TRAIN_DATA = flags.DEFINE_string(
    "train_data",
    DEFAULTS.train_data,
    "Glob pattern of the TFRecord shards to train on; several are separated by commas. Or a split"
    " of a data set that TensorFlow Datasets has prepared, tfds:NAME[/CONFIG][:VERSION]:SPLIT, such"
    " as tfds:ucf101/ucf101_1_256:train; TFDS_DATA_DIR says where. Without it a small data set is"
    " rendered into --model_dir and the demonstration's settings hold.",
)
INTERVAL = flags.DEFINE_enum(
    "interval",
    DEFAULTS.interval,
    list(INTERVALS),
    "Distribution of the time x between the two clips of a video, 0 to the longest that fits:"
    " 1 - x^power, uniform, x^power, or always 0. With --num_frames=1, zero is SimCLR on single"
    " images; the network can be inflated for clips later, with --inflate.",
)
INTERVAL_POWER = flags.DEFINE_float(
    "interval_power",
    DEFAULTS.interval_power,
    "Power of that distribution; the paper compares 0.5, 1 and 2.",
    lower_bound=0.01,
)
AUGMENTATION = flags.DEFINE_enum(
    "augmentation",
    DEFAULTS.augmentation,
    list(AUGMENTATIONS),
    "released: the first view always blurred, the second seldom and sometimes solarised, as in the"
    " authors' code; paper: both alike, with crop, flip, colour jitter and grayscale only.",
)
BACKBONE = flags.DEFINE_enum(
    "backbone", DEFAULTS.backbone, list(BACKBONES), "Network; r3d_small is for CPUs."
)
WIDTH_MULTIPLIER = flags.DEFINE_integer(
    "width_multiplier", DEFAULTS.width_multiplier, "Factor of all numbers of filters.", 1
)
INIT_CHECKPOINT = flags.DEFINE_string(
    "init_checkpoint",
    DEFAULTS.init_checkpoint,
    "Initial weights instead of random ones: a directory of cvrl_tf.train or"
    " tools.import_checkpoint, or a checkpoint in one, DIR/checkpoints/ckpt-500.",
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    DEFAULTS.batch_size,
    "Videos of a step over all devices; each is seen as two clips and contrasted with all others.",
    lower_bound=2,
)
ACCUMULATE = flags.DEFINE_integer(
    "accumulate",
    DEFAULTS.accumulate,
    "Micro-batches of a step: the exact loss of the whole batch in the memory of a micro-batch, for"
    " a second forward pass. Batch normalisation takes its statistics from each micro-batch.",
    lower_bound=1,
)
STEPS = flags.DEFINE_integer(
    "steps", DEFAULTS.steps, "Steps of the run; 0 for those of --epochs.", lower_bound=0
)
OPTIMIZER = flags.DEFINE_enum(
    "optimizer",
    DEFAULTS.optimizer,
    list(OPTIMIZERS),
    "sgd: with momentum 0.9; lars: its rate scaled for each kernel by the ratio of norms, for large"
    " batches.",
)
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    DEFAULTS.learning_rate,
    "Learning rate before warm-up and cosine decay; 0.32 suits a batch of 1024 videos.",
    lower_bound=0,
)
SCALE_LEARNING_RATE = flags.DEFINE_bool(
    "scale_learning_rate",
    DEFAULTS.scale_learning_rate,
    "Multiply --learning_rate by --batch_size / 1024 (the linear scaling rule).",
)
WEIGHT_DECAY = flags.DEFINE_float(
    "weight_decay",
    DEFAULTS.weight_decay,
    "Factor of half the sum of the squared kernels, added to the loss.",
    lower_bound=0,
)
TEMPERATURE = flags.DEFINE_float(
    "temperature", DEFAULTS.temperature, "Divides the cosine similarities.", lower_bound=1e-3
)
SEED = flags.DEFINE_integer(
    "seed", DEFAULTS.seed, "Seed of the initial weights and of all random draws.", 0, 2**31 - 1
)
AUGMENTED_ON = flags.DEFINE_enum(
    "augment_on",
    "auto",
    list(AUGMENT_ON),
    "Where colours change: on the host, in the input pipeline, or on the device, inside the step,"
    " which leaves the host half of the work and sends a quarter of the bytes. auto: on the device"
    " if it is a GPU.",
)
REMAT = flags.DEFINE_bool(
    "remat",
    False,
    "Compute the activations inside blocks again in the backward pass: the same results in about"
    " three fifths of the memory that they take, for about a third more time.",
)
EVAL_DATA = flags.DEFINE_string(
    "eval_data",
    "",
    "Labelled shards, as --train_data: now and then, the share of their videos that the nearest"
    f" {KNN_NEIGHBORS} of --train_data, labelled too, classify rightly is measured on the features"
    " of the backbone (knn_top1 in the metrics). Each time reads both whole.",
)
EVAL_EVERY_EPOCHS = flags.DEFINE_float(
    "eval_every_epochs", 10.0, "Epochs from one such evaluation to the next.", lower_bound=0
)
MODEL_DIR = flags.DEFINE_string(
    "model_dir",
    "",
    "Directory for checkpoints, metrics and pictures. If it holds a run of the same settings, that"
    f" run goes on. The demonstration's default is {demo.DIRECTORY}.",
)
for holder in (*clip_flags.GROUP, loop_flags.EPOCHS, loop_flags.WARMUP_EPOCHS):
    flags.set_default(holder, getattr(DEFAULTS, holder.name))

CONFIG_GROUPS = {
    "Data": (TRAIN_DATA,),
    "Views": (*clip_flags.GROUP, INTERVAL, INTERVAL_POWER, AUGMENTATION),
    "Network": (BACKBONE, WIDTH_MULTIPLIER, INIT_CHECKPOINT),
    "Training": (
        BATCH_SIZE,
        ACCUMULATE,
        loop_flags.EPOCHS,
        STEPS,
        OPTIMIZER,
        LEARNING_RATE,
        SCALE_LEARNING_RATE,
        loop_flags.WARMUP_EPOCHS,
        WEIGHT_DECAY,
        TEMPERATURE,
        loop_flags.PRECISION,
        SEED,
    ),
}
GROUPS = {
    **CONFIG_GROUPS,
    "Devices, speed and memory": (loop_flags.STRATEGY, AUGMENTED_ON, REMAT),
    "Evaluation on the way": (EVAL_DATA, EVAL_EVERY_EPOCHS),
    "Trouble": loop_flags.TROUBLE,
    "Output": (MODEL_DIR, *loop_flags.OUTPUT),
}


def _knn_evaluation(config: PretrainConfig) -> Callable[[keras.Model], dict[str, float]]:
    """Measures a backbone by the nearest neighbours of --eval_data in --train_data."""
    data = []
    for holder in (TRAIN_DATA, EVAL_DATA):
        data.append(classification.read_data(holder.value, holder.name, config.clip))
        if UNLABELLED in data[-1].labels.labels:
            raise InputError(
                f"--{holder.name}={holder.value} has records without labels, which --eval_data"
                " needs: leave it out, or convert with class folders or lists."
            )
    train, test = data
    check_classes(train.videos.name, train.labels, test.videos.name, test.labels)
    task, views = Task(train, test, class_names=[]), EvaluationViews(config.clip, KNN_CLIPS)

    def evaluate(backbone: keras.Model) -> dict[str, float]:
        found = knn.evaluate(backbone, task, views, [KNN_NEIGHBORS])
        return {"knn_top1": found.figures[f"knn_{KNN_NEIGHBORS}_top1"].value}

    return evaluate


def main() -> None:
    """Pre-trains as the flags say."""
    strategy = make_strategy(loop_flags.STRATEGY.value)  # several workers want to be the first
    demo_directory = None
    if not TRAIN_DATA.value:
        demo_directory = MODEL_DIR.value or demo.DIRECTORY
        flags.FLAGS[MODEL_DIR.name].unparse()
        for name, value in demo.settings(demo_directory).items():
            flags.FLAGS.set_default(name, value)
    elif not MODEL_DIR.value:
        raise InputError(
            "--train_data is given without --model_dir: name a directory for checkpoints and"
            " metrics, such as --model_dir=runs/first."
        )
    holders = [holder for group in CONFIG_GROUPS.values() for holder in group]
    config = PretrainConfig(**{holder.name: holder.value for holder in holders})
    options = {
        "model_dir": MODEL_DIR.value,
        "flagfile": application.flagfile_text(GROUPS),
        "options": loop_flags.loop_options(),
        "augment_on": AUGMENTED_ON.value,
        "remat": REMAT.value,
        "override": loop_flags.OVERRIDE.value,
        "evaluate": _knn_evaluation(config) if EVAL_DATA.value else None,
        "evaluate_every_epochs": EVAL_EVERY_EPOCHS.value,
        "strategy": strategy,
    }
    if demo_directory:
        demo.run(demo_directory, config, **options)
        return
    pretrain(config, **options)
    print(f"checkpoints, metrics.jsonl, clip_pairs.png: {MODEL_DIR.value}")
    print(f"watch:    tensorboard --logdir={MODEL_DIR.value}")
    print(
        f"evaluate: python -m cvrl_tf.knn_eval --model_dir={MODEL_DIR.value}"
        f" --train_data='{config.train_data}' --test_data='...'"
    )


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
