"""Contrastive pre-training of an R3D backbone on TFRecords of videos (CVRL, CVPR 2021).

  python -m cvrl_tf.train --train_data='records/train-*' --model_dir=runs/first

The same command resumes a run that was stopped. Without --train_data it is a demonstration, which
takes minutes on a CPU: it renders a small data set of videos, converts it to records, pre-trains on
them, and evaluates and exports the backbone.
"""

import os
import shlex

from cvrl_tf.cli import augmentation as augmentation_flags
from cvrl_tf.cli import loop as loop_flags
from cvrl_tf.cli import monitoring, next_commands, sizes
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data import checks
from cvrl_tf.demo import run as demo
from cvrl_tf.errors import InputError
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.pretrain import Execution, pretrain
from cvrl_tf.training.strategy import make_strategy

FLAGS = {
    "Data": (
        Flag(
            "train_data",
            "",
            "Glob pattern of the TFRecord shards to train on; several are separated by commas. Or a"
            " split of a data set that TensorFlow Datasets has prepared below TFDS_DATA_DIR,"
            " tfds:NAME[/CONFIG][:VERSION]:SPLIT, such as tfds:ucf101/ucf101_1_256:train. When"
            " empty, the demonstration runs in --model_dir, with defaults of its own.",
        ),
        *flags_of(PretrainConfig, "train_ids"),
    ),
    "Views": (
        *flags_of(PretrainConfig, "num_frames", "stride", "crop_size"),
        *flags_of(PretrainConfig, "clips_per_video", "interval", "interval_power"),
    ),
    "Augmentation": augmentation_flags.FLAGS,
    "Network": flags_of(PretrainConfig, "backbone", "width_multiplier", "init_checkpoint"),
    "Method": flags_of(
        PretrainConfig, "loss", "temperature", "momentum_encoder", "anneal_momentum"
    ),
    "Batch and length": (
        *sizes.derived(
            flags_of(PretrainConfig, "batch_size", "accumulate", "epochs", "steps"),
            batch_size=sizes.batch_size_text("--max_batch_size"),
        ),
        sizes.MAX_BATCH_SIZE,
    ),
    "Optimization": (
        *sizes.derived(
            flags_of(
                PretrainConfig,
                *("optimizer", "learning_rate", "scale_learning_rate"),
                *("warmup_epochs", "weight_decay", "seed"),
            ),
            learning_rate=f"{PretrainConfig.learning_rate}, in proportion to a batch size below"
            f" {PretrainConfig.batch_size} that is derived",
            warmup_epochs=sizes.warmup_text(),
        ),
    ),
    "Devices, speed and memory": (
        *loop_flags.STRATEGY,
        *flags_of(PretrainConfig, "precision"),
        *flags_of(Execution, "augment_on", "remat"),
        *loop_flags.READING,
    ),
    "Evaluation during training": monitoring.FLAGS,
    "Fault tolerance": loop_flags.FAULT_TOLERANCE,
    "Output": (
        Flag(
            "model_dir",
            "",
            "Directory for checkpoints, metrics and pictures. A run of the same settings in it is"
            f" resumed. Required with --train_data; the demonstration uses {demo.DIRECTORY} by"
            " default.",
        ),
        *loop_flags.OUTPUT,
    ),
}


def main(flags: Values) -> None:
    """Pre-trains as the flags say."""
    # Several workers need it before anything else.
    strategy = make_strategy(flags.strategy, flags.start_timeout)
    demo_directory = None if flags.train_data else flags.model_dir or demo.DIRECTORY
    if demo_directory:
        demo.make_data(demo_directory)
        flags.model_dir = os.path.join(demo_directory, "model")  # type: ignore[assignment]
        for name, value in demo.settings(demo_directory).items():
            flags.set_default(name, value)
    elif not flags.model_dir:
        raise InputError(
            "--train_data is given without --model_dir: name a directory for checkpoints and"
            " metrics, such as --model_dir=runs/first."
        )
    else:
        checks.note_crops(flags.crop_size)
    parts = strategy.num_replicas_in_sync * flags.accumulate
    longest_warmup = demo.WARMUP_EPOCHS if demo_directory else PretrainConfig.warmup_epochs
    sizes.derive_schedule(flags, parts, longest_warmup)
    config = flags.make(PretrainConfig, augmentation=augmentation_flags.chosen(flags))
    pretrain(
        config,
        flags.model_dir,
        loop_flags.options(flags),
        flags.make(Execution),
        monitoring.knn_evaluation(flags, config),
        strategy,
    )
    if demo_directory:
        demo.evaluate_and_export(demo_directory, config, flags.model_dir)
        return
    print(f"checkpoints, metrics.jsonl, clip_pairs.png: {flags.model_dir}")
    print(f"watch:    tensorboard --logdir={shlex.quote(flags.model_dir)}")
    commands = next_commands.after_pretraining(flags.model_dir, config, flags.eval_data)
    print("\n".join(commands))


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
