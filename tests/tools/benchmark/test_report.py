import json
import subprocess
import sys

import commands

from tools.benchmark import report


def test_table_shows_missing_figures():
    columns = [("videos/s", "videos_per_second", ".1f"), ("peak MB", "peak_memory_mb", ".0f")]
    rows = {"ours": {"videos_per_second": 12.345, "peak_memory_mb": 600.4}, "theirs": {}}
    assert report.table(columns, rows).splitlines() == [
        "        videos/s  peak MB",
        "ours        12.3      600",
        "theirs         -        -",
    ]


def test_medians():
    assert report.medians([{"a": 1, "b": 5}, {"a": 3, "b": 4}, {"a": 2, "b": 9}]) == {
        "a": 2,
        "b": 5,
    }


def test_ratios_are_of_neighbouring_runs():
    ours = [{"x": 2.0}, {"x": 30.0}, {"x": 5.0}]
    theirs = [{"x": 1.0}, {"x": 10.0}, {"x": 1.0}]
    assert report.ratio(ours, theirs, "x") == 3.0


MEMORY_PROGRAM = """
import json, subprocess, sys
from tools.benchmark import report
ballast = bytearray(300_000_000)  # of this process: no part of the child's
child = "x = bytearray(60_000_000); import time; time.sleep(0.5)"
with report.PeakMemory() as memory:
    subprocess.run([sys.executable, "-c", child], check=True)
print(json.dumps([memory.children(), memory.total()]))
"""


def test_peak_memory_of_a_child_is_its_own():
    """In a process that has no other children."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_PROGRAM],
        cwd=commands.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    of_child, total = json.loads(done.stdout)
    assert 60 < of_child < 200
    assert total > 360


def test_json_has_machine_and_versions(tmp_path):
    path = tmp_path / "x.json"
    report.write_json(str(path), "convert", {"runs": 1}, {"ours": {"step_seconds": 2.0}})
    content = json.loads(path.read_text())
    assert content["results"] == {"ours": {"step_seconds": 2.0}}
    assert content["settings"] == {"runs": 1}
    assert content["machine"].keys() == {"cpu", "cores", "memory_gb", "system", "load_average"}
    assert content["versions"]["python"].startswith("3.")


def test_line_chart_is_the_same_every_time_and_names_its_axes():
    charts = [report.line_chart([(0, 900), (5, 950), (10, 940)], "seconds", "MB") for _ in "ab"]
    assert charts[0] == charts[1]
    assert ">seconds</text>" in charts[0] and ">MB</text>" in charts[0]
