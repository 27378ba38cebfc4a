"""A classifier as a run of fine-tuning or a linear evaluation leaves it, without training."""

import numpy as np

from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.evaluation import classifier, report
from cvrl_tf.evaluation.bootstrap import Estimate
from cvrl_tf.evaluation.predictions import Predictions
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.models.heads import build_classifier
from cvrl_tf.training.config import SupervisedConfig

CLASS_NAMES = ["dive", "surf", "id"]
VIEWS = EvaluationViews(ClipSpec(frames=4, stride=2, size=32), num_clips=2, num_crops=1)


def write_classifier(directory, frozen: bool = False, train_data: str = "x", tested: bool = True):
    """Writes the directory of a run of three classes and returns its path as text."""
    config = SupervisedConfig(
        train_data=train_data,
        num_classes=3,
        frozen=frozen,
        backbone="r3d_small",
        num_frames=4,
        crop_size=32,
        init="random",
    )
    backbone = config.build_backbone()
    head = build_classifier(backbone.output_shape[-1], 3, seed=1)
    rng = np.random.default_rng(2)
    backbone(rng.uniform(0, 1, (2, 4, 32, 32, 3)).astype("float32"), training=True)
    kernel = rng.normal(0, 1 if frozen else 0.5, head.weights[0].shape)
    head.set_weights([kernel, np.array([0.5, 0.0, -0.5])])
    classifier.save(str(directory), config, backbone, head, step=6)
    if tested:
        probabilities = np.eye(3)[[0, 1, 2, 2]]
        result = report.Result(
            protocol="linear_sgd" if frozen else "finetune",
            checkpoint=report.Checkpoint(f"{directory}/checkpoints/ckpt-6", 6, "00"),
            test=report.Data("test-*", 4, 3, "0b"),
            views=VIEWS,
            figures={"top1": Estimate(0.75, 0.25, 1.0)},
            wall_seconds=1.0,
            predictions=Predictions(list("abcd"), probabilities, CLASS_NAMES, np.arange(4) % 3),
        )
        report.write(str(directory), result)
    return str(directory)
