"""The picture of a table: bars with intervals, the published figures, and the distributions."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cvrl_tf.reproduction import recipe
from cvrl_tf.reproduction.intervals import Interval
from cvrl_tf.reproduction.outcome import Outcome
from cvrl_tf.reproduction.tables import Row
from cvrl_tf.training.config import PretrainConfig

MARKS = "os^vD"  # of the seeds, in turns
MEASURED, PUBLISHED = "C0", "0.6"


def draw(outcome: Outcome) -> bytes:
    """The picture of the first column as a PNG; a row that is not done has no bar."""
    table = outcome.plan.table
    column = next(iter(table.columns))
    rows = [row for row in table.rows if column in row.evaluations]
    published = {row.name: row.published[column] for row in rows if column in row.published}
    widths = [0.6] * table.curves + [2.4] + [1.2] * bool(published)
    figure = Figure(figsize=(3.0 + 1.9 * sum(widths), 1.4 + 0.48 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0]
    figure.suptitle(f"{table.title}: {table.columns[column]}, top-1 in percent", fontsize="medium")
    if table.curves:
        _draw_curves(panels[0], rows)
    _draw_bars(panels[int(table.curves)], outcome, rows, column)
    if published:
        _draw_published(panels[-1], rows, published)
    panels[0].set_yticks(range(len(rows)), [row.title for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _draw_bars(panel: Axes, outcome: Outcome, rows: Sequence[Row], column: str) -> None:
    """Means with intervals, a mark for each seed, and a line at the reference."""
    ends = [0.0]
    for place, row in enumerate(rows):
        cell = outcome.cells[row.name, column]
        if not cell.tested:
            said = "failed" if cell.failed else "not run"
            panel.annotate(said, (0.02, place), xycoords=("axes fraction", "data"), va="center")
            continue
        interval = cell.interval
        reference = row.name == outcome.plan.table.reference
        panel.barh(place, 100 * cell.mean, 0.62, color=MEASURED, alpha=0.85 if reference else 0.5)
        panel.errorbar(100 * cell.mean, place, xerr=_error(cell.mean, interval), color="0.15")
        for number, seed in enumerate(cell.tested):
            value = 100 * cell.tested[seed].value
            mark = MARKS[number % len(MARKS)]
            panel.plot(value, place + 0.2, mark, markersize=3.5, color="0.15", fillstyle="none")
        if reference:
            panel.axvline(100 * cell.mean, color=MEASURED, linewidth=0.8, linestyle="--")
        ends.append(100 * interval.high)
    panel.set_xlim(0, min(100.0, 1.08 * max(ends)) or 100.0)
    panel.set_title("measured: mean, 95 % interval, seeds", fontsize="small")
    panel.grid(axis="x", alpha=0.3)


def _error(mean: float, interval: Interval) -> list[list[float]]:
    """The lengths of the interval to both sides of the mean, in percent."""
    lower, upper = (100 * max(0.0, x) for x in (mean - interval.low, interval.high - mean))
    return [[lower], [upper]]


def _draw_published(panel: Axes, rows: Sequence[Row], published: Mapping[str, float]) -> None:
    """Bars of the published figures, which are of other data and other sizes."""
    for place, row in enumerate(rows):
        if row.name in published:
            panel.barh(place, published[row.name], 0.62, color=PUBLISHED)
            panel.annotate(f" {published[row.name]:.1f}", (published[row.name], place), va="center")
    panel.set_xlim(0, 1.35 * max(published.values()))
    panel.set_title("published", fontsize="small")
    panel.grid(axis="x", alpha=0.3)


def _draw_curves(panel: Axes, rows: Sequence[Row]) -> None:
    """The density of the interval of each row, over the longest that fits."""
    x = np.linspace(0.0, 1.0, 50)
    for place, row in enumerate(rows):
        if row.backbone.train is None:
            continue
        values = recipe.values(row.backbone.train)
        kind = values.get("interval", PretrainConfig.interval)
        power = float(values.get("interval_power", PretrainConfig.interval_power))
        shapes = {"decreasing": 1 - x**power, "uniform": np.ones_like(x), "increasing": x**power}
        density = shapes[kind] / np.mean(shapes[kind])
        panel.fill_between(x, place + 0.35, place + 0.35 - 0.3 * density, color=MEASURED, alpha=0.5)
    panel.set_xlim(0, 1)
    panel.set_xticks([])
    panel.set_title("interval", fontsize="small")
