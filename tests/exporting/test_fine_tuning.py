"""Fine-tuning where nothing but TensorFlow and Keras is installed: in environments made here."""

import os
import pathlib
import shutil
import subprocess
import venv

import pytest

TESTS = pathlib.Path(__file__).parent.parent
ENVIRONMENTS = {
    "reference": ("fine_tuning_program.py", ["tensorflow==2.17.1", "keras==3.15.1"]),
    "newest TensorFlow": ("fine_tuning_program.py", ["tensorflow==2.21.0", "keras==3.15.1"]),
    "tensorflow_hub under tf-keras": (
        "tf_hub_program.py",
        # tensorflow_hub imports pkg_resources, which later setuptools lack.
        ["tensorflow==2.17.1", "tf-keras==2.17.0", "tensorflow-hub==0.16.1", "setuptools<81"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_export_is_fine_tuned_without_this_package(name, export, tmp_path):
    program, requirements = ENVIRONMENTS[name]
    directory = tmp_path / "venv"
    try:
        venv.create(directory, with_pip=True)
        python = str(directory / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment.pop("PYTHONPATH", None)
        if "tf-keras" in name:
            environment["TF_USE_LEGACY_KERAS"] = "1"
        result = subprocess.run(
            [python, "-P", str(TESTS / program), str(export), str(tmp_path)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)  # more than a GB
    print(result.stdout)
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(result.stdout.splitlines()) >= 2
