import io
import re
import sys

import pytest

from cvrl_tf.progress import Progress, note


def test_plain_lines_where_there_is_no_terminal(capsys):
    with Progress("converting", 4, "video", initial=1, line_seconds=0.0) as progress:
        progress.update(loss=0.123456, state="fine")
        progress.update(2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    figures = "loss=0.1235 state=fine"
    speed = r"[\d.e+]+ videos/s"
    line = rf"converting: 2/4 videos after \d s, {speed}, \d s left {figures}"
    assert re.fullmatch(line, lines[0])
    assert re.fullmatch(line.replace("2/4", "4/4"), lines[-1])


def test_items_that_start_over_and_lines_without_news(capsys):
    with Progress("converting", 4, "video", line_seconds=0.0) as progress:
        progress.update(3)
        progress.update(-2)
        progress.update(0)
    counts = re.findall(r"(\d)/4", capsys.readouterr().err)
    assert counts == ["3", "1", "1", "1"]


def test_lines_are_rare(capsys):
    with Progress("converting", 100, "video", line_seconds=60.0) as progress:
        for _ in range(100):
            progress.update()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("converting", 10, "video") as progress:
        progress.update(10, loss=0.5)
    shown = capsys.readouterr().err
    assert "100%" in shown and "10/10" in shown and "loss=0.5" in shown
    assert "after" not in shown


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, Broken(terminal=False), Broken(terminal=True)])
def test_a_stream_that_is_gone_ends_nothing(stream, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("converting", 2, "video", line_seconds=0.0) as progress:
        progress.update(loss=0.5)
        progress.note("a note")
        progress.update()
    note("another")
    assert capsys.readouterr().out == ""  # nor does it go to stdout instead


def test_a_note_sends_no_commands_to_the_terminal(capsys):
    note("\nskipped: red \x1b[31m.mp4")
    assert capsys.readouterr().err == "\nskipped: red \\x1b[31m.mp4\n"
