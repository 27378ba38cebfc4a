"""All commands of the project, imported in this one process."""

import configparser
import importlib
import pathlib
import re

import pytest
from absl import flags as absl_flags

from cvrl_tf.cli.application import Command

ROOT = pathlib.Path(__file__).parents[2]
ENTRY_POINTS = {
    "train",
    "knn_eval",
    "linear_eval",
    "finetune",
    "extract_features",
    "export",
    "predict",
}
# Words of help texts that have a plainer form.
OLD_WORDS = ("goes on", "go on", "tell", "told", "left out", "leave out", "leaves out", "so many")


def _modules():
    """The modules that declare a command themselves."""
    for path in sorted([*ROOT.glob("cvrl_tf/*.py"), *ROOT.glob("tools/**/*.py")]):
        if re.search(r"^COMMAND = Command\(", path.read_text(), re.MULTILINE):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = list(_modules())


@pytest.fixture(scope="module")
def commands():
    return {name: importlib.import_module(name).COMMAND for name in MODULES}


def test_all_commands_are_imported_and_used_in_one_process(commands):
    assert {f"cvrl_tf.{name}" for name in ENTRY_POINTS} <= set(commands)
    known = set(absl_flags.FLAGS)
    for command in commands.values():
        values, *found = command.parse(*(["x"] if command.argument else []))
        declared = [flag.name for group in command.groups.values() for flag in group]
        assert len(found) == bool(command.argument)
        assert len(declared) == len(set(declared)) and set(declared) == set(values)
        assert not any(values.given(name) for name in declared)
    assert set(absl_flags.FLAGS) == known  # none is global


def test_console_scripts_are_commands():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"].strip().splitlines()
    assert len(scripts) >= len(ENTRY_POINTS)
    for script in scripts:
        module, attribute = script.split("=")[1].strip().split(":")
        command, run = attribute.split(".")
        assert isinstance(getattr(importlib.import_module(module), command), Command), script
        assert run == "run"


@pytest.mark.parametrize("name", MODULES)
def test_help_is_sentences_that_fit_a_narrow_terminal(commands, name):
    text = commands[name].help_text(width=60)
    for line in text.splitlines():
        # Commands to copy, names of values, and file names are not broken.
        assert len(line) <= 60 or line.startswith(" ") or " " not in line.strip(), line
    for group in commands[name].groups.values():
        for flag in group:
            assert flag.help.endswith(".") and flag.help[0] != " ", flag.name
            assert "  " not in flag.help, flag.name
            words = [word for word in OLD_WORDS if word in flag.help]
            assert not words, (flag.name, words)


@pytest.mark.parametrize("name", MODULES)
def test_numbers_are_finite_in_every_command(commands, name):
    for group in commands[name].groups.values():
        for flag in group:
            for number in ("nan", "inf", "-inf", "1e400"):
                if flag.value_type in (int, float):
                    argument = f"--{flag.name}={number}"
                    with pytest.raises(Exception, match=f"flag {argument}: expected") as raised:
                        commands[name].parse(argument, *(["x"] if commands[name].argument else []))
                    assert raised.typename == "InputError"
