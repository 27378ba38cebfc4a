"""What every entry point shares: grouped help, one-sentence errors, the flags as a flagfile."""

import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from absl import app, flags
from absl import logging as absl_logging

from cvrl_tf.errors import STOPPED_STATUS, InputError, Stopped

FlagGroups = Mapping[str, Sequence[flags.FlagHolder]]


class Argument(NamedTuple):
    """What is given without a flag, and must be given.

    Attributes:
      name: in capitals, for messages.
      help: what it is.
      several: whether one or more may be given, instead of exactly one.
    """

    name: str
    help: str
    several: bool = False


VERSION = "--version"
VALUE_NAMES = {
    "int": "INTEGER",
    "float": "NUMBER",
    "string": "TEXT",
    "comma separated list of strings": "TEXT,TEXT",
}


def run(
    main: Callable[..., int | None],
    groups: FlagGroups,
    description: str,
    argument: Argument | None = None,
) -> None:
    """Parses the flags, calls `main` and exits.

    `--help` prints the groups in their order, `--version` what a bug report needs. An `InputError`
    becomes one sentence on stderr and exit status 2, an interrupt exit status 130, a run that a
    signal stopped and that can resume exit status 75; otherwise the status is what `main` returns.

    Args:
      main: the entry point; reads its flags itself. Called with the values of `argument`, if any.
      groups: the flags of this entry point, by heading.
      description: the head of the help.
      argument: the positional argument; None for flags only.
    """
    if {"--help", "-help", "-h", "-?"} & set(sys.argv[1:]):
        print(help_text(description, groups, argument))
        sys.exit(0)
    if VERSION in sys.argv[1:]:
        print_versions()
        sys.exit(0)

    def parse(argv: Sequence[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            said = str(error).removeprefix("ERROR:: ")  # of a flagfile that is not there
            print(f"error: {said}; --help lists the flags.", file=sys.stderr)
            sys.exit(2)

    def checked_main(argv: Sequence[str]) -> int | None:
        try:
            _check_arguments(argv[1:], argument)
            return main(*argv[1:])
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            # At the end of the process TensorFlow warns of every variable of a checkpoint that
            # was of another network.
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            sys.exit(2)
        except Stopped as stop:
            print(stop, file=sys.stderr)
            sys.exit(STOPPED_STATUS)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    # What TensorFlow logs of itself is not for users; their progress and results are printed.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    try:
        app.run(checked_main, flags_parser=parse)
    except SystemExit as end:
        # After any s3:// access tensorflow-io aborts the interpreter at its end ("pure virtual
        # method called", status 134) although all is done: leave without that end.
        if "tensorflow_io" in sys.modules:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code or 0)
        raise


def print_versions() -> None:
    """Prints versions and devices, see `versions.report`."""
    from cvrl_tf.cli import versions  # imports TensorFlow

    print(versions.report())


def _check_arguments(found: Sequence[str], argument: Argument | None) -> None:
    if not argument and found:
        raise InputError(
            f"Found the argument {found[0]!r}: every setting is a flag, --name=value;"
            " --help lists them."
        )
    if argument and not found:
        raise InputError(f"{argument.name} is missing; --help explains it.")
    if argument and len(found) > 1 and not argument.several:
        raise InputError(
            f"Found {len(found)} arguments, {found[0]!r} to {found[-1]!r}, expected one"
            f" {argument.name}: put quotes around a glob pattern, so that the shell leaves it"
            " alone."
        )


def help_text(
    description: str,
    groups: FlagGroups,
    argument: Argument | None = None,
    width: int | None = None,
) -> str:
    """The help of an entry point: `description`, then its flags under the headings of `groups`."""
    width = width or min(shutil.get_terminal_size((80, 24)).columns, 100)
    lines = [description.strip(), ""]
    if argument:
        name = f"{argument.name} ..." if argument.several else argument.name
        lines += [name, *_indented(argument.help, width), ""]
    for heading, holders in groups.items():
        lines.append(heading)
        for holder in holders:
            flag = flags.FLAGS[holder.name]
            text, values = flag.help, "|".join(getattr(flag.parser, "enum_values", None) or [])
            if flag.boolean:
                lines.append(f"  --[no]{flag.name}")
            else:
                lines.append(f"  --{flag.name}={values or VALUE_NAMES[flag.flag_type()]}")
                text = text.removeprefix(f"<{values}>: ")  # absl adds it
            value = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
            default = "" if value in (None, "") else f" (default: {value})"
            lines += _indented(text + default, width)
        lines.append("")
    lines.append("--flagfile=FILE reads flags from a file, one to a line.")
    lines.append(f"{VERSION} prints versions and devices, for bug reports.")
    return "\n".join(lines)


def _indented(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)


def flagfile_text(groups: FlagGroups) -> str:
    """The values of all flags of `groups` as a flagfile that runs the same again."""
    holders = [holder for holders in groups.values() for holder in holders]
    lines = [flags.FLAGS[holder.name].serialize() for holder in holders]
    return "\n".join(line for line in lines if line) + "\n"


def given(holder: flags.FlagHolder) -> bool:
    """Whether the user set this flag, on the command line or in a flagfile."""
    return not flags.FLAGS[holder.name].using_default_value
