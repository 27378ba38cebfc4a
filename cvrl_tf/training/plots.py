"""What runs wrote to metrics.jsonl as a picture, one panel for each figure."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.training import metrics
from cvrl_tf.training.log import SHOWN
from cvrl_tf.training.run_directory import METRICS_FILE, RunDirectory

# The panels of these figures come first, in this order; those of others follow by name.
FIRST_PANELS = (*SHOWN, "learning_rate")
COLUMNS = 3
SMOOTHED_LINES = 100  # of metrics.jsonl: with this many or more, a mean is drawn over the raw line
WINDOWS = 50  # of that mean, over the length of a run
DASHES = ("-", "--", ":")

Rows = list[dict[str, float]]


def read_run(directory: str) -> Rows:
    """The lines of a run's metrics.jsonl; a last one that is cut off is skipped.

    Raises:
      InputError: there is no such file, or no whole line in it, or a damaged one before the last.
    """
    path = RunDirectory(directory).metrics
    if METRICS_FILE not in files.names_in(directory):
        raise InputError(
            f"There is no {path}: expected the directory of a run, --model_dir of the command that"
            " trains."
        )
    try:
        rows = metrics.read_metrics(directory)
        steps = [row["step"] for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}): expected a JSON object with `step` on each line; delete"
            " the lines that are not."
        ) from error
    if not steps:
        raise InputError(
            f"{path} holds no whole line yet: a run writes the first after --log_every_steps steps;"
            " try again later."
        )
    return rows


def draw(runs: list[tuple[str, Rows]]) -> Figure:
    """A panel for each figure over the step, runs in colours.

    Args:
      runs: names for the legend and lines of metrics.jsonl.
    """
    found = {name for _, rows in runs for row in rows for name in row} - {"step", "epoch"}
    names = [name for name in FIRST_PANELS if name in found]
    names += sorted(found - set(names))
    columns = min(COLUMNS, len(names))
    panel_rows = math.ceil(len(names) / columns)
    legend_inches = 0.3 + 0.2 * len(runs)
    height = 2.6 * panel_rows + legend_inches
    figure = Figure(figsize=(5 * columns, height), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, 1 - legend_inches / height))
    panel = None
    for index, name in enumerate(names):
        panel = figure.add_subplot(panel_rows, columns, index + 1, sharex=panel)
        panel.set_title(name.replace("_", " "), fontsize="medium")
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
        for run, (label, rows) in enumerate(runs):
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                dashes = DASHES[run // 10 % len(DASHES)]
                steps, values = np.array(points, float).T
                _draw_line(panel, steps, values, f"C{run % 10}", dashes, label)
    lines = {line.get_label(): line for panel in figure.axes for line in panel.get_lines()}
    named = [label for label, _ in runs if label in lines]
    figure.legend([lines[label] for label in named], named, loc="upper left")
    return figure


def _draw_line(
    panel: Axes, steps: np.ndarray, values: np.ndarray, color: str, dashes: str, label: str
) -> None:
    """The raw line, and a moving mean over it where there are many points."""
    style: Any = {"color": color, "linestyle": dashes}
    if len(steps) < SMOOTHED_LINES:
        panel.plot(steps, values, **style, marker="." if len(steps) < 30 else "", label=label)
        return
    size = len(steps) // WINDOWS
    panel.plot(steps, values, **style, alpha=0.35, linewidth=0.8)
    means = [np.convolve(x, np.full(size, 1 / size), "valid") for x in (steps, values)]
    panel.plot(means[0], means[1], **style, label=label)
