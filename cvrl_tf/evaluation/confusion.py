"""The confusion matrix as a picture, for a few classes up to several hundred."""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from cvrl_tf import files

CONFUSION_FILE = "confusion.png"
COUNTS_UP_TO = 25  # the maximum number of classes with counts in the cells
NAMES_UP_TO = 128  # the maximum number of classes with names at the axes
WORST = 30  # pairs that are listed instead of names
_NAME_LENGTH = 32


def draw(matrix: np.ndarray, names: Sequence[str], title: str = "") -> bytes:
    """Draws a confusion matrix; the colours are shares of the videos of each true class.

    With at most `COUNTS_UP_TO` classes the cells show counts. With more, small shares are drawn
    darker than in proportion, and beyond `NAMES_UP_TO` the pairs that are confused most often are
    listed instead of the names of all classes.

    Args:
      matrix: (C, C) integers, true classes by predicted ones (`accuracy.confusion_matrix`).
      names: of the C classes.
      title: above the picture.

    Returns:
      PNG bytes.
    """
    num_classes = len(names)
    counted, named = num_classes <= COUNTS_UP_TO, num_classes <= NAMES_UP_TO
    inches = min(14.0, max(4.5, (0.45 if counted else 0.14) * num_classes))
    totals = matrix.sum(axis=1)
    with matplotlib.rc_context({"font.size": 9 if counted else 7}):
        figure = Figure(figsize=(inches + 1.5, inches + 0.5), dpi=100)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        image = axes.imshow(
            matrix / np.maximum(totals, 1)[:, None],
            cmap="Blues",
            norm=PowerNorm(1.0 if counted else 0.5, vmin=0, vmax=1),
            interpolation="nearest",
        )
        axes.set(xlabel="predicted class", ylabel="true class (videos)")
        axes.set_title(title, fontsize=10)
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03)
        bar.set_label("share of the class's videos")
        if named:
            short = list(map(_shorten, names))
            axes.set_xticks(range(num_classes), short, rotation=90)
            rows = [f"{name} ({total})" for name, total in zip(short, totals, strict=True)]
            axes.set_yticks(range(num_classes), rows)
        else:
            axes.set(xlabel="predicted class, by label", ylabel="true class, by label")
            pairs = _worst_pairs(matrix, names)
            axes.text(1.14, 0.5, pairs, transform=axes.transAxes, va="center", fontsize=10)
        if counted:
            for row, column in zip(*np.nonzero(matrix), strict=True):
                count = matrix[row, column]
                color = "white" if count > 0.55 * totals[row] else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color)
        content = io.BytesIO()
        figure.savefig(content, format="png", bbox_inches="tight")
    return content.getvalue()


def write(path: str, matrix: np.ndarray, names: Sequence[str], title: str = "") -> None:
    """Draws a confusion matrix to a PNG file, atomically; arguments as for `draw`."""
    files.write_atomically(path, draw(matrix, names, title))


def _shorten(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"


def _worst_pairs(matrix: np.ndarray, names: Sequence[str]) -> str:
    """The pairs of classes confused most often, one a line."""
    errors = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-errors, axis=None, kind="stable")[:WORST]
    lines = ["taken most often for another class:", ""]
    for row, column in zip(*np.unravel_index(order, errors.shape), strict=True):
        if errors[row, column]:
            lines.append(
                f"{errors[row, column]} of {matrix[row].sum()}  {_shorten(names[row])}"
                f" [{row}] as {_shorten(names[column])} [{column}]"
            )
    return "\n".join(lines)
