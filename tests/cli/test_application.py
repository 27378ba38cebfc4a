import subprocess
import sys

import pytest
from absl import flags

from cvrl_tf import text, train
from cvrl_tf.cli import application
from cvrl_tf.cli import loop as loop_flags

PROGRAM = """
from absl import flags
from cvrl_tf.cli import application
from cvrl_tf.errors import InputError
SIZE = flags.DEFINE_integer("size", 3, "Size of it in pixels. " + "And more words. " * 9, 1)
KIND = flags.DEFINE_enum("kind", "a", ["a", "b"], "Kind of it.")
FAST = flags.DEFINE_bool("fast", False, "Whether it is fast.")
STEPS = flags.DEFINE_list("steps", ["3", "5"], "Which of them.")
GROUPS = {"First": (SIZE, KIND), "Second": (FAST, STEPS)}
def main():
    if SIZE.value == 7:
        raise InputError("--size=7 is unlucky: give another.")
    print(application.flagfile_text(GROUPS), end="")
application.run(main, GROUPS, "Does something.")
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
    assert lines[-5:-3] == ["  --steps=TEXT,TEXT", "      Which of them. (default: 3,5)"]
    assert max(map(len, lines)) <= 60


def test_a_flagfile_that_is_not_there_is_one_sentence(tmp_path):
    result = _run(f"--flagfile={tmp_path}/none")
    assert result.returncode == 2
    assert result.stderr == (
        f"error: Unable to open flagfile: [Errno 2] No such file or directory: '{tmp_path}/none';"
        " --help lists the flags.\n"
    )


def test_flags_come_back_as_a_flagfile(tmp_path):
    result = _run("--size=5", "--fast")
    assert result.stdout == "--size=5\n--kind=a\n--fast\n--steps=3,5\n"
    (tmp_path / "flags.txt").write_text(result.stdout)
    again = _run(f"--flagfile={tmp_path / 'flags.txt'}")
    assert again.stdout == result.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--size=7"], 2, "error: --size=7 is unlucky: give another.\n"),
        (["size=5"], 2, "error: Found the argument 'size=5': every setting is a flag"),
        (["--size=0"], 2, "error: flag --size=0: 0 is not a positive integer; --help lists"),
        (["--kind=c"], 2, "value should be one of <a|b>"),
        (["--sise=5"], 2, "Unknown command line flag 'sise'. Did you mean: size"),
    ],
)
def test_errors_are_one_sentence_without_a_traceback(arguments, status, message):
    result = _run(*arguments)
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr


ARGUMENT_PROGRAM = """
from absl import flags
from cvrl_tf.cli import application
SIZE = flags.DEFINE_integer("size", 3, "Size of it.")
def main(*patterns):
    print(*patterns, SIZE.value)
    return SIZE.value
argument = application.Argument("PATTERN", "What to do it to."{several})
application.run(main, {{"All": [SIZE]}}, "Does something.", argument)
"""


def test_a_positional_argument_and_a_status():
    program = ARGUMENT_PROGRAM.format(several="")
    result = _run("a*", "--size=4", program=program)
    assert (result.stdout, result.returncode) == ("a* 4\n", 4)
    help_lines = _run("--help", program=program).stdout.splitlines()
    assert help_lines[2:6] == ["PATTERN", "      What to do it to.", "", "All"]
    for arguments, message in (
        ([], "error: PATTERN is missing; --help explains it.\n"),
        (
            ["a", "b", "c"],
            "error: Found 3 arguments, 'a' to 'c', expected one PATTERN: put quotes around a glob"
            " pattern, so that the shell leaves it alone.\n",
        ),
    ):
        result = _run(*arguments, program=program)
        assert (result.returncode, result.stdout, result.stderr) == (2, "", message)


def test_one_or_more_positional_arguments():
    program = ARGUMENT_PROGRAM.format(several=", several=True")
    assert _run("a", "--size=4", "b", "c", program=program).stdout == "a b c 4\n"
    assert _run("--help", program=program).stdout.splitlines()[2] == "PATTERN ..."
    missing = _run(program=program)
    assert missing.stderr == "error: PATTERN is missing; --help explains it.\n"


def test_table_sets_figures_right():
    rows = [["name", "count", "share"], ["a", "5", "-"], ["longer", "123", "4.5 %"]]
    assert text.table(rows).splitlines() == [
        "name    count  share",
        "a           5      -",
        "longer    123  4.5 %",
    ]


def test_every_flag_of_training_has_a_sentence_and_a_group():
    grouped = {holder.name for holders in train.GROUPS.values() for holder in holders}
    modules = ("cvrl_tf.train", "cvrl_tf.cli.clip", "cvrl_tf.cli.loop")
    defined = {flag.name for name in modules for flag in flags.FLAGS.get_flags_for_module(name)}
    assert grouped == defined
    for name in grouped:
        assert flags.FLAGS[name].help.rstrip().endswith("."), name


def test_help_knows_lists():
    """--profile is one, without a default."""
    text = application.help_text("Trains.", {"Output": [loop_flags.PROFILE]}, width=100)
    assert "  --profile=TEXT,TEXT\n      FIRST,LAST: profile these steps for TensorBoard" in text
    assert "default" not in text
