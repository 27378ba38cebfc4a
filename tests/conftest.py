"""Fixtures: small records and videos that the tests make themselves."""

import pathlib
import signal

import cvrl_tf  # noqa: F401 - before TensorFlow, whose log it prepares

# isort: split
import keras
import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

# On GPUs, too, float32 is to be float32 here; TensorFlow multiplies in TF32 there.
tf.config.experimental.enable_tensor_float_32_execution(False)
# Replicas on one machine: must be set before TensorFlow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(scope="session", autouse=True)
def hang_up_signal():
    """SIGHUP as in a terminal: under nohup it is ignored, here and in the processes of tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def same_random_numbers():
    """The same weights in every run of a test, whatever ran before it."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Two shards of six videos each, classes 0 and 1; the glob pattern that finds them."""
    directory = tmp_path_factory.mktemp("records")
    for shard in range(2):
        write_shard(
            directory / f"train-{shard:05d}-of-00002",
            [make_video(6 * shard + index, label=index % 2) for index in range(6)],
        )
    return str(directory / "train-*")


@pytest.fixture(scope="session")
def two_replicas():
    """A MirroredStrategy of two logical CPUs; one a process, as TensorFlow's collectives want."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def one_replica():
    """A strategy of one device."""
    return tf.distribute.OneDeviceStrategy("CPU:0")


@pytest.fixture(scope="session")
def golden():
    """Loads the authors' values of `tests/golden/official_NAME.npz`."""
    return lambda name: np.load(pathlib.Path(__file__).parent / "golden" / f"official_{name}.npz")


@pytest.fixture
def remote_directory(request):
    """An empty directory of a file system that only TensorFlow knows."""
    path = f"ram://{request.node.name}"
    tf.io.gfile.makedirs(path)
    return path
