import os

import pytest
from small_videos import write_class_folders

from cvrl_tf.conversion import catalogs
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.convert import convert
from cvrl_tf.errors import InputError

pytest.importorskip("apache_beam")


@pytest.fixture
def entries(tmp_path):
    """Seven videos and one that is missing."""
    catalog = catalogs.folder(write_class_folders(tmp_path / "videos", {"dive": 3, "swim": 4}))
    entries = catalog.splits["train"]
    return [*entries, Entry("dive/none", str(tmp_path / "none.mp4"), 0, "dive")]


def _convert(entries, output, **options):
    options = {"dataset": "folder", "num_shards": 3, **options}
    return convert({"train": entries}, ["dive", "swim"], str(output), **options)


def _contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_a_pipeline_writes_what_processes_write_and_goes_on(tmp_path, entries, capsys):
    expected = _convert(entries, tmp_path / "local", workers=0)
    assert _convert(entries, tmp_path / "beam", runner="DirectRunner") == expected
    assert "converting train: 8/8 videos" in capsys.readouterr().err
    assert _contents(tmp_path / "beam") == _contents(tmp_path / "local")

    gone = tmp_path / "beam" / "train-00001-of-00003"
    stays = tmp_path / "beam" / "train-00002-of-00003"
    os.remove(gone)
    before = stays.stat().st_mtime_ns
    _convert(entries, tmp_path / "beam", runner="DirectRunner")
    assert stays.stat().st_mtime_ns == before
    assert _contents(tmp_path / "beam") == _contents(tmp_path / "local")


def test_an_unknown_runner_is_named(tmp_path, entries):
    with pytest.raises(InputError, match="Beam cannot use --runner=Nonsense: Unexpected pipeline"):
        _convert(entries, tmp_path / "out", runner="Nonsense")
    assert not (tmp_path / "out").exists()
