import gzip
import os
import tarfile

import pytest
from archive_server import serve, tar_gz

from cvrl_tf import download
from cvrl_tf.errors import InputError

CONTENT = bytes(range(256)) * 20_000  # 5.12 MB
PATH = "/cvrl/x.tar.gz"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "RETRY_WAITS", (0.0, 0.0))
    with serve({PATH: CONTENT}) as archives:
        yield archives


@pytest.fixture
def target(tmp_path):
    return tmp_path / "x.tar.gz"


def _fetch(server, target, path=PATH, max_bytes=10**7):
    download.fetch(server.url + path, str(target), max_bytes, "x", str(target))


def _ranges(server):
    return [wanted for _, wanted in server.requests]


def test_a_file_is_downloaded_with_progress(server, target, capsys):
    _fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["x.tar.gz"]
    assert capsys.readouterr().err.startswith("downloading x: 5/5 megabytes after ")


@pytest.mark.parametrize("ranges", [True, False], ids=["Range honoured", "Range ignored"])
def test_a_cut_connection_is_resumed(server, target, ranges):
    server.ranges, server.cuts = ranges, [2_000_000]
    _fetch(server, target)
    assert target.read_bytes() == CONTENT
    (first, second) = _ranges(server)
    received = int(second.removeprefix("bytes=").removesuffix("-"))
    assert first is None and 1_000_000 <= received <= 2_000_000


@pytest.mark.parametrize("ranges", [True, False], ids=["Range honoured", "Range ignored"])
def test_a_killed_download_is_resumed(server, target, ranges):
    server.ranges = ranges
    (target.parent / "x.tar.gz.partial").write_bytes(CONTENT[:3_000_000])
    _fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert _ranges(server) == ["bytes=3000000-"]


def test_a_download_that_was_killed_at_its_end_is_complete(server, target):
    (target.parent / "x.tar.gz.partial").write_bytes(CONTENT)
    _fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_the_beginning_of_a_larger_file_is_discarded(server, target):
    (target.parent / "x.tar.gz.partial").write_bytes(CONTENT + b"more")
    _fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert _ranges(server) == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_connection_that_breaks_again_and_again_ends_with_what_was_received(server, target):
    server.cuts = [2_000_000, 0, 0, 0]
    with pytest.raises(InputError, match=r"x\.tar\.gz cannot be downloaded \(.*\): check the conn"):
        _fetch(server, target)
    assert len(server.requests) == 3 and not target.exists()
    received = (target.parent / "x.tar.gz.partial").read_bytes()
    assert CONTENT.startswith(received) and len(received) >= 1_000_000


def test_redirections_are_followed(server, target):
    server.redirects = {"/moved": PATH}
    _fetch(server, target, "/moved")
    assert target.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, target):
    server.statuses = [503, 500]
    _fetch(server, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_named(server, target, status):
    server.statuses = [status] * 2
    with pytest.raises(InputError) as error:
        _fetch(server, target)
    assert str(error.value) == (
        f"{server.url}{PATH} cannot be downloaded: the server answers {status}"
        f" ({ {403: 'Forbidden', 404: 'Not Found'}[status] }). Check whether the file has moved, or"
        " set CVRL_TF_MIRROR to a folder that holds it."
    )
    assert len(server.requests) == 1 and os.listdir(target.parent) == []


def test_a_machine_without_network(server, target):
    with pytest.raises(InputError) as error:
        download.fetch("http://host.invalid/x.tar.gz", str(target), 10**7, "x", str(target))
    message = str(error.value)
    assert message.startswith(
        "http://host.invalid/x.tar.gz cannot be downloaded (Failed to resolve"
    )
    assert f"download the file elsewhere and put it at {target}, or set CVRL_TF_MIRROR" in message
    assert "object at 0x" not in message and "Max retries" not in message
    with pytest.raises(InputError, match=r"cannot be downloaded \(.*refused"):
        download.fetch("http://127.0.0.1:9/x", str(target), 10**7, "x", str(target))
    with pytest.raises(InputError, match=r"http:///x cannot be downloaded \(.*No host supplied"):
        download.fetch("http:///x", str(target), 10**7, "x", str(target))


@pytest.mark.parametrize("said", [10**10, None], ids=["declared", "sent"])
def test_a_file_that_is_too_large_is_refused(server, target, said):
    server.lengths = {PATH: said}
    size = r"10,000,000,000" if said else r"\d,\d{3},\d{3}"
    with pytest.raises(InputError, match=rf"has {size} bytes or more, expected at most 3,000,000"):
        _fetch(server, target, max_bytes=3_000_000)
    assert not target.exists()
    partial = target.parent / "x.tar.gz.partial"
    assert not partial.exists() or partial.stat().st_size <= 3_000_000


def test_a_length_that_is_not_known(server, target, capsys):
    server.lengths = {PATH: None}
    _fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert capsys.readouterr().err.startswith("downloading x: 5 megabytes after ")


def test_a_full_disk_is_reported_by_the_system(server, target):
    os.symlink("/dev/full", f"{target}.partial")
    with pytest.raises(OSError, match="No space left on device"):
        _fetch(server, target)
    assert not target.exists()


def test_the_cache_directory(monkeypatch):
    monkeypatch.delenv("CVRL_TF_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/one")
    assert download.cache_directory() == "/home/one/.cache/cvrl_tf"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert download.cache_directory() == "/var/caches/cvrl_tf"
    monkeypatch.setenv("CVRL_TF_CACHE", "~/weights")
    assert download.cache_directory() == "/home/one/weights"
    monkeypatch.setenv("CVRL_TF_CACHE", "gs://bucket/weights")
    with pytest.raises(InputError, match="CVRL_TF_CACHE=gs://bucket/weights is remote"):
        download.cache_directory()


def test_the_mirror(monkeypatch):
    monkeypatch.delenv("CVRL_TF_MIRROR", raising=False)
    assert download.address("https://one/folder", "x.tar.gz") == "https://one/folder/x.tar.gz"
    monkeypatch.setenv("CVRL_TF_MIRROR", "http://two/folder/")
    assert download.address("https://one/folder", "x.tar.gz") == "http://two/folder/x.tar.gz"
    monkeypatch.setenv("CVRL_TF_MIRROR", "two/folder")
    with pytest.raises(InputError, match="CVRL_TF_MIRROR=two/folder: expected the address"):
        download.address("https://one/folder", "x.tar.gz")


GOOD = [("x/", b""), ("x/b-1.index", b"index"), ("x/b-1.data", b"data" * 1000)]


def _header(name, kind=tarfile.REGTYPE, **values):
    header = tarfile.TarInfo(name)
    header.type = kind
    for attribute, value in values.items():
        setattr(header, attribute, value)
    return header


def _unpack(tmp_path, content, max_bytes=10**6):
    place = tmp_path / "place"
    place.mkdir(exist_ok=True)
    archive = place / "x.tar.gz"
    archive.write_bytes(content)
    targets = {".index": str(tmp_path / "out.index"), ".data": str(tmp_path / "out.data")}
    download.unpack(str(archive), targets, max_bytes)
    return [(tmp_path / name).read_bytes() for name in ("out.index", "out.data")]


@pytest.mark.parametrize(
    "further",
    [
        [],
        [("x/checkpoint", b"text"), ("x/._b-1.index", b"of macOS"), ("./y/readme", b"")],
    ],
)
def test_the_expected_files_are_taken_out_of_an_archive(tmp_path, further):
    assert _unpack(tmp_path, tar_gz(GOOD + further)) == [b"index", b"data" * 1000]
    assert sorted(os.listdir(tmp_path)) == ["out.data", "out.index", "place"]
    assert os.listdir(tmp_path / "place") == ["x.tar.gz"]


def test_an_archive_that_the_server_has_decompressed(tmp_path):
    assert _unpack(tmp_path, gzip.decompress(tar_gz(GOOD))) == [b"index", b"data" * 1000]


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("../b-1.index", b"x"), *GOOD], r"the name '\.\./b-1\.index' leads out of the folder"),
        ([*GOOD, ("x/../../b-1.index", b"x")], r"the name 'x/\.\./\.\./b-1\.index' leads out"),
        ([*GOOD, ("/etc/b-1.index", b"x")], r"the name '/etc/b-1\.index' leads out"),
        ([*GOOD, (_header("..", tarfile.DIRTYPE), b"")], r"the name '\.\.' leads out"),
        (
            [(_header("x/b-1.index", tarfile.SYMTYPE, linkname="/etc/passwd"), b""), GOOD[2]],
            r"'x/b-1\.index' is neither a file nor a folder",
        ),
        ([*GOOD, (_header("x/l", tarfile.LNKTYPE, linkname="x/b-1.data"), b"")], r"'x/l' is neith"),
        ([*GOOD, (_header("x/f", tarfile.FIFOTYPE), b"")], r"'x/f' is neither"),
        ([*GOOD, (_header("x/d", tarfile.CHRTYPE), b"")], r"'x/d' is neither"),
        ([(_header("x/b-1.index", size=10**10), b"index"), GOOD[2]], "unexpected end of data"),
        ([GOOD[2]], r"it has no file for \.index"),
        ([], r"it has no file for \.index, \.data"),
        ([*GOOD, ("y/c-1.index", b"x")], r"it holds 'x/b-1\.index' and 'y/c-1\.index'"),
        ([GOOD[1], ("x/c-1.data", b"x")], r"parts of several checkpoints, x/b-1, x/c-1"),
        ([*GOOD, ("x/zeros", bytes(2 * 10**6))], r"unpacked it has more than 1,000,000 bytes"),
    ],
)
def test_dangerous_and_foreign_archives(tmp_path, members, problem):
    content = tar_gz(members) if members else gzip.compress(bytes(10240))
    with pytest.raises(InputError, match=rf"x\.tar\.gz cannot be used \(.*{problem}.*: expected a"):
        _unpack(tmp_path, content)
    assert sorted(os.listdir(tmp_path)) == ["place"]
    assert os.listdir(tmp_path / "place") == ["x.tar.gz"]


def test_a_sparse_file_that_claims_10_gb_is_refused(tmp_path):
    """In GNU's format a file of 10 GB may consist of one block and a hole."""
    data = bytes(512)
    header = bytearray(_header("x/b-1.index", size=len(data)).tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"00000000000\x0000000001000\x00"  # one block at offset 0
    header[483:495] = b"112402762000"  # 10**10 in octal digits
    header[148:156] = b"%06o\x00 " % (256 + sum(header[:148]) + sum(header[156:]))
    with pytest.raises(InputError, match=r"'x/b-1\.index' is neither a file nor a folder"):
        _unpack(tmp_path, gzip.compress(bytes(header) + data + bytes(1024)))


@pytest.mark.parametrize("kind", ["cut off", "changed", "a page", "empty"])
def test_damaged_archives(tmp_path, kind):
    whole = bytearray(tar_gz([GOOD[1], ("x/b-1.data", os.urandom(50_000))]))
    if kind == "changed":
        whole[25_000] ^= 1
    content = {"cut off": bytes(whole[:40_000]), "a page": b"<html>" * 200, "empty": b""}
    with pytest.raises(InputError, match=r"x\.tar\.gz cannot be used \(.*\): expected a \.tar\.gz"):
        _unpack(tmp_path, content.get(kind, bytes(whole)))
    assert os.listdir(tmp_path) == ["place"]
