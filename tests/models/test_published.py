import json
import os
import re
import threading
import time

import numpy as np
import pytest
from archive_server import authors_archive, serve
from commands import FORKSERVER
from fetch_process import SMALL, fetch
from official_network import random_weights, write_checkpoint

from cvrl_tf import download, import_checkpoint
from cvrl_tf.errors import InputError
from cvrl_tf.exporting import description
from cvrl_tf.models import build_backbone, load_pretrained, official, published
from cvrl_tf.models.published import PUBLISHED
from cvrl_tf.training import origin, weights

# The authors' checkpoint, where it is at hand: too large for this repository.
REFERENCE = os.environ.get("CVRL_TF_REFERENCE", "")
NAME, PATH = "k400_800ep", "/cvrl/r3d_1x_k400_800ep.tar.gz"
FILES = ["backbone-1.data-00000-of-00001", "backbone-1.index", "lock", "record.json"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Archives in the authors' layout of made weights of r3d_small: two versions and a foreign."""
    directory = tmp_path_factory.mktemp("made")
    keys = official.backbone_keys(build_backbone("r3d_small"))
    shapes = {key: tuple(variable.shape) for key, variable in keys.items()}
    values = random_weights(shapes)
    foreign = {key: value for key, value in values.items() if "weights-5/" not in key}
    archives = {}
    versions = {"first": values, "second": random_weights(shapes, seed=1), "foreign": foreign}
    for name, version in versions.items():
        prefix = write_checkpoint(directory / name, version)
        archives[name] = authors_archive(prefix, "r3d_1x_k400_800ep")
    return values, archives


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The directory of the published checkpoint in an empty cache; they are of r3d_small here."""
    monkeypatch.setenv("CVRL_TF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PUBLISHED, NAME, SMALL)
    return tmp_path / "cache" / "official" / NAME


@pytest.fixture
def server(made, monkeypatch):
    """A mirror that has the first archive."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "RETRY_WAITS", (0.0, 0.0))
    with serve({PATH: made[1]["first"]}) as archives:
        monkeypatch.setenv("CVRL_TF_MIRROR", f"{archives.url}/cvrl")
        yield archives


def _assert_weights(backbone, expected):
    for key, variable in official.backbone_keys(backbone).items():
        np.testing.assert_array_equal(variable.numpy(), expected[key])


def test_the_authors_table():
    assert {name: (x.address, x.figures) for name, x in PUBLISHED.items()} == {
        name: (f"https://storage.googleapis.com/tf_model_garden/vision/cvrl/{file}", figures)
        for name, file, figures in [
            ("imagenet_inflated", "imagenet.tar.gz", {"Kinetics-400": 53.5, "Kinetics-600": 54.7}),
            ("k400_200ep", "r3d_1x_k400_200ep.tar.gz", {"Kinetics-400": 63.8}),
            ("k400_800ep", "r3d_1x_k400_800ep.tar.gz", {"Kinetics-400": 66.1}),
            (
                "k600_800ep",
                "r3d_1x_k600_800ep.tar.gz",
                {"Kinetics-400": 68.5, "Kinetics-600": 70.4},
            ),
        ]
    }
    assert {x.backbone for x in PUBLISHED.values()} == {"r3d_50"}
    rows = re.findall(
        r"^ *\| (\w+) .*\| +([\d.]*) +\| +([\d.]*) +\|$", load_pretrained.__doc__, re.M
    )
    assert {name: [x for x in figures if x] for name, *figures in rows} == {
        name: [str(figure) for figure in x.figures.values()] for name, x in PUBLISHED.items()
    }


def test_it_is_downloaded_once(server, cache, made, capsys):
    _assert_weights(load_pretrained(NAME), made[0])
    assert "downloading k400_800ep: " in capsys.readouterr().err
    assert sorted(os.listdir(cache)) == FILES
    record = json.loads((cache / "record.json").read_text())
    assert record["address"] == f"{server.url}{PATH}"
    assert sorted(record["sha256"]) == [*FILES[:2], "r3d_1x_k400_800ep.tar.gz"]
    backbone = load_pretrained(NAME, dtype="mixed_bfloat16")
    _assert_weights(backbone, made[0])
    assert backbone.get_layer("conv1_conv").compute_dtype == "bfloat16"
    assert len(server.requests) == 1 and capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written_to_is_read(server, cache, made):
    published.fetch(NAME)
    (cache / "lock").unlink()
    cache.chmod(0o500)
    try:
        _assert_weights(load_pretrained(NAME), made[0])
    finally:
        cache.chmod(0o700)
    assert "lock" not in os.listdir(cache)


def test_unknown_names_are_answered_with_the_known_ones():
    names = "imagenet_inflated, k400_200ep, k400_800ep, k600_800ep"
    with pytest.raises(InputError) as error:
        load_pretrained("k400")
    expected = f"'k400' is not the name of a published checkpoint: expected one of {names}."
    assert str(error.value) == expected
    with pytest.raises(InputError, match=f"checkpoint k400 cannot be read .* checkpoint, {names}."):
        published.locate("k400")


def test_an_archive_that_was_put_there_by_hand_is_used_without_network(cache, made, monkeypatch):
    monkeypatch.setenv("CVRL_TF_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "RETRY_WAITS", ())
    archive = cache / "r3d_1x_k400_800ep.tar.gz"
    with pytest.raises(InputError) as error:
        load_pretrained(NAME)
    assert "http://127.0.0.1:9/r3d_1x_k400_800ep.tar.gz cannot be downloaded" in str(error.value)
    assert f"download the file elsewhere and put it at {archive}, or" in str(error.value)
    archive.mkdir()  # which is not the file
    with pytest.raises(InputError, match=r"tar\.gz cannot be downloaded"):
        load_pretrained(NAME)
    archive.rmdir()
    archive.write_bytes(b"<html></html>")
    with pytest.raises(InputError, match=r"tar\.gz cannot be used .* Replace it\.$"):
        load_pretrained(NAME)
    archive.write_bytes(made[1]["first"])
    _assert_weights(load_pretrained(NAME), made[0])
    assert sorted(os.listdir(cache)) == sorted([*FILES, archive.name])


def test_a_download_is_resumed_after_a_cut_connection(server, cache, made):
    server.cuts = [1_500_000]
    _assert_weights(load_pretrained(NAME), made[0])
    assert [bool(wanted) for _, wanted in server.requests] == [False, True]


@pytest.mark.parametrize("kind", ["foreign", "cut off", "a page"])
def test_what_is_not_the_checkpoint_is_not_kept(server, cache, made, kind):
    whole = server.files[PATH]
    wrong = {"foreign": made[1]["foreign"], "cut off": whole[:-500], "a page": b"<html></html>"}
    messages = {
        "foreign": r"is not the archive of k400_800ep\. Its checkpoint does not hold the weights of"
        r" this network, nothing was loaded: missing \d+ \(backbone/layer_with_weights-5/",
        "cut off": r"cannot be used \(damaged: .*end-of-stream marker",
        "a page": r"cannot be used \(.*header.*\): expected a \.tar\.gz archive",
    }
    server.files[PATH] = wrong[kind]
    with pytest.raises(InputError, match=messages[kind]) as error:
        load_pretrained(NAME)
    remedy = (
        f" It came from {server.url}{PATH} and is removed: the same command downloads it again."
    )
    assert str(error.value).endswith(remedy)
    assert os.listdir(cache) == ["lock"]
    server.files[PATH] = whole
    _assert_weights(load_pretrained(NAME), made[0])


def test_files_that_have_changed_are_not_used(server, cache, made):
    prefix = published.fetch(NAME)
    data = cache / "backbone-1.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        InputError, match=r"00001 has changed since its first use \(SHA-256 \w{64},"
    ):
        load_pretrained(NAME)
    data.unlink()
    assert published.fetch(NAME) == prefix and data.read_bytes() == whole
    (cache / "record.json").write_text("{")
    with pytest.raises(InputError, match=r"record\.json is damaged .*: remove .*k400_800ep, and"):
        load_pretrained(NAME)


def test_an_archive_that_is_not_that_of_the_first_use_is_refused(server, cache, made):
    published.fetch(NAME)
    (cache / "backbone-1.index").unlink()
    server.files[PATH] = made[1]["second"]
    with pytest.raises(InputError) as error:
        load_pretrained(NAME)
    assert re.search(r"has SHA-256 \w{64}, expected \w{64}, which was recorded", str(error.value))
    assert "backbone-1.index" not in os.listdir(cache)
    (cache / "record.json").unlink()
    prefix = published.fetch(NAME)
    backbone = build_backbone("r3d_small")
    official.load_official_checkpoint(backbone, prefix)
    key = f"backbone/layer_with_weights-0/kernel{official._VALUE}"
    assert not np.array_equal(official.backbone_keys(backbone)[key], made[0][key])


@pytest.mark.parametrize("what", ["the archive", "the checkpoint", "the directory"])
def test_a_cache_that_cannot_be_written_to(server, cache, made, monkeypatch, what):
    cache.mkdir(parents=True)
    if what == "the archive":
        os.symlink("/dev/full", cache / "r3d_1x_k400_800ep.tar.gz.downloaded.partial")
    elif what == "the checkpoint":

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(download.shutil, "copyfileobj", fail)
    else:
        cache.rmdir()
        cache.parent.rmdir()
        cache.parent.write_text("a file")
    said = {
        "the directory": r"Not a directory\): set CVRL_TF_CACHE to a directory that you may write",
    }.get(what, r"No space left on device\): free some space \(400 MB\), or set CVRL_TF_CACHE to")
    with pytest.raises(InputError, match=rf"k400_800ep cannot be written \({said}"):
        load_pretrained(NAME)
    monkeypatch.undo()
    if what != "the directory":
        assert not {*FILES[:2], "record.json"} & set(os.listdir(cache))


def test_a_second_process_waits_for_the_first(server, cache, made, capfd):
    """Threads here, whose locks of an opened file exclude each other as those of processes do."""
    server.hold = threading.Event()
    prefixes, waiting = [], []
    threads = [
        threading.Thread(target=lambda: prefixes.append(published.fetch(NAME))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while not waiting:  # until one of them says so
        waiting = re.findall(r"is downloading k400_800ep; waiting for it", capfd.readouterr().err)
    server.hold.set()
    for thread in threads:
        thread.join()
    assert prefixes == [f"{cache}/backbone-1"] * 2 and len(server.requests) == 1


@pytest.mark.parametrize("point", ["downloading", "verifying", "recording"])
def test_a_process_that_is_killed_while_a_second_one_waits(server, cache, made, tmp_path, point):
    received = 2**20  # it is written in parts of this size
    server.pauses = [received + 1000] if point == "downloading" else []
    partial = cache / "r3d_1x_k400_800ep.tar.gz.downloaded.partial"

    def start(name, *arguments):
        log = tmp_path / name
        log.touch()
        arguments = (dict(os.environ), str(log), *arguments)
        process = FORKSERVER.Process(target=fetch, args=arguments)
        process.start()
        return process, log

    def wait(condition):
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    first, first_log = start("first", point)
    if point == "downloading":
        wait(lambda: partial.exists() and partial.stat().st_size == received)
    else:
        wait(lambda: f"{point}\n" in first_log.read_text())
    second, second_log = start("second")
    wait(lambda: "is downloading k400_800ep; waiting for it" in second_log.read_text())
    assert not (cache / "record.json").exists()
    first.kill()
    first.join()
    assert first.exitcode == -9
    server.resume.set()
    second.join(300)
    assert second.exitcode == 0, second_log.read_text()

    backbone = load_pretrained(NAME)
    _assert_weights(backbone, made[0])
    digest = json.loads(second_log.read_text().splitlines()[-1])
    assert digest == [float(weight.numpy().sum()) for weight in backbone.weights]
    assert sorted(os.listdir(cache)) == FILES
    wanted = [None, f"bytes={received}-"] if point == "downloading" else [None]
    assert server.requests == [(PATH, x) for x in wanted]  # what was received is used


def test_commands_take_its_name(server, cache, made, tmp_path, capsys):
    backbone, found = origin.load_official(NAME)
    _assert_weights(backbone, made[0])
    assert (found.checkpoint, found.description) == (NAME, "r3d_small, official k400_800ep")
    output = str(tmp_path / "run")
    import_checkpoint.COMMAND.call(f"--official={NAME}", f"--output={output}")
    assert f"{output}: r3d_small, 1 x filters, backbone (it has no" in capsys.readouterr().out
    _assert_weights(weights.load_backbone(output)[0], made[0])
    about = description.describe(*origin.load_run(output))
    assert about["provenance"]["published"]["name"] == NAME
    assert len(server.requests) == 1


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE, reason="CVRL_TF_REFERENCE is not set")
def test_the_features_of_a_downloaded_checkpoint_are_the_authors(tmp_path, monkeypatch):
    prefix = os.path.join(REFERENCE, "official_backbone", "r3d_1x_backbone-1")
    values = np.load(os.path.join(REFERENCE, "official_forward.npz"))
    monkeypatch.setenv("CVRL_TF_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve({PATH: authors_archive(prefix, "r3d_1x_k400_800ep")}) as server:
        monkeypatch.setenv("CVRL_TF_MIRROR", f"{server.url}/cvrl")
        backbone = load_pretrained(NAME)
    direct = build_backbone("r3d_50")
    official.load_official_checkpoint(direct, prefix)
    for one, two in zip(backbone.get_weights(), direct.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    # In training mode; those in inference mode are compared in test_official.
    clips = values["clip"].astype("float32") / 255
    error = np.abs(backbone(clips, training=True) - values["pooled_training"]).max()
    assert error < 1e-4 * np.abs(values["pooled_training"]).max()
