"""One of several training processes: python -m tests.workers_program MODE RUN_DIRECTORY DATA

MODE is one_device, mirrored (two replicas in this process), mirrored_of_one (one replica, as on a
machine with one GPU), multi_worker (TF_CONFIG) or slurm.
"""

import os
import pathlib
import signal
import sys
import threading

import tensorflow as tf
from tiny_backbone import tiny_backbone

from cvrl_tf.models.normalization import ClipBatchNormalization
from cvrl_tf.training.checkpoints import RunCheckpoints
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.loop import LoopOptions
from cvrl_tf.training.pretrain import pretrain
from cvrl_tf.training.strategy import make_strategy

STEPS = 20


def _die_in_save(directory: str) -> None:
    """Kills this process as soon as the first file of a checkpoint is there."""

    def die_at_the_first_file():
        while not list(pathlib.Path(directory, "checkpoints").glob("*temp*")):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    save = RunCheckpoints.save

    def save_and_die(self, step):
        threading.Thread(target=die_at_the_first_file, daemon=True).start()
        save(self, step)

    RunCheckpoints.save = save_and_die


def main(mode: str, directory: str, data: str) -> None:
    """Trains 20 steps of twelve videos."""
    if mode == "mirrored":
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    elif mode == "mirrored_of_one":
        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    else:
        strategy = make_strategy(mode)
    PretrainConfig.build_backbone = lambda config, policy, layers: tiny_backbone(
        config.seed, policy, ClipBatchNormalization
    )
    config = PretrainConfig(
        train_data=data,
        num_frames=4,
        crop_size=32,
        backbone="r3d_small",
        batch_size=12,
        steps=STEPS,
        warmup_epochs=0.0,
        learning_rate=2e-8,  # rounding grows tenfold a step with larger ones, on one device too
    )
    if os.environ.get("DIE_IN_SAVE"):
        _die_in_save(directory)
    options = LoopOptions(log_every_steps=1, save_every_steps=5)
    pretrain(config, directory, options=options, strategy=strategy)


if __name__ == "__main__":
    main(*sys.argv[1:])
