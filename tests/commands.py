"""Commands as a user starts them, without waiting for TensorFlow each time.

`python -m MODULE` takes 4 s of CPU to import TensorFlow and Keras. Here a server process (of the
standard library, one for each pytest worker) imports them once and forks for every command: a
process of its own, with its own arguments, environment, directory, output and exit status, which
imports all of this project anew. It has no threads but those of OpenBLAS, which may be forked.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).parents[1]
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["tensorflow", "keras", "sklearn.linear_model"])


def run_workers(
    module: str, *arguments: object, count: int = 2, timeout: float = 300.0
) -> list[subprocess.CompletedProcess]:
    """As `run`, in several processes at the same time, which are the workers of a TF_CONFIG."""
    addresses = free_addresses(count)
    with tempfile.TemporaryDirectory() as directory:
        workers = []
        for index in range(count):
            task = {"type": "worker", "index": index}
            cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
            outputs = pathlib.Path(directory, str(index))
            outputs.mkdir()
            workers.append(start(module, *arguments, directory=outputs, TF_CONFIG=cluster))
        return [worker.wait(timeout) for worker in workers]


def free_addresses(count: int) -> list[str]:
    """Addresses of this machine, different ones, at which no server listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def run(
    module: str,
    *arguments: object,
    cwd: str | os.PathLike = ROOT,
    fresh: bool = False,
    timeout: float = 300.0,
    **environment: str,
) -> subprocess.CompletedProcess:
    """Does what `python -m module arguments...` does, on a terminal of 80 columns.

    Args:
      module: the command.
      *arguments: of the command.
      cwd: the directory to run in.
      fresh: whether Python starts anew, as for a user, so that imports are part of what is tested.
      timeout: seconds after which the command is killed.
      **environment: variables beside those of this process.

    Raises:
      subprocess.TimeoutExpired: it was killed.
    """
    command = [module, *map(str, arguments)]
    variables = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT), **environment}
    if fresh:
        for name in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS"):
            if name not in environment:  # the package set them in this process
                variables.pop(name, None)
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=cwd,
            env=variables,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    with tempfile.TemporaryDirectory() as directory:
        return start(module, *arguments, directory=directory, cwd=cwd, **environment).wait(timeout)


@dataclasses.dataclass(frozen=True)
class Started:
    """A command that `start` has started.

    Attributes:
      command: the module and its arguments.
      process: with `pid`, `is_alive` and `kill`.
      outputs: the files of its output and errors.
    """

    command: Sequence[str]
    process: multiprocessing.process.BaseProcess
    outputs: Sequence[pathlib.Path]

    def wait(self, timeout: float = 300.0) -> subprocess.CompletedProcess:
        """Waits for its end; raises as `run`."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise subprocess.TimeoutExpired(self.command, timeout)
        texts = [output.read_text() for output in self.outputs]
        return subprocess.CompletedProcess(self.command, self.process.exitcode, *texts)


def start(
    module: str,
    *arguments: object,
    directory: str | os.PathLike,
    cwd: str | os.PathLike = ROOT,
    **environment: str,
) -> Started:
    """Begins what `run` does.

    Args:
      module: the command.
      *arguments: of the command.
      directory: where its output and errors are kept in files.
      cwd: the directory to run in.
      **environment: variables beside those of this process.
    """
    command = [module, *map(str, arguments)]
    variables = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT), **environment}
    outputs = [pathlib.Path(directory, name) for name in ("stdout", "stderr")]
    for output in outputs:
        output.touch()
    process = FORKSERVER.Process(target=_run, args=(command, str(cwd), variables, outputs))
    process.start()
    return Started(command, process, outputs)


def _run(
    command: Sequence[str], cwd: str, variables: Mapping[str, str], outputs: Sequence[pathlib.Path]
) -> None:
    for descriptor, output in zip((1, 2), outputs, strict=True):
        with open(output, "wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv[1:] = command[1:]  # runpy sets the first
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
