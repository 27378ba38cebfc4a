"""Measures other implementations, in Python environments of their own.

The programs are in `others`. They are run by the Python of an environment that has the
implementation; a flag names it. So dependencies cannot conflict with those of this package.
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
    """An implementation that this package is compared with.

    Attributes:
      title: its name in tables and messages.
      flag: name of the flag for the Python of its environment.
      packages: required distributions; their versions are reported with the figures.
      requirements: arguments of pip that are known to work.
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
    """A Python environment with an implementation.

    Args:
      implementation: what is measured in it.
      path: its Python interpreter.

    Raises:
      InputError: there is no such interpreter, or the implementation is not installed.
    """

    def __init__(self, implementation: Implementation, path: str):
        self.implementation = implementation
        self._flag = f"--{implementation.flag}={path}"
        python = shutil.which(os.path.expanduser(path))
        if not python:
            raise InputError(
                f"{self._flag} is not a program: expected the Python interpreter of an environment"
                f" with {implementation.packages[0]}, such as ENVIRONMENT/bin/python."
            )
        self._python = python
        self.versions = self._run("versions", {"packages": implementation.packages})
        missing = [name for name in implementation.packages if name not in self.versions]
        if missing:
            raise InputError(
                f"{self._flag} has no {' and no '.join(missing)}: install the requirements by"
                f" '{path} -m pip install {implementation.requirements}'."
            )

    def measure(self, program: str, settings: Mapping[str, Any], on_gpu: bool = False) -> Figures:
        """The figures of a program of `others`, run in this environment.

        Args:
          program: its name.
          settings: the settings that the docstring of the program lists, as JSON values.
          on_gpu: whether the program sees the GPUs of this machine.

        Raises:
          InputError: the program failed.
        """
        return self._run(program, settings, on_gpu)

    def _run(
        self, program: str, settings: Mapping[str, Any], on_gpu: bool = False
    ) -> dict[str, Any]:
        path = os.path.join(os.path.dirname(others.__file__), f"{program}.py")
        # -E ignores Python's environment variables, which are meant for this process.
        hidden = {} if on_gpu else {"CUDA_VISIBLE_DEVICES": "-1"}
        try:
            done = subprocess.run(
                [self._python, "-E", path, json.dumps(settings)],
                env={**os.environ, **hidden, "TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise self._failure(program, error.strerror or str(error)) from error
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
        """One line with the title and the versions."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.implementation.title}: {versions}"


def find_environments(
    implementations: Mapping[str, Implementation], paths: Mapping[str, str | None]
) -> dict[str, Environment]:
    """The environments of the implementations that have a path, by the same names."""
    return {
        name: Environment(implementation, path)
        for name, implementation in implementations.items()
        if (path := paths[name])
    }


def check_parameters(environment: Environment, ours: Figures, theirs: Figures) -> None:
    """Checks that both networks have the same number of trained weights.

    Raises:
      InputError: they differ.
    """
    if ours["parameters"] != theirs["parameters"]:
        raise InputError(
            f"The network of {environment.describe()} has {theirs['parameters']:,} trained weights"
            f" and ours {ours['parameters']:,}: expected equal networks, which the versions of"
            f" '{environment.implementation.requirements}' give."
        )
