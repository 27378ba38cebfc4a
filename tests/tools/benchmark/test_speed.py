"""The benchmarks of input, step and loop, run as commands on small work."""

import functools
import json
import math

import commands
import pytest

from cvrl_tf.models import build_backbone, build_projection_head

_run = functools.partial(commands.run, "tools.benchmark")


def _results(path):
    content = json.loads(path.read_text())
    assert content["machine"]["cores"] >= 1 and content["versions"]["tensorflow"]
    return content["results"]


@pytest.mark.slow
def test_input(shards, tmp_path):
    output = tmp_path / "input.json"
    work = [f"--data={shards}", "--num_frames=4", "--crop_size=32"]
    result = _run("input", *work, "--videos=16", "--runs=1", f"--json={output}")
    assert result.returncode == 0, result.stderr
    assert "I0000" not in result.stderr
    results = _results(output)
    assert set(results["pipelines"]) == {"host", "device", "plain"}
    for figures in results["pipelines"].values():
        assert 0 < figures["cpu_seconds_per_video"] < 10
        assert figures["videos_per_second"] > 0 and figures["peak_memory_mb"] > 100
    assert results["pipelines"]["plain"]["times_plain"] == 1.0
    phases = results["cpu_seconds_per_video_by_phase"]
    assert list(phases) == [
        "read",
        "parse",
        "sample",
        "decode",
        "crop and resize",
        "colour",
        "blur",
        "batch",
    ]
    assert sum(phases.values()) > 0
    assert "cores make at most" in result.stdout and "The largest part is" in result.stdout


@pytest.mark.slow
def test_step(tmp_path, interpreter):
    output = tmp_path / "step.json"
    models = [build_backbone("r3d_small"), build_projection_head(512)]
    weights = sum(math.prod(w.shape) for model in models for w in model.trainable_weights)
    theirs = {
        "step_seconds": 1000.0,
        "cpu_seconds_per_step": 500.0,
        "peak_memory_mb": 900.0,
        "memory_before_mb": 400.0,
        "parameters": weights,
    }
    python = interpreter(versions='{"torch": "2.13"}', pytorch_step=json.dumps(theirs))
    work = ["--backbone=r3d_small", "--frames=4", "--crop_size=32", "--precision=float32"]
    work += ["--steps=2", "--runs=1", f"--pytorch_python={python}", f"--json={output}"]
    result = _run("step", *work)
    assert result.returncode == 0, result.stderr
    results = _results(output)
    for which in ("ours", "keras"):
        assert results[which]["step_seconds"] > 0
        assert results[which]["peak_memory_mb"] >= results[which]["memory_before_mb"] > 100
        assert results[which]["parameters"] == weights
    assert results["times_keras"] > 0
    # Four clips; two operations a multiplication, forward and twice as much backward.
    operations = results["ours"]["gigaflops"] * results["ours"]["step_seconds"]
    for which in ("keras", "pytorch"):
        assert results[which]["gigaflops"] * results[which]["step_seconds"] == pytest.approx(
            operations
        )
    times = 1000.0 / results["ours"]["step_seconds"]
    assert results["times_pytorch"] == pytest.approx(times)
    assert results["cpu_times_pytorch"] == pytest.approx(
        500.0 / results["ours"]["cpu_seconds_per_step"]
    )
    assert results["pytorch"]["cpu_seconds_per_video"] == 250.0
    assert f"This package is {times:.2f} times as fast as PyTorch, run by run" in result.stdout
    assert "PyTorch: torch 2.13" in result.stdout


@pytest.mark.slow
def test_the_step_of_a_method_beside_that_of_cvrl(tmp_path):
    output = tmp_path / "step.json"
    work = ["--backbone=r3d_small", "--frames=4", "--crop_size=32", "--precision=float32"]
    work += ["--momentum_encoder=0.99", "--clips_per_video=3", "--steps=2", "--runs=1"]
    result = _run("step", *work, f"--json={output}")
    assert result.returncode == 0, result.stderr
    results = _results(output)
    ours, cvrl = results["ours"], results["cvrl"]
    # Three clips instead of two, a fourth pass, and a predictor.
    work = ours["gigaflops"] * ours["step_seconds"] / (cvrl["gigaflops"] * cvrl["step_seconds"])
    assert 2.0 < work < 2.1
    assert ours["parameters"] > cvrl["parameters"]
    assert results["times_cvrl"] == pytest.approx(cvrl["step_seconds"] / ours["step_seconds"])
    assert f"takes {1 / results['times_cvrl']:.2f} times as long as that of CVRL" in result.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--loss=byol"], "loss=byol without a momentum encoder"),
        (
            ["--clips_per_video=4", "--pytorch_python=python"],
            "The method cvrl with 4 clips of a video is not measured for other implementations",
        ),
    ],
)
def test_methods_that_cannot_be_measured(flags, message):
    result = _run("step", *flags)
    assert result.returncode == 2 and result.stderr.startswith(f"error: {message}")


def test_a_network_that_the_authors_do_not_have():
    result = _run("step", "--backbone=r3d_small", "--authors_python=python")
    assert result.returncode == 2
    assert result.stderr == (
        "error: --backbone=r3d_small is not among the networks of the authors' implementation:"
        " expected r3d_50, r3d_101, r3d_152, or no --authors_python.\n"
    )


@pytest.mark.slow
def test_train(shards, tmp_path):
    output, figure = tmp_path / "train.json", tmp_path / "memory.svg"
    work = [f"--data={shards}", "--backbone=r3d_small", "--num_frames=4", "--crop_size=32"]
    work += ["--batch_size=4", "--precision=float32", "--steps=12"]
    result = _run("train", *work, f"--json={output}", f"--figure={figure}")
    assert result.returncode == 0, result.stderr
    results = _results(output)
    assert 0 < results["input_wait"] < 1
    assert results["videos_per_second"] * results["step_seconds"] == pytest.approx(4)
    assert results["peak_memory_mb"] == max(mb for _, mb in results["memory_mb"])
    assert "<svg" in figure.read_text() and "resident MB" in figure.read_text()
    assert "Training is bound by" in result.stdout or "waits for input" in result.stdout


def test_too_large_a_batch_is_one_sentence(shards):
    work = [f"--data={shards}", "--num_frames=4", "--crop_size=32", "--batch_size=64"]
    result = _run("train", *work)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --batch_size=64 is more than the 12 videos")


def test_an_unknown_benchmark_is_one_sentence():
    result = _run("speed")
    assert result.returncode == 2
    assert "Found 'speed' instead of a benchmark: expected convert or input" in result.stderr
