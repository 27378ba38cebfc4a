"""What the package finds before TensorFlow and Keras are imported, and how they start."""

import os
import platform
import subprocess
import sys
import types

import pytest
from commands import ROOT
from commands import run as run_command

from cvrl_tf import environment
from cvrl_tf.environment import UnsupportedEnvironment

# A console script has such a name. It imports what stands in for TensorFlow and Keras.
PROGRAM = "import cvrl_tf\nimport {first}\nprint('started')\n"
TENSORFLOW = """
import os, sys
__version__ = "{version}"
class config:
    def list_physical_devices():
        print("devices", file=sys.stderr)
{body}
"""


def _start(directory, version="2.17.1", body="", first="tensorflow", name="cvrl-probe"):
    """Runs a command with a TensorFlow that does `body` when it is imported."""
    for package, content in (
        ("tensorflow", TENSORFLOW.format(version=version, body=body)),
        ("keras", "import tensorflow\n"),
    ):
        (directory / package).mkdir()
        (directory / package / "__init__.py").write_text(content)
    (directory / name).write_text(PROGRAM.format(first=first))
    return subprocess.run(
        [sys.executable, str(directory / name)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{directory}:{ROOT}"},
    )


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy"])
@pytest.mark.parametrize("module", ["cvrl_tf.train", "cvrl_tf.make_tfrecords"])
def test_another_backend_of_keras_is_one_sentence(module, backend):
    done = run_command(module, "--help", fresh=True, KERAS_BACKEND=backend)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: Found KERAS_BACKEND={backend}, expected tensorflow: unset it, or set"
        " KERAS_BACKEND=tensorflow, before Python starts.\n"
    )


def test_a_program_can_catch_it():
    program = """
try:
    import cvrl_tf.models
except ImportError as error:
    print(error)
raise ValueError("of the program")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert done.stdout.startswith("Found KERAS_BACKEND=jax, expected tensorflow: ")
    assert done.stderr.startswith("Traceback ") and "error: Found" not in done.stderr
    assert done.returncode == 1


def test_the_users_backend_is_not_asked(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "")
    environment.prepare()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize(
    ("machine", "chosen", "expected"),
    [("x86_64", None, "1"), ("AMD64", None, "1"), ("x86_64", "0", "0"), ("aarch64", None, None)],
)
def test_onednn_is_on_where_it_is_fast(monkeypatch, machine, chosen, expected):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen or "")
    if chosen is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    environment.prepare()
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == expected


def test_keras_imported_with_another_backend(monkeypatch):
    keras = types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: "torch"))
    monkeypatch.setitem(sys.modules, "keras", keras)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(
        UnsupportedEnvironment,
        match="^Found Keras imported with the backend torch, expected tensorflow: import cvrl_tf"
        " before keras, or set KERAS_BACKEND=tensorflow.$",
    ):
        environment.prepare()


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 14, 0)])
def test_another_python_is_one_sentence(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr("platform.python_version", lambda: ".".join(map(str, version)))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(UnsupportedEnvironment, match=r", expected 3\.11 to 3\.13: make the env"):
        environment.prepare()


@pytest.mark.parametrize("first", ["tensorflow", "keras"])
def test_lines_of_the_start_are_dropped_and_others_kept(tmp_path, first):
    body = r"""
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to"
    b" STDERR\nI0000 00:00:1795642373.019979    8608 cudart_stub.cc:31] Could not find cuda"
    b" drivers on your machine, GPU will not be used.\n")
os.write(2, b"E external/local_xla/xla/cuda_dnn.cc:8454] Unable to register cuDNN factory:"
    b" Attempting to register factory for plugin cuDNN when one has already been registered\n")
os.write(2, b"E0000 00:00:17956.35  84 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA"
    b" error: Failed call to cuInit: UNKNOWN ERROR (303)\n")
os.write(2, b"E0000 00:00:17956.35  84 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA"
    b" error: Failed call to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\n")
os.write(2, b"W0000 ")
print("an error from Python", file=sys.stderr)
"""
    done = _start(tmp_path, body=body, first=first)
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
    mismatch, python, devices = done.stderr.splitlines()
    assert mismatch.endswith("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH")
    assert (python, devices) == ("W0000 an error from Python", "devices")


def test_what_comes_before_a_crash_is_kept(tmp_path):
    done = _start(tmp_path, body='os.write(2, b"F0000 no AVX instructions\\n"); os.abort()')
    assert done.returncode < 0
    assert done.stderr == "F0000 no AVX instructions\n"


def test_a_program_imports_tensorflow_unchanged(tmp_path):
    body = 'os.write(2, b"I0000 00:00:179.01 cudart_stub.cc:31] Could not find cuda drivers\\n")'
    done = _start(tmp_path, body=body, name="users_program.py")
    assert done.stderr == "I0000 00:00:179.01 cudart_stub.cc:31] Could not find cuda drivers\n"


@pytest.mark.parametrize(
    ("version", "note"),
    [
        ("2.17.0", ""),
        ("2.21.3", ""),
        (
            "2.22.0-rc1",
            "note: TensorFlow 2.22.0-rc1 is newer than the versions tested, 2.17 to 2.21.\n",
        ),
        ("2.16.2", "note: TensorFlow 2.16.2 is older than the versions tested, 2.17 to 2.21.\n"),
        ("3.0.0", "note: TensorFlow 3.0.0 is newer than the versions tested, 2.17 to 2.21.\n"),
    ],
)
def test_an_untested_tensorflow_is_noted(tmp_path, version, note):
    done = _start(tmp_path, version)
    assert (done.returncode, done.stdout) == (0, "started\n")
    assert done.stderr == f"devices\n{note}"


def test_a_tensorflow_that_is_too_old_is_one_sentence(tmp_path):
    done = _start(tmp_path, "2.15.1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "devices\nerror: Found TensorFlow 2.15.1, expected 2.17 to 2.21: install one of them, such"
        " as with 'pip install -r requirements.txt'.\n"
    )


@pytest.mark.parametrize("first", ["tensorflow", "keras"])
def test_packages_that_do_not_fit_are_one_sentence(tmp_path, first):
    body = 'raise TypeError("Descriptors cannot be created directly.\\nIf this call came from")'
    done = _start(tmp_path, body=body, first=first)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "error: TensorFlow and Keras cannot be imported (TypeError: Descriptors cannot be created"
        " directly. If this call came from). Found tensorflow "
    )
    assert ", protobuf " in done.stderr and done.stderr.endswith("lists what does not fit.\n")
    assert done.stderr.count("\n") == 1


IMPORT_ALL = """
import os, pathlib, sys, traceback
del os.sched_getaffinity
import cvrl_tf.environment
assert cvrl_tf.environment.granted_cpus() == os.cpu_count()

def load(name):
    __import__(name)
    print(name, flush=True)

def load_alone(name):
    process = os.fork()
    if not process:
        try:
            load(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        sys.exit(name)

def modules(pattern):
    for path in sorted(pathlib.Path().glob(pattern)):
        # Not those that the Python of another environment runs, nor of an extra, nor commands.
        if path.parent.name != "others" and path.name not in ("beam.py", "__main__.py"):
            yield ".".join(path.with_suffix("").parts).removesuffix(".__init__")

for name in modules("cvrl_tf/[!c]*/**/*.py"):
    load(name)
for name in modules("cvrl_tf/conversion/**/*.py"):
    load(name)
for name in [*modules("cvrl_tf/cli/*.py"), *modules("cvrl_tf/*.py"), *modules("tools/**/*.py")]:
    load_alone(name)  # some define flags of the same names
"""


def test_every_module_imports_without_sched_getaffinity():
    """As on macOS."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALL], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.splitlines())
    some = {"cvrl_tf.conversion.workers", "cvrl_tf.data.stream", "tools.make_tfrecords"}
    assert some <= imported
    assert len(imported) > 80
