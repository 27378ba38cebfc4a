"""The benchmark of the host's memory."""

import json

import pytest

from cvrl_tf.data import parts
from tools.benchmark import host
from tools.benchmark import input as input_benchmark

VIDEO_BYTES = 2 * 4 * 32 * 32 * 3


@pytest.mark.parametrize(("step_on", "ahead"), [("cpu", 1), ("gpu", 4)])
def test_the_command(shards, tmp_path, monkeypatch, capsys, step_on, ahead):
    monkeypatch.setattr(parts, "PART_BYTES", 2 * VIDEO_BYTES)
    monkeypatch.setattr(parts, "HOST_BYTES", 14 * VIDEO_BYTES)  # a batch and three parts
    monkeypatch.setattr(host, "QUIET_SECONDS", 0.1)
    calls = []

    def here(function, *arguments):
        calls.append(arguments[2:])
        return function(*arguments)

    monkeypatch.setattr(input_benchmark, "in_a_process", here)
    output = tmp_path / "host.json"
    sizes = ["--num_frames=4", "--crop_size=32", "--batch_size=8", "--accumulate=2"]
    host.COMMAND.call(
        f"--data={shards}", *sizes, f"--step_on={step_on}", "--steps=2", f"--json={output}"
    )
    cut, whole = parts.Parts(4, ahead), parts.Parts(1, 1)
    held = step_on == "cpu"
    assert calls == [(cut, False, held, 2), (whole, False, held, 2)]
    results = json.loads(output.read_text())["results"]
    assert list(results) == ["in parts", "in one part"]
    for figures in results.values():
        assert figures["batch_gb"] == 8 * VIDEO_BYTES / 1e9
        assert figures["peak_gb"] == pytest.approx(figures["times_batch"] * figures["batch_gb"])
        assert figures["peak_gb"] >= 0 and figures["cpu_seconds_per_video"] > 0
    assert (results["in parts"]["parts"], results["in parts"]["ahead"]) == (4, ahead)
    assert "peak GB  x batch" in capsys.readouterr().out
