"""A small campaign, run as a command."""

import json
import os
import subprocess
import sys

import pytest

from tools.pressure import data


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tools.pressure", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "COLUMNS": "80"},
    )


def test_an_unknown_trial_is_one_sentence():
    result = _run("--trials=kills,fire")
    assert result.returncode == 2
    assert result.stderr == (
        "error: --trials=fire: expected some of kills, workers, bad_records, full_disk,"
        " two_processes, sigterm, files.\n"
    )


@pytest.mark.slow
def test_nothing_is_lost(tmp_path):
    output = tmp_path / "pressure.json"
    trials = "--trials=kills,bad_records,two_processes,sigterm"
    result = _run("--kills=2", "--steps=80", trials, f"--output={output}")
    assert result.returncode == 0, result.stdout + result.stderr
    results = json.loads(output.read_text())["results"]
    assert {name: found["lost"] for name, found in results.items()} == {
        name: [] for name in ("reference", "kills", "bad_records", "two_processes", "sigterm")
    }
    assert results["kills"]["times"] == 2 and results["kills"]["figures"]["restarts"] == 2
    assert results["kills"]["figures"]["kills_while_saving"] == 1
    assert results["reference"]["figures"]["checkpoint_bytes"] > 11_000_000
    assert len(results["bad_records"]["figures"]["named"]) == len(data.DAMAGES)
    assert results["two_processes"]["figures"]["sentence"].startswith("error: Another process (")
    assert 0 < results["sigterm"]["figures"]["saved_step"] < 60
