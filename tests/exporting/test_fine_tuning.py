"""Fine-tuning in new environments with nothing but TensorFlow and Keras."""

import re
import sys

import pytest
from environments import install, run

CHECKS = [
    f"{way} {check}"
    for way in ("keras_file", "saved_model")
    for check in ("adam", "sgd_momentum", "reloaded", "frozen", "over 2 replicas")
]


def _run(environment, program, export, tmp_path, **variables):
    return run(environment, program, export, tmp_path, cwd=tmp_path, **variables)


def _check(lines, tensorflow):
    """Every check of the program ran, with the intended libraries."""
    assert lines[0] == f"TensorFlow {tensorflow}, Keras 3.15.1"
    assert [line.split(":")[0] for line in lines[1:]] == CHECKS
    for check, line in zip(CHECKS, lines[1:], strict=True):
        if "reloaded" not in check:
            first, last = map(float, re.search(r"loss ([\d.]+) to ([\d.]+), ", line).groups())
            assert last < (1.0 if "frozen" in check else 0.7) * first, line
            moved = "nothing of the backbone" if "frozen" in check else r"all [1-9]\d* weights"
            assert re.search(rf"{moved} moved$", line), line


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="TensorFlow 2.17 has no wheel for it")
def test_fine_tuning_with_the_reference_set_and_then_with_tensorflow_hub(
    environment, export, tmp_path
):
    install(environment, "tensorflow==2.17.1", "keras==3.15.1")
    _check(_run(environment, "fine_tuning_program.py", export, tmp_path), "2.17.1")
    # tensorflow_hub, under tf-keras, imports pkg_resources, which later setuptools lack.
    install(environment, "tf-keras==2.17.0", "tensorflow-hub==0.16.1", "setuptools<81")
    found = _run(environment, "tf_hub_program.py", export, tmp_path, TF_USE_LEGACY_KERAS="1")
    for line, trainable in zip(found, (True, False), strict=True):
        moved, count = map(int, re.search(r", (\d+) of (\d+) weights moved$", line).groups())
        assert line.startswith(f"trainable={trainable}: ") and count > 0
        assert moved == (count if trainable else 0)


@pytest.mark.slow
def test_fine_tuning_with_the_newest_tensorflow(environment, export, tmp_path):
    install(environment, "tensorflow==2.21.0", "keras==3.15.1")
    _check(_run(environment, "fine_tuning_program.py", export, tmp_path), "2.21.0")
