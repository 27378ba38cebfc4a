"""The outcome of a table as text, Markdown and JSON."""

from typing import Any

import cvrl_tf
from cvrl_tf import text
from cvrl_tf.reproduction import intervals
from cvrl_tf.reproduction.execution import FAILED
from cvrl_tf.reproduction.intervals import Interval
from cvrl_tf.reproduction.outcome import Cell, Difference, Outcome
from cvrl_tf.reproduction.tables import Row

NOT_RUN = "not run"


def percent(value: float) -> str:
    """A fraction in percent, with one digit: 63.8."""
    return f"{100 * value:.1f}"


def rows(outcome: Outcome, column: str) -> list[list[str]]:
    """A column of the table as rows of text, a header first.

    Args:
      outcome: of the table.
      column: name of one of its columns.
    """
    seeds = outcome.plan.settings.seeds
    header = ["row", "mean", "deviation", *(f"seed {seed}" for seed in seeds), "published"]
    found = [[*header, "difference", "95 % interval"]]
    for row in outcome.plan.table.rows:
        if column not in row.evaluations:
            continue
        cell = outcome.cells[row.name, column]
        found.append([row.title, *_values(cell, seeds), *_against(outcome, row, column)])
    return found


def _values(cell: Cell, seeds: tuple[int, ...]) -> list[str]:
    single = [
        percent(cell.tested[seed].value)
        if seed in cell.tested
        else "failed"
        if seed in cell.failed
        else NOT_RUN
        for seed in seeds
    ]
    mean = percent(cell.mean) if cell.tested else "failed" if cell.failed else NOT_RUN
    deviation = percent(cell.deviation) if cell.deviation is not None else ""
    published = f"{cell.published:.1f}" if cell.published is not None else ""
    if cell.first_split is not None:
        published += f" (split 1: {cell.first_split:.1f})"
    return [mean, deviation, *single, published]


def _against(outcome: Outcome, row: Row, column: str) -> list[str]:
    if row.name == outcome.plan.table.reference:
        return ["reference", ""]
    difference = outcome.difference(row, column)
    if not difference:
        return ["", ""]
    return [_signed(difference.interval.value), _ends(difference.interval)]


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _ends(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def sentences(outcome: Outcome, column: str) -> list[str]:
    """In words, what is resolved: a sentence for each row that is compared."""
    table = outcome.plan.table
    titles = {row.name: row.title for row in table.rows}
    found = []
    for row in table.rows:
        difference = outcome.difference(row, column) if column in row.evaluations else None
        if difference:
            found.append(_sentence(row.title, titles[table.reference], difference))
    return found


def _sentence(title: str, reference: str, difference: Difference) -> str:
    interval, seeds = difference.interval, len(difference.seeds)
    resolved = "resolved" if interval.resolved else "not resolved"
    # The interval of one seed is over test videos: seeds often differ more.
    data = f"{difference.videos} videos" + (
        f" and {seeds} seeds" if seeds > 1 else " of 1 seed; other seeds may differ from it"
    )
    return (
        f"{title} against {reference}: {_signed(interval.value)} points, 95 % interval"
        f" {_ends(interval)}: {resolved} with {data}."
    )


def failures(outcome: Outcome) -> list[str]:
    """The runs that failed, with the reasons."""
    return [
        f"{name}: {state.reason}" for name, state in outcome.states.items() if state.state == FAILED
    ]


def as_text(outcome: Outcome) -> str:
    """The table for a terminal."""
    table = outcome.plan.table
    lines = [f"{table.name}: {table.title}, scale {table.scale}"]
    for column, title in table.columns.items():
        lines += ["", title, text.table(rows(outcome, column)), *sentences(outcome, column)]
    failed = failures(outcome)
    return "\n".join([*lines, *(["", "failed:", *failed] if failed else [])])


def as_markdown(outcome: Outcome) -> str:
    """The table as Markdown, without a heading."""
    table = outcome.plan.table
    lines = [f"{table.title}. Top-1 in percent; published: {table.source}."]
    for column, title in table.columns.items():
        header, *others = rows(outcome, column)
        lines += ["", f"**{title}**", "", _line(header), _line(["---"] * len(header))]
        lines += [_line(cells) for cells in others]
        lines += ["", *(f"- {sentence}" for sentence in sentences(outcome, column))]
    lines += ["", f"Intervals: {intervals.METHOD}."]
    failed = failures(outcome)
    lines += ["", "Failed:", "", *(f"- {one}" for one in failed)] if failed else []
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The content of results.json: accuracies as fractions, published figures in percent."""
    plan = outcome.plan
    table, settings = plan.table, plan.settings
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "scale": table.scale,
        "version": cvrl_tf.__version__,
        "seeds": list(settings.seeds),
        "pretrain_flags": list(settings.pretrain_flags),
        "data": dict(settings.data),
        "reference": table.reference,
        "interval": {"level": intervals.LEVEL, "method": intervals.METHOD},
        "columns": dict(table.columns),
        "rows": [_row_as_json(outcome, row) for row in table.rows],
        "failed": failures(outcome),
    }


def _row_as_json(outcome: Outcome, row: Row) -> dict[str, Any]:
    columns = {name: _cell_as_json(outcome, row, name) for name in row.evaluations}
    return {"name": row.name, "title": row.title, "columns": columns}


def _cell_as_json(outcome: Outcome, row: Row, column: str) -> dict[str, Any]:
    cell, difference = outcome.cells[row.name, column], outcome.difference(row, column)
    values: dict[str, Any] = {
        "values": {str(seed): tested.value for seed, tested in cell.tested.items()},
        "results": {str(seed): list(tested.results) for seed, tested in cell.tested.items()},
        "failed": {str(seed): reason for seed, reason in cell.failed.items()},
        "published": cell.published,
    }
    if cell.tested:
        interval = cell.interval
        values |= {"mean": cell.mean, "deviation": cell.deviation}
        values |= {"low": interval.low, "high": interval.high}
    if difference:
        interval = difference.interval
        values["difference"] = {
            "value": interval.value,
            "low": interval.low,
            "high": interval.high,
            "resolved": interval.resolved,
            "videos": difference.videos,
            "seeds": list(difference.seeds),
        }
    return values
