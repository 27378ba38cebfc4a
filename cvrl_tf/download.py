"""Resumable downloads into the user's cache, and safe unpacking of archives.

Environment variables:
  CVRL_TF_CACHE: directory for downloads; by default `cvrl_tf` below the user's cache directory.
  CVRL_TF_MIRROR: http or https address of a folder that holds the same files as the original one.
Proxies are those of the `requests` library: HTTP_PROXY, HTTPS_PROXY, NO_PROXY.
"""

import gzip
import os
import posixpath
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import requests
import urllib3

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress

CACHE, MIRROR = "CVRL_TF_CACHE", "CVRL_TF_MIRROR"
RETRY_WAITS = (1.0, 4.0)  # seconds before a further attempt that follows one without any data
TIMEOUT = 60.0  # seconds without an answer or without data
_CHUNK = 2**20
_MEGABYTE = 10**6
_GZIP_MAGIC = b"\x1f\x8b"
# What a connection raises: requests while it opens one, urllib3 while the body is read.
_NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


def cache_directory() -> str:
    """The directory for downloads; it need not exist.

    Raises:
      InputError: CVRL_TF_CACHE is a remote path.
    """
    given = os.environ.get(CACHE, "")
    if files.is_remote(given):
        raise InputError(f"{CACHE}={given} is remote: expected a directory of this machine.")
    parent = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.expanduser(given or os.path.join(parent, "cvrl_tf"))


def address(folder: str, name: str) -> str:
    """The address of a file: in `folder`, or in the folder that CVRL_TF_MIRROR names.

    Raises:
      InputError: CVRL_TF_MIRROR is not an http or https address.
    """
    mirror = os.environ.get(MIRROR, "")
    if mirror and not re.match("https?://[^/]", mirror):
        raise InputError(
            f"{MIRROR}={mirror}: expected the address of a folder, such as https://host/folder."
        )
    return f"{(mirror or folder).rstrip('/')}/{name}"


def fetch(url: str, path: str, max_bytes: int, what: str, by_hand: str) -> None:
    """Downloads a file; resumes what an earlier attempt has received, `path`.partial.

    A connection that breaks is opened again, for as long as each attempt receives something.

    Args:
      url: http or https address; redirections are followed.
      path: file to write; it appears when it is complete.
      max_bytes: size that the file cannot have: a larger one is refused.
      what: for the progress bar.
      by_hand: where a user without a network may put the file, for the message.

    Raises:
      InputError: the server cannot be reached or refuses, or the file is too large.
      OSError: the file cannot be written.
    """
    partial, failures = f"{path}.partial", 0
    while True:
        before = _size(partial)
        try:
            _receive(url, partial, max_bytes, what)
            break
        except _NETWORK_ERRORS as error:
            failures = 1 if _size(partial) > before else failures + 1
            if failures > len(RETRY_WAITS) or isinstance(error, ValueError):  # a malformed address
                raise InputError(
                    f"{url} cannot be downloaded ({_reason(error)}): check the connection (proxies"
                    " are set in HTTPS_PROXY) and run the same command, which resumes. Without a"
                    f" network, download the file elsewhere and put it at {by_hand}, or set"
                    f" {MIRROR} to a folder that holds it."
                ) from None
        time.sleep(RETRY_WAITS[failures - 1])
    os.replace(partial, path)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _reason(error: Exception) -> str:
    """An error of the network without the names of Python objects."""
    cause = error.args[0] if error.args else error
    text = str(getattr(cause, "reason", None) or cause)
    return re.sub(r"^<?HTTPS?Connection(Pool)?[(.].*?[)>]: ", "", text)


def _receive(url: str, partial: str, max_bytes: int, what: str) -> None:
    """Appends the rest of a file to `partial`; where the server sends all of it, starts over."""
    offset = _size(partial)
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        sent = re.fullmatch(
            r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "")
        )
        if response.status_code == 416 and sent and sent[2] == str(offset):
            return  # it is complete
        continued = response.status_code == 206 and sent and sent[1] == str(offset)
        if response.status_code in (206, 416) and offset and not continued:
            os.remove(partial)  # it is not the beginning of this file
            _receive(url, partial, max_bytes, what)
            return
        if response.status_code >= 500:  # the server may recover
            response.raise_for_status()
        if response.status_code not in (200, 206):
            raise InputError(
                f"{url} cannot be downloaded: the server answers {response.status_code}"
                f" ({response.reason}). Check whether the file has moved, or set {MIRROR} to a"
                " folder that holds it."
            )
        offset = offset if continued else 0
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdecimal() else None
        _check_size(url, total or 0, max_bytes)
        with open(partial, "ab" if continued else "wb") as file:
            for chunk in _with_progress(response, offset, total, what):
                _check_size(url, file.tell() + len(chunk), max_bytes)
                file.write(chunk)
            if total is not None and file.tell() < total:  # not every version reports it
                raise requests.ConnectionError(f"cut off after {file.tell():,} of {total:,} bytes")


def _check_size(url: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise InputError(
            f"{url} has {size:,} bytes or more, expected at most {max_bytes:,}: it is not the"
            " expected file. Check the address, or the mirror."
        )


def _with_progress(
    response: requests.Response, offset: int, total: int | None, what: str
) -> Iterator[bytes]:
    """Yields the body of a response as sent, and shows progress in megabytes."""
    received = offset
    megabytes = None if total is None else total // _MEGABYTE
    with Progress(f"downloading {what}", megabytes, "megabyte", offset // _MEGABYTE) as progress:
        # Not decoded: some servers call the compression of an archive one of the transfer.
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            yield chunk
            before, received = received, received + len(chunk)
            progress.update(received // _MEGABYTE - before // _MEGABYTE)


def unpack(archive: str, targets: Mapping[str, str], max_bytes: int) -> None:
    """Takes single files out of an archive; no name in it determines where anything is written.

    Args:
      archive: .tar or .tar.gz file.
      targets: files to write, by what the names of their members end with. The members must have
        one common name before that: {".index": "a", ".data-00000-of-00001": "b"}.
      max_bytes: size of the unpacked archive that is not exceeded.

    Raises:
      InputError: it is damaged or too large, holds anything but files and folders below the one
        where it is unpacked, or not exactly these members.
      OSError: a file cannot be written.
    """
    with (
        open(archive, "rb") as compressed,
        tempfile.TemporaryFile(dir=os.path.dirname(archive)) as plain,
    ):
        try:
            _decompress(compressed, plain, max_bytes)
            with tarfile.open(fileobj=plain, mode="r:") as tar:
                for ending, member in _chosen(tar.getmembers(), tuple(targets)).items():
                    source = tar.extractfile(member)
                    assert source is not None  # `member` is a file
                    with source, open(targets[ending], "wb") as target:
                        shutil.copyfileobj(source, target, _CHUNK)
        except (_Unusable, tarfile.TarError) as error:
            raise InputError(
                f"{archive} cannot be used ({error}): expected a .tar.gz archive with one folder,"
                f" in which there is a file for each of {', '.join(targets)}."
            ) from None


class _Unusable(Exception):
    """An archive is not what was expected."""


def _decompress(compressed: BinaryIO, plain: BinaryIO, max_bytes: int) -> None:
    """Writes the content of a .gz file, whose checksum must be right; of others, the file."""
    zipped = compressed.read(2) == _GZIP_MAGIC
    compressed.seek(0)
    source = gzip.GzipFile(fileobj=compressed) if zipped else compressed
    while True:
        try:
            chunk = source.read(_CHUNK)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise _Unusable(f"damaged: {error}") from None
        if not chunk:
            break
        if plain.tell() + len(chunk) > max_bytes:
            raise _Unusable(f"unpacked it has more than {max_bytes:,} bytes")
        plain.write(chunk)
    plain.seek(0)


def _chosen(members: list[tarfile.TarInfo], endings: tuple[str, ...]) -> dict[str, tarfile.TarInfo]:
    """The member with each ending, of an archive without anything dangerous."""
    found: dict[str, tarfile.TarInfo] = {}
    prefixes = set()
    for member in members:
        name = posixpath.normpath(member.name)
        if name.startswith(("/", "../")) or name == "..":
            raise _Unusable(f"the name {member.name!r} leads out of the folder")
        if not (member.isdir() or member.isreg()) or member.issparse():
            raise _Unusable(f"{member.name!r} is neither a file nor a folder")
        for ending in endings:
            # Archives of macOS have a file ._NAME for each file NAME.
            hidden = posixpath.basename(name).startswith("._")
            if member.isreg() and name.endswith(ending) and not hidden:
                if ending in found:
                    raise _Unusable(f"it holds {found[ending].name!r} and {member.name!r}")
                found[ending] = member
                prefixes.add(name.removesuffix(ending))
    missing = [ending for ending in endings if ending not in found]
    if missing:
        raise _Unusable(f"it has no file for {', '.join(missing)}")
    if len(prefixes) > 1:
        raise _Unusable(f"it holds parts of several checkpoints, {', '.join(sorted(prefixes))}")
    return found
