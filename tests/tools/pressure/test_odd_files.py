import pytest

from cvrl_tf.conversion import catalogs
from tools.pressure import odd_files
from tools.pressure.__main__ import COMMAND
from tools.pressure.odd_files import OddNames


def _wrong(outcomes):
    return [(outcome.what, outcome.gave) for outcome in outcomes if not outcome.right]


def test_odd_names_give_what_they_must(tmp_path):
    found = odd_files._name_outcomes(str(tmp_path))
    assert (len(found), _wrong(found)) == (len(odd_files.NAMES), [])


@pytest.mark.slow
def test_odd_videos_give_what_they_must(tmp_path):
    found = odd_files._video_outcomes(str(tmp_path / "videos"))
    assert (len(found), _wrong(found)) == (len(odd_files.VIDEOS), [])


def test_a_difference_is_shown_and_sets_the_exit_status(monkeypatch, capsys):
    def broken(directory):
        raise KeyError("lost")

    monkeypatch.setattr(odd_files, "_video_outcomes", lambda directory: [])
    names = (
        OddNames("no directory", lambda path: catalogs.folder(f"{path}/x"), "refused: video_dir"),
        OddNames("a defect", broken, "1 videos"),
    )
    monkeypatch.setattr(odd_files, "NAMES", names[:1])
    assert COMMAND.call("--trials=files") == 0
    assert "no directory  refused: video_dir  the same\n" in capsys.readouterr().out
    monkeypatch.setattr(odd_files, "NAMES", names)
    assert COMMAND.call("--trials=files") == 1
    printed = capsys.readouterr()
    assert "a defect      1 videos            KeyError: 'lost'\n" in printed.out
    assert "odd files, names and lists converted      2  1 things\n" in printed.out
    assert "files: a defect: must give '1 videos', gave \"KeyError: 'lost'\"" in printed.err
