"""What every entry point shares: grouped help, one-sentence errors, the flags as a flagfile."""

import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence

from absl import app, flags
from absl import logging as absl_logging

from cvrl_tf.errors import InputError

FlagGroups = Mapping[str, Sequence[flags.FlagHolder]]

VALUE_NAMES = {"int": "INTEGER", "float": "NUMBER", "string": "TEXT"}


def run(main: Callable[[], None], groups: FlagGroups, description: str) -> None:
    """Parses the flags, calls `main` and exits.

    `--help` prints the groups in their order. An `InputError` becomes one sentence on stderr and
    exit status 2, an interrupt exit status 130.

    Args:
      main: the entry point; reads its flags itself.
      groups: the flags of this entry point, by heading.
      description: the head of the help.
    """
    if {"--help", "-help", "-h", "-?"} & set(sys.argv[1:]):
        print(help_text(description, groups))
        sys.exit(0)

    def parse(argv: Sequence[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            print(f"error: {error}; --help lists the flags.", file=sys.stderr)
            sys.exit(2)

    def checked_main(argv: Sequence[str]) -> None:
        try:
            if argv[1:]:
                raise InputError(
                    f"Found the argument {argv[1]!r}: every setting is a flag, --name=value;"
                    " --help lists them."
                )
            main()
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
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


def help_text(description: str, groups: FlagGroups, width: int | None = None) -> str:
    """The help of an entry point: `description`, then its flags under the headings of `groups`."""
    width = width or min(shutil.get_terminal_size((80, 24)).columns, 100)
    lines = [description.strip(), ""]
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
            default = "" if flag.default in (None, "") else f" (default: {flag.default})"
            lines += textwrap.wrap(
                text + default, width, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
        lines.append("")
    lines.append("--flagfile=FILE reads flags from a file, one to a line.")
    return "\n".join(lines)


def flagfile_text(groups: FlagGroups) -> str:
    """The values of all flags of `groups` as a flagfile that runs the same again."""
    holders = [holder for holders in groups.values() for holder in holders]
    lines = [flags.FLAGS[holder.name].serialize() for holder in holders]
    return "\n".join(line for line in lines if line) + "\n"


def given(holder: flags.FlagHolder) -> bool:
    """Whether the user set this flag, on the command line or in a flagfile."""
    return not flags.FLAGS[holder.name].using_default_value
