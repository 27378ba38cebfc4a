import re

import pytest
import tensorflow as tf
from commands import run

import cvrl_tf
from cvrl_tf.cli import versions


@pytest.mark.parametrize(
    "module",
    [
        "cvrl_tf.train",
        "cvrl_tf.knn_eval",
        "cvrl_tf.linear_eval",
        "cvrl_tf.finetune",
        "cvrl_tf.extract_features",
        "cvrl_tf.export",
        "cvrl_tf.make_tfrecords",
        "cvrl_tf.inspect_tfrecords",
        "cvrl_tf.import_checkpoint",
        "cvrl_tf.make_subset",
        "cvrl_tf.split_videos",
        "cvrl_tf.mean_results",
        "cvrl_tf.plot_metrics",
        "tools.benchmark",
        "tools.pressure",
    ],
)
def test_every_command_reports_versions(module):
    done = run(module, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"cvrl_tf {cvrl_tf.__version__}"
    assert lines[2].startswith(f"TensorFlow {tf.__version__}")
    for line, expected in zip(
        lines[1:],
        (
            r"Python 3\.\d+\.\d+, /.*",
            r"TensorFlow 2\.\d+\.\d+.*",
            r"Keras 3\.\d+\.\d+, backend tensorflow",
            r"NumPy \d+\.\d+\.\d+, protobuf \d+\.\d+\.\d+",
            r"PyAV \d+\.\d+\.\d+, FFmpeg \S+",
            r"CPUs: \d+ of \d+",
        ),
        strict=False,
    ):
        assert re.fullmatch(expected, line)


def test_devices(monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "DRIVER", str(tmp_path / "none"))
    assert versions.report().splitlines()[-1] == "GPUs: none"
    driver = tmp_path / "version"
    driver.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15\nGCC version: 12\n"
    )
    monkeypatch.setattr(versions, "DRIVER", str(driver))
    # The driver is there, and TensorFlow sees no card.
    last = versions.report().splitlines()[-1]
    assert last == "driver: NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15"
    devices = [tf.config.PhysicalDevice(f"/physical_device:{t}:0", t) for t in ("CPU", "GPU")]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *unused: devices)
    details = {"device_name": "NVIDIA H100", "compute_capability": (9, 0)}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    assert "GPU: NVIDIA H100, compute capability 9.0" in versions.report().splitlines()
