"""The benchmark of memory, and the tables that it computes."""

import functools
import json

import commands
import pytest

from cvrl_tf.training.config import PretrainConfig
from tools.benchmark.memory import Line, tables

_run = functools.partial(commands.run, "tools.benchmark")


def test_the_line_through_two_measurements():
    line = Line.through([4, 16], [900.0, 2100.0])
    assert line == Line(fixed_mb=500.0, clip_mb=100.0)
    assert [line.fitting_clips(gigabytes) for gigabytes in (1.5, 1.6, 3, 80)] == [0, 1, 15, 785]


def test_what_fits_which_card():
    """By hand: 1 GB of a card is reserved, 1 GB is fixed, and a video of two clips takes 1 GB."""
    lines = {"none": Line(1000.0, 500.0), "block": Line(1000.0, 125.0)}
    config = PretrainConfig(train_data="", batch_size=1024)
    assert tables(config, lines, num_devices=8) == {
        "Videos a device:": [
            ["", "16 GB", "24 GB", "40 GB", "80 GB"],
            ["--remat=none", "14", "22", "38", "78"],
            ["--remat=block", "56", "88", "152", "312"],
        ],
        "Devices for --batch_size=1024 without --accumulate:": [
            ["", "16 GB", "24 GB", "40 GB", "80 GB"],
            ["--remat=none", "128", "64", "32", "16"],
            ["--remat=block", "32", "16", "8", "4"],
        ],
        "--accumulate for --batch_size=1024 on 8 devices:": [
            ["", "16 GB", "24 GB", "40 GB", "80 GB"],
            ["--remat=none", "16", "8", "4", "2"],
            ["--remat=block", "4", "2", "1", "1"],
        ],
    }
    large = {"none": Line(1000.0, 20_000.0)}
    rows = list(tables(config, large, num_devices=8).values())
    assert [row[1][1:] for row in rows] == [
        ["0", "0", "0", "1"],
        ["-", "-", "-", "1024"],
        ["-", "-", "-", "128"],
    ]


@pytest.mark.slow
def test_the_command(tmp_path):
    output = tmp_path / "memory.json"
    work = ["--backbone=r3d_small", "--num_frames=4", "--precision=float32", "--batch_size=64"]
    work += ["--measured_crop_size=32", "--videos=16", "--steps=1", f"--json={output}"]
    result = _run("memory", *work)
    assert result.returncode == 0, result.stderr
    results = json.loads(output.read_text())["results"]
    assert list(results) == ["none", "norm", "block"]
    for figures in results.values():
        assert figures["clip_mb"] > 0 and figures["large_seconds"] > 0
    assert "Measured with clips of 4 frames of 32x32:" in result.stdout
    assert "--accumulate for --batch_size=64 on 8 devices:" in result.stdout
