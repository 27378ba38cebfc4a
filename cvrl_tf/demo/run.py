"""The demonstration: rendered videos -> TFRecords -> pre-training -> k-NN -> export.

Every step is the real one, on .mp4 files that are drawn here. A class is a shape with its motion;
colours, sizes, places, speeds and directions are random within a class, so that a network that sees
only colours is lost.
"""

import dataclasses
import os
import shlex
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cvrl_tf.conversion import catalogs, convert
from cvrl_tf.conversion.workers import InProcess
from cvrl_tf.demo.drawing import CLASSES, render_videos
from cvrl_tf.evaluation import classification, knn, report
from cvrl_tf.evaluation.classification import DataChoice
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.exporting import directory as export_directory
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.origin import load_run, untrained

DIRECTORY = "cvrl_demo"
VIDEOS_PER_CLASS = {"train": 40, "test": 15}
NUM_CLIPS = 3
NUM_NEIGHBORS = 5
WARMUP_EPOCHS = 1.0  # at most; fewer if the user asks for a short run


def settings(directory: str) -> dict[str, Any]:
    """The defaults of the flags of training in the demonstration in `directory`."""
    return {
        "train_data": os.path.join(directory, "records", "train-*"),
        "backbone": "r3d_small",
        "num_frames": 8,
        "crop_size": 48,
        "batch_size": 48,
        "epochs": 64.0,
        "learning_rate": 0.03,
        "save_every_steps": 100,
    }


def make_data(directory: str) -> None:
    """Renders and converts both splits, unless an earlier run has done so.

    Args:
      directory: to make.
    """
    splits: dict[str, Sequence[catalogs.Entry]] = {}
    for split, count in VIDEOS_PER_CLASS.items():
        videos = os.path.join(directory, "videos", split)
        if not os.path.exists(videos):
            render_videos(videos, count, first_seed=0 if split == "train" else 500)
        catalog = catalogs.folder(videos, split)
        splits |= catalog.splits
    records = os.path.join(directory, "records")
    convert.convert(dataclasses.replace(catalog, splits=splits), records, InProcess())


def _knn_top1(model_dir: str, config: PretrainConfig, records: str, pretrained: bool) -> float:
    """Evaluates as `cvrl_tf.knn_eval` does, and writes the same files."""
    start = time.monotonic()
    if pretrained:
        backbone, about = load_run(model_dir)
    else:
        backbone, about = untrained(config.backbone, config.width_multiplier, seed=config.seed)
    name = "pretrained" if pretrained else "random init"
    train, test = (
        DataChoice(os.path.join(records, f"{split}-*"), f"{split}_data", config.clip)
        for split in VIDEOS_PER_CLASS
    )
    task = classification.read_task(train, test)
    views = EvaluationViews(config.clip, NUM_CLIPS)
    neighbors = [NUM_NEIGHBORS]
    found = knn.evaluate(backbone, task, views, neighbors, description=f"{name}, features of")
    checkpoint = report.Checkpoint.of(backbone, about)
    result = knn.describe(found, checkpoint, task, views, time.monotonic() - start)
    report.write(report.default_directory(model_dir, "knn", about.checkpoint), result)
    return found.figures[f"knn_{NUM_NEIGHBORS}_top1"].value


def evaluate_and_export(directory: str, config: PretrainConfig, model_dir: str) -> None:
    """Compares the trained backbone with random weights, exports it, and prints all results.

    Args:
      directory: of `make_data`.
      config: of the pre-training.
      model_dir: of the pre-training.
    """
    records = os.path.join(directory, "records")
    export = os.path.join(directory, "export")
    random_init = _knn_top1(model_dir, config, records, pretrained=False)
    pretrained = _knn_top1(model_dir, config, records, pretrained=True)
    if not tf.io.gfile.exists(export):
        export_directory.write(*load_run(model_dir), export)
    print(
        f"""
videos        {directory}/videos, {len(CLASSES)} classes of rendered .mp4 files
TFRecords     {records}
training      {model_dir}: checkpoints, metrics.jsonl, flags.txt, evaluations
look at       {model_dir}/clip_pairs.png: clip pairs as the network sees them
export        {export}: the backbone for other projects; its README.md shows how to use it
next          tensorboard --logdir={shlex.quote(model_dir)}
              python -m cvrl_tf.make_tfrecords --help   convert your own videos
              python -m cvrl_tf.train --help          pre-train on them

knn_top1 random_init={random_init:.2f} pretrained={pretrained:.2f}"""
    )
