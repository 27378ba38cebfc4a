"""The benchmark of memory, and the tables that it computes."""

import json

import pytest

from cvrl_tf.training.config import PretrainConfig
from tools.benchmark import memory
from tools.benchmark.memory import Line, tables


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


def test_the_command(tmp_path, monkeypatch, capsys):
    """A stand-in measures: 300 MB, and 10 MB a clip, less with recomputation."""
    factors = {"none": 1.0, "norm": 0.6, "block": 0.5}
    measured = []

    def stand_in(config, remat, num_steps):
        measured.append((config.crop_size, config.batch_size, num_steps))
        clips = config.clips_per_video * config.batch_size
        return {"megabytes": 300.0 + factors[remat] * 10.0 * clips, "seconds": 0.5 * clips}

    monkeypatch.setattr(memory, "in_own_process", stand_in)
    output = tmp_path / "memory.json"
    memory.COMMAND.call("--batch_size=64", "--videos=3", "--steps=4", f"--json={output}")
    assert measured == 3 * [(112, 3, 4), (112, 9, 4)]
    content = json.loads(output.read_text())
    assert content["settings"]["crop_size"] == 224
    for remat, factor in factors.items():
        assert content["results"][remat] == pytest.approx(
            {
                "fixed_mb": 300.0,
                "clip_mb": 10.0 * factor,
                "small_seconds": 3.0,
                "large_seconds": 9.0,
            }
        )
    said = capsys.readouterr().out
    assert "Measured with clips of 16 frames of 112x112:" in said
    # 40 MB a clip of 224x224, 80 MB a video: (16000 - 1000 - 300) / 80
    assert "--remat=none     183" in said


@pytest.mark.slow
def test_memory_of_a_step():
    config = PretrainConfig(
        train_data="", backbone="r3d_small", num_frames=4, crop_size=32, batch_size=16, steps=0
    )
    figures = memory.in_own_process(config, "norm", 1)
    assert 1 < figures["megabytes"] < 1000 and figures["seconds"] > 0
