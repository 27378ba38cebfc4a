"""Makes docs/quickstart.ipynb of docs/quickstart.md, whose text and commands it has.

python -m tools.notebook
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from cvrl_tf import files
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Values

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGE, NOTEBOOK = DOCS / "quickstart.md", DOCS / "quickstart.ipynb"
START = """\
# `python` is the Python of this kernel, and paths begin in the clone of the repository.
import importlib.util
import os
import sys

os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
if not importlib.util.find_spec("cvrl_tf"):
    os.chdir("..")
"""


def render(page: str) -> str:
    """The text of the notebook of a page.

    Blocks of Python, and blocks whose commands all begin with `python -m`, are cells of code, the
    rest is text. A first cell of code prepares the others.

    Args:
      page: in Markdown.
    """
    cells = list(_cells(page))
    first = next(number for number, (kind, _) in enumerate(cells) if kind == "code")
    cells.insert(first, ("code", START.rstrip("\n")))
    notebook = {
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cells(page: str) -> Iterator[tuple[str, str]]:
    """Yields kind and text of each cell."""
    text = ""
    for part in re.split(r"(^```\w*\n.*?^```\n)", page, flags=re.M | re.S):
        block = re.fullmatch(r"```(\w+)\n(.*)```\n", part, re.S)
        code = _code(block[1], block[2]) if block else ""
        if not code:
            text += part
            continue
        if text.strip():
            yield "markdown", text.strip()
        yield "code", code
        text = ""
    if text.strip():
        yield "markdown", text.strip()


def _code(language: str, block: str) -> str:
    """A block as a cell of code; empty for one that stays text."""
    if language == "python":
        return block.strip()
    commands = re.findall(r"(?:.*\\\n)*.*\n", block)
    if language != "sh" or not all(command.startswith("python -m ") for command in commands):
        return ""
    return "".join(f"!{command}" for command in commands).strip()


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


def main(flags: Values) -> None:
    """Writes the notebook."""
    files.write_atomically(str(NOTEBOOK), render(PAGE.read_text(encoding="utf-8")))
    print(f"written: {NOTEBOOK}")


COMMAND = Command(main, __doc__, {})

if __name__ == "__main__":
    COMMAND.run()
