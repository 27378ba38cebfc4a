import subprocess
import sys

import pytest

from cvrl_tf.cli.application import Argument, Command
from cvrl_tf.cli.flag import Flag
from cvrl_tf.errors import InputError

PROGRAM = """
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag
from cvrl_tf.errors import InputError, Stopped
FLAGS = {
    "First": (
        Flag("size", 3, "Size of it in pixels. " + "And more words. " * 9, lower=1),
        Flag("kind", "a", "Kind of it.", choices=("a", "b")),
    ),
    "Second": (
        Flag("fast", False, "Whether it is fast."),
        Flag("steps", ["3", "5"], "Which of them."),
        Flag("name", "", "Name of it."),
    ),
}
def main(flags):
    if flags.size == 7:
        raise InputError("size=7 is unlucky: give another.")
    if flags.size == 8:
        raise Stopped("Stopped by a signal: the same command resumes.")
    if flags.size == 9:
        raise KeyboardInterrupt
    print(flags.flagfile(), end="")
Command(main, "Does something.", FLAGS).run()
"""


def _run(*arguments, columns=60, program=PROGRAM):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={"COLUMNS": str(columns), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )


def test_help_shows_groups_and_fits_the_terminal():
    result = _run("--help")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[:4] == ["Does something.", "", "First", "  --size=INTEGER"]
    assert "  --kind=a|b" in lines
    assert lines.index("Second") < lines.index("  --[no]fast")
    assert "      Kind of it. (default: a)" in lines
    assert "      Whether it is fast. (default: False)" in lines
    assert lines[-7:] == [
        "  --steps=TEXT,TEXT",
        "      Which of them. (default: 3,5)",
        "  --name=TEXT",
        "      Name of it.",
        "",
        "--flagfile=FILE reads flags from a file, one per line.",
        "--version prints versions and devices, for bug reports.",
    ]
    assert max(map(len, lines)) <= 60


def test_flags_come_back_as_a_flagfile(tmp_path):
    result = _run("--size=5", "--fast")
    assert result.stdout == "--size=5\n--kind=a\n--fast\n--steps=3,5\n--name=\n"
    (tmp_path / "flags.txt").write_text(result.stdout)
    again = _run(f"--flagfile={tmp_path / 'flags.txt'}")
    assert again.stdout == result.stdout


@pytest.mark.parametrize(
    ("argument", "status", "message"),
    [
        ("--size=7", 2, "error: size=7 is unlucky: give another.\n"),
        ("--size=8", 75, "Stopped by a signal: the same command resumes.\n"),
        ("--size=9", 130, "interrupted\n"),
    ],
)
def test_an_end_has_its_status_and_one_line(argument, status, message):
    result = _run(argument)
    assert (result.returncode, result.stdout, result.stderr) == (status, "", message)


def test_an_error_sends_no_commands_to_the_terminal(capsys):
    def main(flags):
        raise InputError("red \x1b[31m.mp4\nis no video")

    assert Command(main, "", {})._status([]) == 2
    assert capsys.readouterr().err == "error: red \\x1b[31m.mp4\\nis no video\n"


def _command(argument=None, defaults=None):
    groups = {
        "All": (
            Flag("size", 3, "Size of it.", lower=1),
            Flag("kind", "a", "Kind of it.", choices=("a", "b")),
            Flag("fast", False, "Whether it is fast."),
        )
    }

    def main(flags, *values):
        print(*values, flags.size, flags.kind, flags.fast)
        return flags.size

    return Command(main, "Does something.", groups, argument, defaults or {})


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("size=5", r"^Found the argument 'size=5': every setting is a flag, --name=value;"),
        ("--size=0", r"^flag --size=0: expected an integer from 1 to 2147483647; --help lists"),
        ("--kind=c", r"value should be one of <a\|b>; --help lists"),
        ("--sise=5", r"^Unknown command line flag 'sise'. Did you mean: size"),
        ("--nofast=1", r"^--nofast=1 does not take an argument; --help lists the flags.$"),
        ("--size", r"^Missing value for flag --size; --help lists the flags.$"),
        (
            "--flagfile=/none",
            r"^Unable to open flagfile: \[Errno 2\] No such file or directory: '/none'; expected a",
        ),
    ],
)
def test_wrong_arguments_are_one_sentence(argument, message):
    with pytest.raises(InputError, match=message):
        _command().call(argument)


def test_a_command_is_called_in_this_process_any_number_of_times(capsys):
    """Each call has flags of its own: nothing of the first is left in the second."""
    command = _command(defaults={"kind": "b"})
    assert (command.call("--size=5", "--fast"), command.call()) == (5, 3)
    assert capsys.readouterr().out == "5 b True\n3 b False\n"
    assert "Kind of it. (default: b)" in command.help_text()


def test_a_default_of_no_flag_is_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="defaults of colour, which are no flags"):
        _command(defaults={"colour": "red"}).call()


def test_a_positional_argument(capsys):
    command = _command(Argument("PATTERN", "What to do it to."))
    assert command.call("a*", "--size=4") == 4
    assert capsys.readouterr().out == "a* 4 a False\n"
    assert command.help_text().splitlines()[2:6] == [
        "PATTERN",
        "      What to do it to.",
        "",
        "All",
    ]
    with pytest.raises(InputError, match="^PATTERN is missing; --help explains it.$"):
        command.call()
    with pytest.raises(
        InputError,
        match="^Found 3 arguments, 'a' to 'c', expected one PATTERN: put quotes around a glob"
        " pattern, so that the shell leaves it alone.$",
    ):
        command.call("a", "b", "c")


def test_one_or_more_positional_arguments(capsys):
    command = _command(Argument("PATTERN", "What to do it to.", several=True))
    command.call("a", "--size=4", "b", "c")
    assert capsys.readouterr().out == "a b c 4 a False\n"
    assert command.help_text().splitlines()[2] == "PATTERN ..."
    with pytest.raises(InputError, match="^PATTERN is missing; --help explains it.$"):
        command.call()


def test_help_wraps_paragraphs_and_leaves_examples_alone():
    description = "One. " * 9 + "\nOne:\n  python -m one \\\n      --two=" + "x" * 30 + "\n\nEnd."
    lines = Command(print, description, {}).help_text(width=30).splitlines()
    assert lines[:6] == [
        "One. One. One. One. One. One.",
        "One. One. One.  One:",
        "  python -m one \\",
        "      --two=" + "x" * 30,
        "",
        "End.",
    ]
