"""The tables, from the command to their files."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
from commands import ROOT
from small_records import make_video, write_shard
from tiny_backbone import tiny_backbone

from cvrl_tf import reproduce
from cvrl_tf.errors import InputError
from cvrl_tf.reproduction import execution
from cvrl_tf.training.config import NetworkConfig

TRIAL = "--num_frames=4 --crop_size=32 --batch_size=4 --steps=2 --warmup_epochs=0"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A directory of 24 training and 6 test videos of two classes."""
    directory = tmp_path_factory.mktemp("records")
    for split, first, number in ("train", 0, 24), ("test", 30, 6):
        videos = [
            make_video(first + index, height=64, width=72, label=index % 2)
            for index in range(number)
        ]
        write_shard(directory / f"{split}-00000-of-00001", videos)
    return directory


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs commands in this process, with a network of one convolution; the names of the runs."""
    started = []

    def run(run, log, lock):
        started.append(run.name)
        try:
            return importlib.import_module(run.module).COMMAND.call(*run.arguments) or 0
        except InputError as error:
            log.write(f"error: {error}\n".encode())
            return 2

    def build(config, dtype="float32", layers="clip"):
        return tiny_backbone(config.seed, dtype)

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(execution, "_in_own_process", run)
    monkeypatch.setattr(NetworkConfig, "build_backbone", build)
    return started


@pytest.mark.slow
def test_a_table_is_reproduced_and_resumed(records, tmp_path, in_this_process, capsys):
    output, html = tmp_path / "out", tmp_path / "page.html"
    arguments = [f"--data={records}", f"--output_dir={output}", f"--pretrain_flags={TRIAL}"]
    # The second seed is too large, which only the commands find: its runs fail.
    chosen = ["--rows=cvrl", f"--seeds=0,{2**31}", f"--html={html}"]
    assert reproduce.COMMAND.call("successors", *arguments, *chosen) == 1
    values = json.loads((output / "successors" / "results.json").read_text())
    cell = values["rows"][0]["columns"]["linear"]
    assert cell["values"].keys() == {"0"} and cell["failed"].keys() == {str(2**31)}
    assert cell["failed"][str(2**31)] == f"cvrl_seed{2**31} failed, which it needs"
    assert cell["low"] <= cell["mean"] == cell["values"]["0"] <= cell["high"]
    (found,) = cell["results"]["0"]
    assert (
        json.loads(pathlib.Path(found).read_text())["figures"]["top1"]["value"]
        == cell["values"]["0"]
    )
    assert "\nfailed:\ncvrl_seed2147483648: exit status 2: flag --seed" in capsys.readouterr().out
    assert (output / "successors" / "picture.png").stat().st_size > 10_000
    assert "| CVRL | " in (output / "successors" / "table.md").read_text()
    assert html.read_text().count('<img class="pairs"') == 1
    # Another table shares these runs.
    assert in_this_process[:3] == ["cvrl_seed0", "cvrl_seed0/linear", "cvrl_seed0/knn"]
    in_this_process.clear()
    chosen = ["--rows=all", "--seeds=0"]
    assert reproduce.COMMAND.call("augmentation", *arguments, *chosen) == 0
    assert in_this_process == []
    values = json.loads((output / "augmentation" / "results.json").read_text())
    assert values["rows"][0]["columns"]["linear"]["values"] == cell["values"]


def test_plans_need_no_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    speed, script = tmp_path / "speed.json", tmp_path / "commands.sh"
    speed.write_text('{"results": {"videos_per_second": 100.0}}')
    arguments = ["--scale=paper", f"--speed={speed}", "--seeds=0", f"--output_dir={tmp_path}/out"]
    reproduce.COMMAND.call("sampling", *arguments, "--dry_run", f"--shell={script}")
    printed = capsys.readouterr().out
    # 48,000,000 videos in training, 0.34 * 24,000,000 and 13.5 * 19,900 in the evaluation.
    assert "a: (a) -t + c, 46875 steps of 1024 videos, about 157 hours\n" in printed
    assert printed.endswith("\n12 runs, seeds 0, about 940 hours\n")
    lines = script.read_text().splitlines()
    assert len(lines) == 7 and all(line.count("python -m ") == 2 for line in lines[1:])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], r"^Found the table 'none': expected one of sampling, augmentation, linear, tra"),
        (["sampling", "--rows=x"], r"^The table sampling has no row x at the scale desk: expected"),
        (
            ["sampling"],
            r"^The table sampling at --scale=desk needs data: give --data, the director",
        ),
        (
            ["linear", "--scale=paper", "--k400=x"],
            r"^--k400=x/train-\* matches no file",
        ),
        (["linear", "--scale=paper"], r"needs data: give --k400, --k600, the directories of recor"),
        (["transfer"], r"^The table transfer is not there at --scale=desk: give --scale=paper"),
        (["sampling", "--seeds=0,x"], r"^--seeds=0,x: expected numbers of at least 0 with commas"),
        (["sampling", "--dry_run", "--speed=setup.cfg"], r"^--speed=setup.cfg has no results.vid"),
        (["sampling", "--shell=none/x"], r"^--shell=none/x cannot be written: there is no dir"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message):
        reproduce.COMMAND.call(*arguments)


@pytest.mark.slow
def test_the_written_commands_give_the_same_figures(records, tmp_path):
    """In processes of their own, with the real network: by the command, and by its script."""
    figures = {}
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    for name in ("command", "script"):
        output = tmp_path / name
        command = [sys.executable, "-m", "tools.reproduce", "augmentation", "--rows=all"]
        command += [f"--data={records}", "--seeds=0", f"--output_dir={output}"]
        command += [f"--pretrain_flags={TRIAL}"]
        if name == "script":
            script = tmp_path / "commands.sh"
            subprocess.run([*command, f"--shell={script}"], cwd=ROOT, check=True)
            subprocess.run(["bash", "-e", str(script)], cwd=ROOT, env=environment, check=True)
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        # What the script has done is not done again.
        assert ("3 runs, 3 are done\n" in found.stdout) == (name == "script")
        values = json.loads((output / "augmentation" / "results.json").read_text())
        figures[name] = {
            column: cell["values"] for column, cell in values["rows"][0]["columns"].items()
        }
        paths = sorted(output.glob("evaluations/*/*/predictions.csv"))
        figures[name]["predictions"] = [path.read_text() for path in paths]
    assert figures["command"] == figures["script"] and len(figures["script"]["predictions"]) == 2
