"""Commands of the package that also run as python -m tools.NAME."""

import configparser
import importlib
import pathlib

import pytest

CHECKOUT = pathlib.Path(__file__).parents[2]
NAMES = (
    "data_server",
    "import_checkpoint",
    "inspect_tfrecords",
    "make_subset",
    "make_tfrecords",
    "mean_results",
    "plot_metrics",
    "reproduce",
    "split_videos",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_is_the_command_of_the_package(name):
    tool, command = (importlib.import_module(f"{room}.{name}") for room in ("tools", "cvrl_tf"))
    assert tool.COMMAND is command.COMMAND
    assert f"python -m cvrl_tf.{name} " in command.COMMAND.help_text()
    assert len((CHECKOUT / "tools" / f"{name}.py").read_text().splitlines()) < 10
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"].split("\n")
    assert f"cvrl-{name.replace('_', '-')} = cvrl_tf.{name}:COMMAND.run" in scripts
