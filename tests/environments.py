"""Virtual environments with packages of their own, for programs that use an export elsewhere."""

import os
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).parent


def install(environment, *requirements):
    """Installs packages from the registry that pip is configured for."""
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python"]
    subprocess.run([*pip, "install", "-q", *requirements], check=True)


def run(environment, program, *arguments, cwd, **variables):
    """The lines that a program in tests/ prints there, without this package on its path."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    variables.pop("PYTHONPATH", None)
    result = subprocess.run(
        [environment / "bin" / "python", "-P", TESTS / program, *arguments],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
    )
    print(result.stdout)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()
