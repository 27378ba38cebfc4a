"""Other implementations, measured beside this package in environments of their own.

Their programs are in `others`, and are run by the Python of an environment that has them, which a
flag names. What they depend on can then never be at odds with what this package depends on.
"""

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from cvrl_tf.errors import InputError
from tools.benchmark import others

Figures = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Implementation:
    """Something that this package is compared with.

    Attributes:
      title: in tables and messages.
      flag: that names the Python of its environment.
      packages: distributions whose versions its figures depend on; it needs all of them.
      requirements: what pip is to install, known to work.
    """

    title: str
    flag: str
    packages: tuple[str, ...]
    requirements: str


AUTHORS = Implementation(
    "the authors' implementation",
    "authors_python",
    ("tf-models-official", "tensorflow", "tf_keras"),
    "tf-models-official==2.20.0 tensorflow-cpu==2.20.0 tf_keras==2.20.1",
)
PYTORCH = Implementation("PyTorch", "pytorch_python", ("torch",), "torch==2.13.0")


class Environment:
    """A Python environment that has an implementation.

    Args:
      implementation: that is measured there.
      path: of the environment's Python interpreter.

    Raises:
      InputError: there is no such interpreter, or the implementation is not installed there.
    """

    def __init__(self, implementation: Implementation, path: str):
        self.implementation = implementation
        self._flag = f"--{implementation.flag}={path}"
        self._python = shutil.which(os.path.expanduser(path))
        if not self._python:
            raise InputError(
                f"{self._flag} is no program: expected the Python interpreter of an environment"
                f" that has {implementation.packages[0]}, such as ENVIRONMENT/bin/python."
            )
        self.versions = self._run("versions", {"packages": implementation.packages})
        missing = [name for name in implementation.packages if name not in self.versions]
        if missing:
            raise InputError(
                f"{self._flag} has no {' and no '.join(missing)}: install it there with"
                f" '{path} -m pip install {implementation.requirements}'."
            )

    def measure(self, program: str, settings: Mapping[str, Any]) -> Figures:
        """The figures of a program of `others` in this environment.

        Args:
          program: its name.
          settings: what the program says that it needs; anything that JSON can hold.

        Raises:
          InputError: the program failed.
        """
        return self._run(program, settings)

    def _run(self, program: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        path = os.path.join(os.path.dirname(others.__file__), f"{program}.py")
        # Without the environment variables of Python, which are meant for this environment (-E);
        # on the CPU, like all else that is compared.
        try:
            done = subprocess.run(
                [self._python, "-E", path, json.dumps(settings)],
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise self._failure(program, error.strerror) from error
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise self._failure(program, said[-1])
        try:
            return dict(json.loads(done.stdout.splitlines()[-1]))
        except (IndexError, ValueError, TypeError):
            raise self._failure(program, "it printed no figures") from None

    def _failure(self, program: str, why: str) -> InputError:
        return InputError(
            f"{self._flag} could not run {program} of tools/benchmark/others: {why.rstrip('.')}."
            f" Expected a Python environment with {self.implementation.requirements}."
        )

    def describe(self) -> str:
        """What was measured, with versions, in a line."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.implementation.title}: {versions}"


def find_environments(
    implementations: Mapping[str, Implementation], paths: Mapping[str, str | None]
) -> dict[str, Environment]:
    """The environments of those implementations that a path is given for, by the same names."""
    return {
        name: Environment(implementation, paths[name])
        for name, implementation in implementations.items()
        if paths[name]
    }


def check_parameters(environment: Environment, ours: Figures, theirs: Figures) -> None:
    """Refuses to compare networks that differ in the number of trained weights.

    Raises:
      InputError: they do.
    """
    if ours["parameters"] != theirs["parameters"]:
        raise InputError(
            f"The network of {environment.describe()} has {theirs['parameters']:,} trained weights"
            f" and ours {ours['parameters']:,}: times of different networks are not compared;"
            f" expected the versions of '{environment.implementation.requirements}'."
        )
