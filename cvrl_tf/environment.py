"""What the package runs in: Python, Keras's backend, TensorFlow and its start, processors.

Runs before TensorFlow and Keras are imported. So it needs the standard library only, and imports
with a Python that the rest of the package does not support.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
OLDEST_TENSORFLOW, NEWEST_TENSORFLOW = (2, 17), (2, 21)  # that are tested
WORKING_TENSORFLOW = (2, 16)  # the oldest one that Keras 3 works with
X86 = ("x86_64", "AMD64")

# Reads lines of stdin and writes to stderr those that do not match the pattern of its argument.
FILTER = """
import re, sys
for line in sys.stdin.buffer:
    if not re.match(sys.argv[1].encode(), line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""
# What TensorFlow writes when it starts on a machine where all is well, even if its log level is 2:
# lines from before it reads that level, and errors on CUDA libraries that are there or not needed.
NOISE = "|".join(
    (
        r"WARNING: All log messages before absl::InitializeLog\(\) is called",
        r"[IW]\d{4} \d\d:\d\d:\d+\.\d+ ",
        r".*Unable to register cu\w+ factory: Attempting to register factory for plugin",
        r".*failed call to cuInit: .*UNKNOWN ERROR \(303\)",  # there is no driver
    )
)


class UnsupportedEnvironment(ImportError):
    """An environment that the package cannot run in: what was found, expected, and what to do."""


def prepare() -> None:
    """Checks the environment and prepares the start of TensorFlow and Keras.

    Sets KERAS_BACKEND, TF_ENABLE_ONEDNN_OPTS and TF_CPP_MIN_LOG_LEVEL where the user has not.
    TensorFlow uses oneDNN by default only on CPUs with some instructions of AVX-512 or with AMX; on
    other x86 CPUs, too, a training step is more than twice as fast with it.

    A command of this project imports TensorFlow by `_start`, which selects what of its start is
    shown, and shows its errors later; a program that imports the package imports TensorFlow
    unchanged, and its log is off: some releases log errors even where all is well. Set
    TF_CPP_MIN_LOG_LEVEL=0 to see everything.

    Raises:
      UnsupportedEnvironment: Python, or the backend of Keras, is not supported.
    """
    if not os.environ.get("KERAS_BACKEND"):
        os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's keras.json has
    if platform.machine() in X86:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    _check_python()
    _check_backend()
    watched = "tensorflow" not in sys.modules and (
        _is_command()
        or multiprocessing.parent_process() is not None
        # A spawned process knows its parent only after it has imported the main module.
        or "--multiprocessing-fork" in sys.orig_argv
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if watched else "3")
    if watched:
        sys.meta_path.insert(0, _StartFinder())


def granted_cpus() -> int:
    """Processors that this process may use; a scheduler such as Slurm grants some of them."""
    granted = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(granted(0)) if granted else os.cpu_count() or 1


def _check_python() -> None:
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        newest = _dotted(NEWEST_PYTHON)
        _refuse(
            f"Found Python {platform.python_version()}, expected {_dotted(OLDEST_PYTHON)} to"
            f" {newest}: make the environment with one of them, such as"
            f" 'python{newest} -m venv .venv'."
        )


def _check_backend() -> None:
    backend = os.environ["KERAS_BACKEND"]
    if backend != "tensorflow":
        _refuse(
            f"Found KERAS_BACKEND={backend}, expected tensorflow: unset it, or set"
            " KERAS_BACKEND=tensorflow, before Python starts."
        )
    keras = sys.modules.get("keras")
    if keras is not None and keras.config.backend() != "tensorflow":
        _refuse(
            f"Found Keras imported with the backend {keras.config.backend()}, expected tensorflow:"
            " import cvrl_tf before keras, or set KERAS_BACKEND=tensorflow."
        )


def _refuse(message: str) -> None:
    """Raises; where nothing catches it, Python prints one sentence and exits with status 2."""
    previous = sys.excepthook

    def print_sentence(kind, error, trace):
        if not isinstance(error, UnsupportedEnvironment):
            previous(kind, error, trace)
            return
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(2)  # a hook cannot set the status otherwise

    sys.excepthook = print_sentence
    raise UnsupportedEnvironment(message) from None


def _is_command() -> bool:
    """Whether Python was started for a command of this project."""
    if sys.argv[0] != "-m":  # Python is about to import the module
        return os.path.basename(sys.argv[0]).startswith("cvrl-")
    arguments = sys.orig_argv
    module = arguments[arguments.index("-m") + 1] if "-m" in arguments else ""
    return module.split(".")[0] in ("cvrl_tf", "tools")


class _StartFinder:
    """Finds TensorFlow or Keras, whichever is imported first, for `_start`."""

    def find_spec(self, name, path=None, target=None):
        if name not in ("keras", "tensorflow"):
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            start = functools.partial(_start, spec.loader.exec_module)
            spec.loader.exec_module = start  # type: ignore[method-assign]
        return spec


def _start(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Imports TensorFlow and Keras without `NOISE` on stderr, and checks that they can work.

    Args:
      execute: imports the first of them.
      module: the one that it imports.

    Raises:
      UnsupportedEnvironment: TensorFlow is too old, or one of them cannot be imported.
    """
    try:
        with _without_noise():
            execute(module)
            import keras  # noqa: F401
            import tensorflow as tf

            if not multiprocessing.parent_process():  # a worker uses no device
                tf.config.list_physical_devices()
    except Exception as error:
        _check_version(_installed("tensorflow"))
        _refuse(_import_failure(error))
    _check_version(tf.__version__)


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    reader, writer = os.pipe()
    # A process of its own: it writes what comes before a crash, too.
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", FILTER, NOISE],
        stdin=reader,
        start_new_session=True,  # an interrupt is for this process
    )
    os.close(reader)
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield
    finally:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(stderr, 2)  # the last end of the pipe: the child ends
        os.close(stderr)
        child.wait()


def _check_version(version: str) -> None:
    """Refuses a TensorFlow that cannot work, and prints a note on one that was not tested."""
    found = tuple(int(part) for part in version.split(".")[:2]) if version[:1].isdigit() else ()
    tested = f"{_dotted(OLDEST_TENSORFLOW)} to {_dotted(NEWEST_TENSORFLOW)}"
    if found and found < WORKING_TENSORFLOW:
        _refuse(
            f"Found TensorFlow {version}, expected {tested}: install one of them, such as with"
            " 'pip install -r requirements.txt'."
        )
    if found and not OLDEST_TENSORFLOW <= found <= NEWEST_TENSORFLOW:
        age = "older" if found < OLDEST_TENSORFLOW else "newer"
        print(
            f"note: TensorFlow {version} is {age} than the versions tested, {tested}.",
            file=sys.stderr,
        )


def _import_failure(error: Exception) -> str:
    names = ("tensorflow", "keras", "protobuf", "numpy", "ml-dtypes")
    versions = ", ".join(f"{name} {_installed(name)}" for name in names)
    text = " ".join(str(error).split())
    return (
        f"TensorFlow and Keras cannot be imported ({type(error).__name__}: {text[:300]}). Found"
        f" {versions}: expected versions that fit each other, as"
        " 'pip install -r requirements.txt' installs them; 'pip check' lists what does not fit."
    )


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
