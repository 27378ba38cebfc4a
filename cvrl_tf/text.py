"""Text for terminals."""

import unicodedata
from collections.abc import Sequence

# Control characters, line and paragraph separators, halves of characters that are not UTF-8.
_UNPRINTABLE = ("Cc", "Zl", "Zp", "Cs")


def printable(text: object) -> str:
    """A text on one line, in which a file name cannot send commands to the terminal.

    Line breaks, escape sequences and what is not UTF-8 are written as in Python: `\\n`, `\\x1b`.
    """
    return "".join(
        repr(character)[1:-1] if unicodedata.category(character) in _UNPRINTABLE else character
        for character in str(text)
    )


def counted(number: int | str, noun: str) -> str:
    """A number with its noun, in the plural where it is not one: "1 video", "2 classes"."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{plural * (str(number) != '1')}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A header and rows in aligned columns; columns of figures are set right."""
    columns = []
    for column in zip(*rows, strict=True):
        width = max(map(len, column))
        figures = all(cell[:1].isdigit() or cell in ("", "-") for cell in column[1:])
        columns.append([cell.rjust(width) if figures else cell.ljust(width) for cell in column])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))
