"""The command line of entry points and tools: flags, grouped help, one-sentence errors.

A module that is a command declares its flags, without side effects, and a `main` that reads them:

    FLAGS = {  # by heading of --help; `flags_of` makes flags of the fields of a configuration
        "Data": (Flag("data", "", "Glob pattern of the TFRecord shards."),),
        "Training": flags_of(PretrainConfig, "batch_size", "epochs"),
    }

    def main(flags: Values) -> int | None:
        config = flags.make(PretrainConfig, train_data=flags.data)
        ...

    COMMAND = Command(main, __doc__, FLAGS)

    if __name__ == "__main__":
        COMMAND.run()

- A group of flags that several commands have is a tuple of `Flag` in a module of `cvrl_tf.cli`,
  beside the functions that read them. A command changes defaults with `Command(defaults=...)`.
- Help text and bounds are written once: at the field of the dataclass if there is one, otherwise
  at the `Flag`.
- Flags exist while a command runs, in `Values` of its own. So any commands can be imported in one
  process, and a notebook calls one with `COMMAND.call("--batch_size=8", ...)`.
- What is wrong with a flag, a file or a record is an `InputError`. Library code names arguments in
  it (`crop_size=224`), which are also the names of the flags; only a command writes `--crop_size`.
- A console script is declared as `cvrl_tf.train:COMMAND.run`.
"""

import dataclasses
import faulthandler
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from absl import flags
from absl import logging as absl_logging

from cvrl_tf.cli import output
from cvrl_tf.cli.flag import Flag, Value, Values
from cvrl_tf.errors import STOPPED_STATUS, InputError, Stopped
from cvrl_tf.text import printable

HELP, VERSION = ("--help", "-help", "-h", "-?"), "--version"
INPUT_ERROR_STATUS, INTERRUPTED_STATUS = 2, 130


class Argument(NamedTuple):
    """A required argument without a flag.

    Attributes:
      name: in capitals, for messages.
      help: what it is.
      several: whether one or more may be given, instead of exactly one.
    """

    name: str
    help: str
    several: bool = False


@dataclasses.dataclass(frozen=True)
class Command:
    """A command: what it does, its flags, its help.

    Attributes:
      main: called with the `Values` of the flags, then with the values of `argument`, if any;
        returns the exit status, None for 0.
      description: the head of the help.
      groups: the flags by heading.
      argument: the positional argument; None for flags only.
      defaults: defaults by name of flag, where they are not those of the flag.
    """

    main: Callable[..., int | None]
    description: str
    groups: Mapping[str, Sequence[Flag]]
    argument: Argument | None = None
    defaults: Mapping[str, Value] = dataclasses.field(default_factory=dict)

    def run(self) -> None:
        """The command line: parses `sys.argv`, calls `main`, exits.

        `--help` prints the help, `--version` what a bug report needs. An `InputError` becomes one
        sentence on stderr and exit status 2, an interrupt exit status 130, a run that a signal
        stopped and that can be resumed exit status 75; otherwise the status is what `main` returns.
        Output whose reader has gone ends nothing.
        """
        output.protect()
        if set(HELP) & set(sys.argv[1:]):
            print(self.help_text())
            sys.exit(0)
        if VERSION in sys.argv[1:]:
            print_versions()
            sys.exit(0)
        # What TensorFlow logs is not for users; progress and results are printed.
        absl_logging.use_absl_handler()
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel(logging.WARNING)
        faulthandler.enable()
        status = self._status(sys.argv[1:])
        # After any s3:// access tensorflow-io aborts the interpreter at its end ("pure virtual
        # method called", status 134) although all is done: leave without that end. And a runner of
        # Beam that has lost a worker has threads that wait for ever.
        if "tensorflow_io" in sys.modules or "apache_beam" in sys.modules:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        sys.exit(status)

    def _status(self, arguments: Sequence[str]) -> int:
        try:
            return self.call(*arguments) or 0
        except InputError as error:
            print(f"error: {printable(error)}", file=sys.stderr)
            # At the end of the process TensorFlow warns of every variable of a checkpoint that
            # was of another network.
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            return INPUT_ERROR_STATUS
        except Stopped as stop:
            print(stop, file=sys.stderr)
            return STOPPED_STATUS
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED_STATUS

    def call(self, *arguments: str) -> int | None:
        """Does in this process what a command line with these arguments does.

        Args:
          *arguments: as on the command line, each in a string: `"--batch_size=8"`.

        Raises:
          InputError: wrong arguments; or as `main`.
          Stopped: as `main`.
        """
        return self.main(*self.parse(*arguments))

    def parse(self, *arguments: str) -> tuple[Values, *tuple[str, ...]]:
        """The values of the flags, and the arguments without a flag.

        Raises:
          InputError: wrong arguments.
        """
        declared = [flag for group in self.groups.values() for flag in group]
        values = Values(declared, self.defaults)
        try:
            _, *found = values(["command", *arguments])
        except (flags.Error, ValueError) as error:
            said = str(error).removeprefix("ERROR:: ")  # of a flagfile that is not there
            hint = "--help lists the flags."
            if said.startswith("Unable to open flagfile"):
                hint = "expected a file such as flags/small in the clone of this package."
            raise InputError(f"{said}; {hint}") from None
        self._check(found)
        return values, *found

    def _check(self, found: Sequence[str]) -> None:
        """Checks the arguments without a flag."""
        argument = self.argument
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

    def help_text(self, width: int | None = None) -> str:
        """The help: description, then the flags under their headings.

        Args:
          width: columns; None for those of the terminal.
        """
        width = width or min(shutil.get_terminal_size((80, 24)).columns, 100)
        lines = [_wrapped(self.description, width), ""]
        if self.argument:
            name = f"{self.argument.name} ..." if self.argument.several else self.argument.name
            lines += [name, *_indented(self.argument.help, width), ""]
        for heading, group in self.groups.items():
            lines.append(heading)
            for flag in group:
                value = self.defaults.get(flag.name, flag.default)
                value = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
                default = "" if value in (None, "") else f" (default: {value})"
                lines += [f"  {flag.usage()}", *_indented(flag.help + default, width)]
            lines.append("")
        lines.append("--flagfile=FILE reads flags from a file, one per line.")
        lines.append(f"{VERSION} prints versions and devices, for bug reports.")
        return "\n".join(lines)


def print_versions() -> None:
    """Prints versions and devices, see `versions.report`."""
    from cvrl_tf.cli import versions  # imports TensorFlow

    print(versions.report())


def _wrapped(text: str, width: int) -> str:
    """Wraps prose; indented lines are examples and stay as they are."""
    wrapped: list[str] = []
    prose: list[str] = []
    for line in [*text.strip().splitlines(), ""]:
        if line[:1] not in ("", " "):
            prose.append(line)
            continue
        wrapped += [*_fill(" ".join(prose), width), line]
        prose = []
    return "\n".join(wrapped[:-1])


def _indented(text: str, width: int) -> list[str]:
    return _fill(text, width, " " * 6)


def _fill(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of a paragraph; flags, paths and compounds are not broken."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
