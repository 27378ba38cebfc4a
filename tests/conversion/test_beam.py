import contextlib
import os
import pathlib
import signal
import threading
import time

import pytest
from small_videos import write_class_folders

from cvrl_tf.conversion import catalogs
from cvrl_tf.conversion.catalogs import Catalog, Entry
from cvrl_tf.conversion.convert import convert
from cvrl_tf.conversion.workers import InProcess
from cvrl_tf.errors import InputError

pytest.importorskip("apache_beam")

from cvrl_tf.conversion.beam import BeamPipeline  # noqa: E402 - imports apache_beam


@pytest.fixture
def entries(tmp_path):
    """Seven videos and one missing video."""
    catalog = catalogs.folder(write_class_folders(tmp_path / "videos", {"dive": 3, "swim": 4}))
    entries = catalog.splits["train"]
    return [*entries, Entry("dive/none", str(tmp_path / "none.mp4"), 0, "dive")]


def _convert(entries, output, executor):
    catalog = Catalog("folder", {"train": entries}, ["dive", "swim"])
    return convert(catalog, str(output), executor, num_shards=3)


def _contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_a_pipeline_writes_what_processes_write_and_goes_on(tmp_path, entries, capsys):
    expected = _convert(entries, tmp_path / "local", InProcess())
    assert _convert(entries, tmp_path / "beam", BeamPipeline("DirectRunner")) == expected
    assert "converting train: 8/8 videos" in capsys.readouterr().err
    assert _contents(tmp_path / "beam") == _contents(tmp_path / "local")

    gone = tmp_path / "beam" / "train-00001-of-00003"
    stays = tmp_path / "beam" / "train-00002-of-00003"
    os.remove(gone)
    before = stays.stat().st_mtime_ns
    _convert(entries, tmp_path / "beam", BeamPipeline("DirectRunner"))
    assert stays.stat().st_mtime_ns == before
    assert _contents(tmp_path / "beam") == _contents(tmp_path / "local")


@pytest.mark.slow
def test_a_worker_process_that_is_killed_is_reported_and_the_rest_is_made_again(tmp_path, entries):
    """The direct runner with two processes: it would wait for ever."""
    expected = _convert(entries, tmp_path / "local", InProcess())
    output = tmp_path / "beam"
    arguments = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    killed = []

    def kill_one() -> None:
        """Kills a worker once it has a shard to write."""
        deadline = time.monotonic() + 300
        while not killed and time.monotonic() < deadline:
            time.sleep(0.1)
            if list(output.glob(".conversion/*.tmp-*")):
                killed.append(_worker_processes()[0])
                os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    message = r"A part of the runner died \(.*\): run the same command again; finished shards are"
    with pytest.raises(InputError, match=message):
        _convert(entries, output, BeamPipeline("DirectRunner", arguments))
    killer.join()
    assert killed
    assert _convert(entries, output, BeamPipeline("DirectRunner", arguments)) == expected
    assert _contents(output) == _contents(tmp_path / "local")


def _worker_processes():
    """Beam's worker processes, which are children of shells."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes().split(b"\0")
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            grandparent = pathlib.Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2]
            if b"apache_beam.runners.worker.sdk_worker_main" in command and str(os.getpid()) in (
                parent,
                grandparent.split()[1],
            ):
                found.append(int(path.name))
    return found


def test_the_number_of_shards_is_estimated_on_this_machine(tmp_path, entries):
    catalog = Catalog("folder", {"train": entries}, ["dive", "swim"])
    info = convert(catalog, str(tmp_path / "out"), BeamPipeline("DirectRunner"))
    assert (info["splits"]["train"]["videos"], info["splits"]["train"]["shards"]) == (7, 1)


def test_an_unknown_runner_is_named():
    with pytest.raises(InputError, match="Beam cannot use runner=Nonsense: Unexpected pipeline"):
        BeamPipeline("Nonsense")
