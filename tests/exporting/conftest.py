"""A backbone with changed batch statistics, and its export."""

import json
import shutil
import venv

import numpy as np
import pytest

from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.evaluation import report
from cvrl_tf.evaluation.bootstrap import Estimate
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.exporting import directory
from cvrl_tf.models import build_backbone
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.origin import Origin


@pytest.fixture(scope="package")
def clips():
    """(2, 4, 32, 48, 3) float32 in [0, 1]."""
    return np.random.default_rng(0).uniform(0, 1, (2, 4, 32, 48, 3)).astype("float32")


@pytest.fixture(scope="package")
def backbone(clips):
    """A small backbone; not to be changed."""
    model = build_backbone("r3d_small", seed=3)
    model(clips, training=True)
    return model


@pytest.fixture(scope="package")
def origin(tmp_path_factory):
    """Of a run at step 6, with figures, beside whose records are class names."""
    root = tmp_path_factory.mktemp("origin")
    model_dir = root / "run"
    model_dir.mkdir()
    (root / "labels.txt").write_text("dive\nsurf\n")
    rows = [{"step": step, "loss": 3.0 / step} for step in (2, 6, 8)]
    (model_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, step, top1 in ("random", 0, 0.5), ("ckpt-6", 6, 0.75), ("ckpt-3", 3, 0.625):
        result = report.Result(
            protocol="knn",
            checkpoint=report.Checkpoint(None if name == "random" else name, step, "00"),
            test=report.Data("test-*", 8, 2, "00"),
            views=EvaluationViews(ClipSpec(4, 3, 32), 3),
            figures={"top1": Estimate(top1, 0.25, 1.0)},
            wall_seconds=1.0,
        )
        report.write(f"{model_dir}/evaluations/knn_{name}", result)
    config = PretrainConfig(
        train_data=f"{root}/train-*", backbone="r3d_small", num_frames=4, stride=3, crop_size=32
    )
    return Origin(config, f"{model_dir}/checkpoints/ckpt-6", 6, str(model_dir))


@pytest.fixture(scope="package")
def export(backbone, origin, tmp_path_factory):
    """The directory of an export; not to be changed."""
    output = tmp_path_factory.mktemp("exports") / "first"
    assert directory.write(backbone, origin, str(output)) < 1e-5
    return output


@pytest.fixture
def environment(tmp_path):
    """The path of an empty virtual environment; removed at the end, for it takes more than a GB."""
    directory = tmp_path / "venv"
    venv.create(directory)
    yield directory
    shutil.rmtree(directory)
