"""Fine-tuning where nothing but TensorFlow and Keras is installed: in environments made here."""

import os
import pathlib
import shutil
import subprocess
import sys
import venv

import pytest

TESTS = pathlib.Path(__file__).parent.parent


@pytest.fixture
def environment(tmp_path):
    """The path of an empty virtual environment; removed at the end, for it takes more than a GB."""
    directory = tmp_path / "venv"
    venv.create(directory)
    yield directory
    shutil.rmtree(directory)


def _install(environment, *requirements):
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python"]
    subprocess.run([*pip, "install", "-q", *requirements], check=True)


def _run(environment, program, export, tmp_path, **variables):
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    variables.pop("PYTHONPATH", None)
    result = subprocess.run(
        [environment / "bin" / "python", "-P", TESTS / program, export, tmp_path],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
    )
    print(result.stdout)
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(result.stdout.splitlines()) >= 2


@pytest.mark.slow
def test_fine_tuning_with_the_reference_set_and_then_with_tensorflow_hub(
    environment, export, tmp_path
):
    _install(environment, "tensorflow==2.17.1", "keras==3.15.1")
    _run(environment, "fine_tuning_program.py", export, tmp_path)
    # tensorflow_hub, under tf-keras, imports pkg_resources, which later setuptools lack.
    _install(environment, "tf-keras==2.17.0", "tensorflow-hub==0.16.1", "setuptools<81")
    _run(environment, "tf_hub_program.py", export, tmp_path, TF_USE_LEGACY_KERAS="1")


@pytest.mark.slow
def test_fine_tuning_with_the_newest_tensorflow(environment, export, tmp_path):
    _install(environment, "tensorflow==2.21.0", "keras==3.15.1")
    _run(environment, "fine_tuning_program.py", export, tmp_path)
