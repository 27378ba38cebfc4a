import functools
import json
import math
import shutil

import commands
import pytest
from small_videos import draw, write_video

from tools.benchmark import convert

_run = functools.partial(commands.run, "tools.benchmark")


def test_the_start_of_processes_is_left_out_of_the_speeds():
    start = {"seconds": 4.0, "cpu_seconds": 3.0}
    whole = {"seconds": 9.0, "cpu_seconds": 11.0}
    figures = convert._figures(10, 1000, 2_000_000, start, whole, 500.0)
    assert figures == {
        "videos_per_second": 2.0,
        "frames_per_second": 200.0,
        "megabytes_per_second": 0.4,
        "frames_per_cpu_second": 125.0,
        "cpu_seconds_per_video": 0.8,
        "bytes_per_frame": 2000.0,
        "peak_memory_mb": 500.0,
        "start_seconds": 4.0,
        "start_cpu_seconds": 3.0,
        "whole_seconds": 9.0,
        "whole_cpu_seconds": 11.0,
        "whole_frames_per_cpu_second": pytest.approx(1000 / 11),
        "videos": 10,
        "frames": 1000,
    }


@pytest.mark.parametrize(("wanted", "quality"), [(1000 / 7, 7), (1e6, 1), (1, 31), (310, 3)])
def test_the_quality_closest_in_bytes(wanted, quality):
    assert convert._closest(lambda q: math.log(1000 / q / wanted), 1, 31) == quality


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg command")
def test_ffmpeg_writes_every_frame_at_the_size_asked_for(tmp_path):
    path = write_video(tmp_path / "a b.avi", draw(7, 48, 64), codec="mpeg4")
    run = convert._ffmpeg_once("ffmpeg", path, (32, 24), 3, str(tmp_path))
    assert run["frames"] == 7 and run["cpu_seconds"] > 0
    content = (tmp_path / "ffmpeg.mjpeg").read_bytes()
    assert len(content) == run["bytes"]
    header = content[content.index(b"\xff\xc0") :]  # length, precision, height, width
    assert (header[5] * 256 + header[6], header[7] * 256 + header[8]) == (24, 32)


@pytest.mark.slow
def test_convert_prints_and_writes_the_same_figures(tmp_path):
    for index in range(2):
        write_video(tmp_path / f"{index}.avi", draw(30, 48, 64), codec="mpeg4")
    done = _run(
        "convert",
        f"--videos={tmp_path}/*.avi",
        "--runs=1",
        "--frames=500",
        f"--json={tmp_path}/out.json",
        PATH="/nowhere",
    )
    assert done.returncode == 0, done.stderr
    assert "There is no ffmpeg command on the PATH" in done.stdout
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["benchmark"] == "convert"
    assert content["settings"]["passes"] == 9 and content["settings"]["frames"] == 540
    assert set(content["results"]) == {"workers=1", "workers=2", "ratios", "runs"}
    one = content["results"]["workers=1"]
    assert (one["videos"], one["frames"]) == (18, 540)
    assert one["peak_memory_mb"] > 100 and one["start_seconds"] > 0.1
    row = next(line for line in done.stdout.splitlines() if line.startswith("workers=1 "))
    assert row.split()[1:3] == [
        f"{one['videos_per_second']:.2f}",
        f"{one['frames_per_second']:.0f}",
    ]
    assert content["machine"]["cores"] >= 1 and content["versions"]["av"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["konvert"], "error: Found 'konvert' instead of a benchmark: expected convert"),
        (["convert", "--videos=no/*"], "error: --videos=no/* matches no file"),
        (["convert", "--workers=0,2"], "error: --workers=0,2: expected numbers of at least 1"),
    ],
)
def test_wrong_arguments_give_one_sentence(arguments, message):
    done = _run(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


def test_help():
    done = _run("--help")
    assert done.returncode == 0 and "python -m tools.benchmark convert  " in done.stdout
    assert _run().stdout == done.stdout
