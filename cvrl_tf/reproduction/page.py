"""The page of a table: its picture, curves and clip pairs of its runs, links to their results."""

import base64
import io
import os
from collections.abc import Iterator, Mapping
from typing import Any

from cvrl_tf import pages
from cvrl_tf.reproduction import intervals, summary
from cvrl_tf.reproduction.execution import log_path
from cvrl_tf.reproduction.outcome import Outcome
from cvrl_tf.reproduction.plan import Run
from cvrl_tf.reproduction.tables import Row
from cvrl_tf.training import plots
from cvrl_tf.training.run_directory import METRICS_FILE, RunDirectory

CURVES = ("loss", "contrast_accuracy", "knn_top1")


def render(outcome: Outcome, picture: bytes, path: str) -> str:
    """The page as HTML, with its pictures; results are linked.

    Args:
      outcome: of the table.
      picture: PNG of its bars.
      path: that the page is written to, for the links.
    """
    table = outcome.plan.table
    columns = [
        {
            "title": title,
            "rows": summary.rows(outcome, column),
            "sentences": summary.sentences(outcome, column),
        }
        for column, title in table.columns.items()
    ]
    start = os.path.dirname(os.path.abspath(path))
    return pages.render(
        __package__,
        "page.html",
        table=table,
        columns=columns,
        picture=_data_url(picture),
        method=intervals.METHOD,
        failed=summary.failures(outcome),
        curves=list(_curves(outcome)),
        clips=list(_clips(outcome)),
        runs=[_links(outcome, run, start) for run in outcome.plan.runs.values()],
    )


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _pretraining(outcome: Outcome, row: Row, seed: int) -> Run | None:
    """The pre-training of a row with a seed, if it has begun."""
    needed = {
        name
        for column in row.evaluations
        for run in outcome.plan.cell(row, column, seed)
        for name in run.needs
    }
    runs = [outcome.plan.runs[name] for name in needed]
    found = [run for run in runs if run.length and os.path.isdir(run.output)]
    return found[0] if found else None


def _curves(outcome: Outcome) -> Iterator[Mapping[str, Any]]:
    """Yields, for each seed, the curves of all rows as a picture."""
    for seed in outcome.plan.settings.seeds:
        runs = []
        for row in outcome.plan.table.rows:
            run = _pretraining(outcome, row, seed)
            if run and METRICS_FILE in os.listdir(run.output):
                kept = [
                    {name: line[name] for name in ("step", *CURVES) if name in line}
                    for line in plots.read_run(run.output)
                ]
                runs.append((row.title, kept))
        if runs:
            content = io.BytesIO()
            plots.draw(runs).savefig(content, format="png", dpi=90)
            yield {"seed": seed, "picture": _data_url(content.getvalue())}


def _clips(outcome: Outcome) -> Iterator[Mapping[str, Any]]:
    """Yields the clip pairs of each row, with its first seed."""
    for row in outcome.plan.table.rows:
        run = _pretraining(outcome, row, outcome.plan.settings.seeds[0])
        path = RunDirectory(run.output).pairs if run else ""
        if path and os.path.exists(path):
            with open(path, "rb") as file:
                yield {"title": row.title, "picture": _data_url(file.read())}


def _links(outcome: Outcome, run: Run, start: str) -> Mapping[str, Any]:
    """A run with its state, and links to what is there of it, relative to a directory."""
    state = outcome.states[run.name]
    names = ("results.json", "predictions.csv", "confusion.png", METRICS_FILE, "clip_pairs.png")
    paths = [os.path.join(run.output, name) for name in names] + [log_path(outcome.plan, run)]
    links = [
        (os.path.basename(path) if path in paths[:-1] else "log", os.path.relpath(path, start))
        for path in paths
        if os.path.exists(path)
    ]
    minutes = f"{state.seconds / 60:.1f}" if state.seconds else ""
    about = {"name": run.name, "state": state.state or summary.NOT_RUN, "minutes": minutes}
    return about | {"command": run.shell, "links": links}
