"""Text for terminals."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """A header and rows in aligned columns; columns of figures are set right."""
    columns = []
    for column in zip(*rows, strict=True):
        width = max(map(len, column))
        figures = all(cell[:1].isdigit() or cell in ("", "-") for cell in column[1:])
        columns.append([cell.rjust(width) if figures else cell.ljust(width) for cell in column])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))
