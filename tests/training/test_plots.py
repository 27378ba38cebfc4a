import io
import json

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.plot_metrics import COMMAND
from cvrl_tf.training import plots


def _write(directory, rows, end=""):
    directory.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "metrics.jsonl").write_text(text + end)
    return str(directory)


def test_two_runs_become_a_picture(tmp_path, monkeypatch, capsys):
    _write(tmp_path / "first", [{"step": 10 * n, "loss": 5.0 / n} for n in range(1, 40)])
    _write(tmp_path / "second", [{"step": 5, "loss": 1, "knn_top1": 0.5}], end='{"step": 1')
    monkeypatch.chdir(tmp_path)
    COMMAND.call("first", "second", "--output=x.png")
    assert capsys.readouterr().out.splitlines() == [
        "first: 39 lines to step 390",
        "second: 1 lines to step 5",
        "picture: x.png, 2 panels",
    ]
    picture = tf.io.decode_png((tmp_path / "x.png").read_bytes(), channels=3).numpy()
    assert picture.shape[1] == 1000
    for color in (31, 119, 180), (255, 127, 14):  # of the first and the second run
        assert np.all(picture == color, axis=-1).sum() > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second", "x.png"]


def test_a_panel_for_each_figure_with_the_values_of_each_run():
    one = [{"step": s, "epoch": s / 9, "loss": 4.0 / s, "learning_rate": 0.1} for s in (2, 4, 6)]
    one[1]["knn_top1"] = 0.25
    two = [{"step": s, "accuracy": s / 10, "loss": float("nan")} for s in (3, 5)]
    figure = plots.draw([("one", one), ("two", two)])
    assert [panel.get_title() for panel in figure.axes] == [
        "loss",
        "accuracy",
        "knn top1",
        "learning rate",
    ]
    lines = {panel.get_title(): panel.get_lines() for panel in figure.axes}
    first, second = lines["loss"]
    np.testing.assert_array_equal(first.get_xydata(), [[2, 2.0], [4, 1.0], [6, 4 / 6]])
    np.testing.assert_array_equal(second.get_xydata(), [[3, np.nan], [5, np.nan]])
    assert (first.get_label(), second.get_label()) == ("one", "two")
    (knn,) = lines["knn top1"]
    np.testing.assert_array_equal(knn.get_xydata(), [[4, 0.25]])
    # A run has one colour everywhere, and the legend names it.
    assert lines["accuracy"][0].get_color() == second.get_color() != first.get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]
    assert [line.get_color() for line in legend.get_lines()] == ["C0", "C1"]
    figure.savefig(io.BytesIO())


def test_a_long_run_has_a_mean_over_its_raw_line():
    rows = [{"step": step, "loss": float(step % 4)} for step in range(1, 201)]
    raw, mean = plots.draw([("one", rows)]).axes[0].get_lines()
    np.testing.assert_array_equal(raw.get_ydata(), np.arange(1, 201) % 4)
    # Of four lines: from step 2.5 on, always 1.5.
    np.testing.assert_allclose(mean.get_xydata(), [[1.5 + n, 1.5] for n in range(1, 198)])
    assert raw.get_alpha() < 1 and raw.get_color() == mean.get_color()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^There is no \S+/run/metrics.jsonl: expected the directory of a run"),
        ("", r"run/metrics.jsonl holds no whole line yet: a run writes the first"),
        ('{"step": 1, "lo', r"run/metrics.jsonl holds no whole line yet"),
        ('{"step": 1}\n\0\0\n{"step": 3}\n', r"run/metrics.jsonl is damaged \(Expecting value"),
        ('{"loss": 1}\n', r"run/metrics.jsonl is damaged \('step'\)"),
    ],
)
def test_what_is_no_run_is_said(tmp_path, content, message):
    if content is not None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "metrics.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        plots.read_run(str(tmp_path / "run"))


def test_an_output_that_cannot_be_written_is_found_first(tmp_path):
    (tmp_path / "x.png").mkdir()
    for name, message in (
        ("no/such/x.png", r"there is no directory no/such; make it\.$"),
        ("", "Found --output=, expected the name of a .png file"),
        ("x.jpg", "Found --output=x.jpg, expected the name of a .png file"),
        (f"{tmp_path}/x.png", "x.png is a directory: expected the name of a file to write"),
    ):
        with pytest.raises(InputError, match=message):
            COMMAND.call("no_run", f"--output={name}")
    with pytest.raises(InputError, match="There is no no_run/metrics.jsonl"):
        COMMAND.call("no_run", f"--output={tmp_path}/X.PNG")
