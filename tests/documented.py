"""The commands of a document, to be run as it has them."""

import importlib
import pathlib
import re
import shlex
from typing import NamedTuple


class Example(NamedTuple):
    """A command of this package in a document.

    Attributes:
      name: of its module, without the package.
      arguments: as the shell splits them.
      printed: the lines of the block of text below it; none without one.
    """

    name: str
    arguments: list[str]
    printed: list[str]

    def run(self) -> None:
        """Does what the command does, in this process and the current directory."""
        command = importlib.import_module(f"cvrl_tf.{self.name}").COMMAND
        assert not command.call(*self.arguments), self.name


def examples(document: pathlib.Path) -> list[Example]:
    """All commands `python -m cvrl_tf.NAME` of a document, in their order."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```)?",
        document.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    found = []
    for shell, text in blocks:
        lines = re.findall(
            r"^python -m cvrl_tf\.(\w+) (.*)$", shell.replace("\\\n", " "), re.MULTILINE
        )
        for number, (name, arguments) in enumerate(lines, start=1):
            printed = text.splitlines() if number == len(lines) else []
            found.append(Example(name, shlex.split(arguments), printed))
    return found


def python_code(document: pathlib.Path) -> str:
    """All blocks of Python in a document, one after the other."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return "\n".join(blocks)


def form(line: str) -> str:
    """A printed line without its numbers and the widths of its columns."""
    return " ".join(re.sub(r"[\d.]+", "#", line).split())
