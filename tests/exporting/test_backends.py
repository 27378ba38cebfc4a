"""An export under the other backends of Keras, and converted: in environments of their own.

These tests install gigabytes. `python -m pytest -m backends -n 0` runs them, .ci/run does not.
"""

import re
import sys

import numpy as np
import pytest
from environments import install, run

pytestmark = pytest.mark.backends
TOLERANCE = 1e-6  # of the largest feature


@pytest.fixture
def reference(backbone, clips, tmp_path):
    """A file with clips and their features under TensorFlow."""
    path = tmp_path / "reference.npz"
    np.savez(path, clips=clips, features=backbone(clips, training=False).numpy())
    return path


def _difference(line):
    return float(re.search(r"features differ by (\S+)$", line)[1])


@pytest.mark.parametrize(
    ("backend", "requirement"), [("jax", "jax==0.10.2"), ("torch", "torch==2.13.0")]
)
def test_keras_file(backend, requirement, environment, export, reference, tmp_path):
    install(environment, requirement, "keras==3.15.1")
    features, fit, moved = run(
        environment, "backend_program.py", export, reference, cwd=tmp_path, KERAS_BACKEND=backend
    )
    assert features.startswith(f"{backend}, Keras 3.15.1: ") and _difference(features) < TOLERANCE
    first, last = map(float, re.search(r"loss (\S+) to (\S+)$", fit).groups())
    assert last < 0.5 * first
    assert moved == "moved: 51 of 51 trainable weights, 34 of 34 statistics"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="TensorFlow 2.17 has no wheel for it")
def test_tflite_and_onnx(environment, export, reference, tmp_path):
    install(
        environment,
        *("tensorflow==2.17.1", "keras==3.15.1", "numpy==1.26.4"),
        *("tf2onnx==1.17.0", "onnx==1.17.0", "onnxruntime==1.32.0"),
    )
    lines = run(environment, "converters_program.py", export, reference, cwd=tmp_path)
    assert [line.split(":")[0] for line in lines] == ["TFLite", "ONNX"]
    assert max(map(_difference, lines)) < TOLERANCE
