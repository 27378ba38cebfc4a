"""Output that goes away must not end a command: `Command.run` in processes of their own."""

import os
import subprocess
import sys

import pytest

# Prints on both; writes the names of its descriptors and "done" to a file at the end.
PROGRAM = """
import os, sys
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag
from cvrl_tf.progress import Progress, note
def main(flags):
    with open(flags.report, "w") as report:
        with Progress("working", 3000, "item", line_seconds=0.0) as progress:
            for number in range(3000):
                progress.update(loss=0.5)
                print("a result", number)
        note("a note")
        print("a line", file=sys.stderr, flush=True)
        sys.stdout.flush()
        print([os.readlink(f"/proc/self/fd/{n}") for n in range(3)], report.fileno(), file=report)
        print("done", file=report)
    return 7
Command(main, "Works.\\n" * 20000, {"All": (Flag("report", "", "File."),)}).run()
"""


def _shell(command, tmp_path, *arguments):
    """Runs a line of bash in which `work` is the program; its status is in the file `status`."""
    program = tmp_path / "work.py"
    program.write_text(PROGRAM)
    report = tmp_path / "report"
    work = f"{sys.executable} {program} --report={report} {' '.join(arguments)}"
    line = command.replace("work", f"{{ {work}; }}").replace("status", str(tmp_path / "status"))
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        timeout=120,
    )
    return done, report.read_text() if report.exists() else ""


def _status(tmp_path):
    return (tmp_path / "status").read_text().strip()


@pytest.mark.parametrize(
    "command",
    [
        "{ work; echo $? >status; } | head -1",
        "work 2> >(head -1 >/dev/null); echo $? >status",
        "work >&- 2>&-; echo $? >status",
        "work <&- >&- 2>&-; echo $? >status",
        "work >/dev/full 2>/dev/full; echo $? >status",
    ],
    ids=["stdout's reader ends", "stderr's reader ends", "closed", "all closed", "full disk"],
)
def test_a_command_works_to_its_end(command, tmp_path):
    done, report = _shell(command, tmp_path)
    assert report.splitlines()[1:] == ["done"]
    assert _status(tmp_path) == "7"
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    if "&-" in command:  # a file that the command opens must not receive what is printed
        assert report.startswith("['/dev/null', '/dev/null', '/dev/null'] ") or "<&-" not in command
        assert int(report.split("] ")[1].split()[0]) > 2
        assert "'/dev/null', '/dev/null'] " in report


def test_help_is_piped_into_something_that_stops_reading(tmp_path):
    done, _ = _shell("{ work; echo $? >status; } | head -1", tmp_path, "--help")
    assert done.stdout.startswith("Works. Works.") and done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert _status(tmp_path) == "0"


def test_a_terminal_that_closes(tmp_path):
    """Writing to a terminal whose other end is gone fails with EIO."""
    program = tmp_path / "work.py"
    body = "def main(flags):\n"
    program.write_text(PROGRAM.replace(body, f"{body}    input()\n"))
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, str(program), f"--report={tmp_path / 'report'}"],
        stdin=subprocess.PIPE,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    os.close(follower)
    os.close(leader)
    process.communicate(b"\n", timeout=120)
    assert process.returncode == 7
    assert (tmp_path / "report").read_text().endswith("done\n")


def test_what_is_printed_arrives_while_somebody_reads(tmp_path):
    done, _ = _shell("work", tmp_path)
    assert done.stdout.count("a result") == 3000
    assert done.stderr.endswith("a note\na line\n")
    assert done.stderr.count("working: ") == 3001
