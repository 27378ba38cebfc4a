"""The table as text, Markdown, JSON, picture and page."""

import re

import numpy as np
import pytest
import small_tables
import tensorflow as tf

from cvrl_tf.reproduction import execution, outcome, page, picture, summary
from cvrl_tf.reproduction.execution import FAILED, State


@pytest.fixture
def found(tmp_path):
    """Seed 0 of two rows is there, seed 1 of the second failed, and the colours are not run."""
    plan = small_tables.make_plan(tmp_path)
    rng = np.random.default_rng(0)
    base = rng.uniform(size=200) < 0.5
    small_tables.write_result(plan.runs["base_seed0/knn"], base.tolist())
    small_tables.write_result(plan.runs["base_seed1/knn"], base.tolist())
    better = base | (rng.uniform(size=200) < 0.4)
    small_tables.write_result(plan.runs["other_seed0/knn"], better.tolist())
    states = execution.states(plan)
    states["other_seed1/knn"] = State(FAILED, "exit status 2: no <space>")
    return outcome.read(plan, states)


def test_rows(found):
    base = f"{100 * found.cells['base', 'knn'].mean:.1f}"
    other = f"{100 * found.cells['other', 'knn'].mean:.1f}"
    interval = found.difference(found.plan.table.rows[1], "knn").interval
    ends = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    assert interval.resolved
    assert summary.rows(found, "knn") == [
        ["row", "mean", "deviation", "seed 0", "seed 1", "published"]
        + ["difference", "95 % interval"],
        ["the base", base, "0.0", base, base, "63.8", "reference", ""],
        ["another", other, "", other, "failed", "", f"+{100 * interval.value:.1f}", ends],
        ["colours", "not run", "", "not run", "not run", "", "", ""],
    ]
    assert summary.rows(found, "tuned")[1:] == [
        ["the base", "not run", "", "not run", "not run", "", "reference", ""]
    ]
    assert summary.sentences(found, "knn") == [
        f"another against the base: +{100 * interval.value:.1f} points, 95 % interval {ends}:"
        " resolved with 200 videos of 1 seed; other seeds may differ from it."
    ]


def test_a_difference_that_is_not_resolved(found):
    small_tables.write_result(found.plan.runs["colors/knn"], [True] * 100 + [False] * 100)
    states = execution.states(found.plan)
    again = outcome.read(found.plan, states)
    sentence = summary.sentences(again, "knn")[1]
    assert sentence.startswith("colours against the base: ")
    assert sentence.endswith(": not resolved with 200 videos and 2 seeds.")


def test_text_markdown_and_json(found):
    text = summary.as_text(found)
    assert text.startswith("one: One table, scale desk\n\nk-NN\n")
    assert text.endswith("failed:\nother_seed1/knn: exit status 2: no <space>")
    markdown = summary.as_markdown(found)
    assert (
        "One table. Top-1 in percent; published: a paper.\n\n**k-NN**\n\n| row | mean |" in markdown
    )
    assert "\n| colours | not run |  | not run | not run |  |  |  |\n" in markdown
    assert "crossed random effects" in markdown
    values = summary.as_json(found)
    base, other, colors = (row["columns"]["knn"] for row in values["rows"])
    assert values["reference"] == "base" and values["seeds"] == [0, 1]
    assert base["values"].keys() == {"0", "1"} and base["published"] == 63.8
    assert other["failed"] == {"1": "exit status 2: no <space>"}
    assert other["difference"]["resolved"] and other["difference"]["seeds"] == [0]
    assert other["difference"]["value"] == pytest.approx(other["mean"] - base["mean"])
    assert colors == {"values": {}, "results": {}, "failed": {}, "published": None}


def test_the_picture_has_bars_published_figures_and_curves(found, monkeypatch):
    drawn = {}
    for name in ("_draw_bars", "_draw_published", "_draw_curves"):
        original = getattr(picture, name)

        def draw(panel, *arguments, name=name, original=original):
            original(panel, *arguments)
            drawn[name] = panel

        monkeypatch.setattr(picture, name, draw)
    pixels = tf.io.decode_png(picture.draw(found)).numpy()
    assert pixels.shape[2] == 4 and 300 < pixels.shape[1] < 1500
    widths = [patch.get_width() for patch in drawn["_draw_bars"].patches]
    expected = [100 * found.cells[name, "knn"].mean for name in ("base", "other")]
    np.testing.assert_allclose(widths, expected)
    assert [text.get_text() for text in drawn["_draw_bars"].texts] == ["not run"]
    assert [patch.get_width() for patch in drawn["_draw_published"].patches] == [63.8]
    assert len(drawn["_draw_curves"].collections) == 2


def test_the_page(found, tmp_path):
    run = found.plan.runs["base_seed0"]
    directory = tmp_path / "runs" / "base_seed0"
    directory.mkdir(parents=True)
    (directory / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "knn_top1": 0.5}\n')
    (directory / "clip_pairs.png").write_bytes(picture.draw(found))
    html = page.render(found, picture.draw(found), str(tmp_path / "pages" / "one.html"))
    assert "<title>One table</title>" in html
    assert "other_seed1/knn: exit status 2: no &lt;space&gt;" in html
    assert html.count('<img class="pairs"') == 1 and html.count("<h3>Seed 0</h3>") == 1
    assert "<h3>Seed 1</h3>" not in html
    assert 'href="../evaluations/base_seed0/knn/results.json"' in html
    assert 'href="../runs/base_seed0/metrics.jsonl"' in html
    assert re.search(r"<td[^>]*>63\.8</td>", html)
    assert run.shell.replace("'", "&#39;") in html
