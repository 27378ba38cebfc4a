"""Reads files of buckets: few requests, and each is repeated for a while when it fails.

Objects of s3:// are read with boto3, one request for a read of any size. TensorFlow's file system
for S3 (tensorflow-io) sends four requests for half a megabyte, and its TFRecord reader asks for the
next 127 MB to read one record. Other file systems are TensorFlow's.
"""

import errno
import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from cvrl_tf import progress
from cvrl_tf.errors import InputError, reason

# Seconds before a failed request is repeated: half a minute in all.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
_S3 = "s3://"
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_CONNECTIONS = 256
_TEMPORARY = (
    ConnectionError,
    TimeoutError,
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)

T = TypeVar("T")


class RemoteFile:
    """A file of a remote file system, to be read at many places.

    Reads raise OSError or tf.errors.OpError when they fail for longer than `PAUSES` allow.

    Args:
      path: with a scheme; nothing is requested before the first read.
    """

    def __init__(self, path: str):
        self.path = path
        self._position = 0
        self._read = functools.partial(_read_s3 if path.startswith(_S3) else _read_other, path)

    def __enter__(self) -> "RemoteFile":
        return self

    def __exit__(self, *unused: object) -> None:
        pass

    def seek(self, position: int) -> None:
        """Sets where the next read begins."""
        self._position = position

    def read(self, size: int | None = None) -> bytes:
        """Reads `size` bytes, fewer at the end of the file; None for all that follow."""
        data = persistently(self.path, lambda: self._read(self._position, size))
        self._position += len(data)
        return data


def sizes(paths: Sequence[str]) -> dict[str, int | None]:
    """The sizes of files in bytes, None where there is no such file, by path.

    Args:
      paths: of one directory, all s3://; their names are listed, a thousand with each request.
    """
    bucket, prefix = _place(os.path.commonprefix(paths))
    listed = {
        f"{_S3}{bucket}/{item['Key']}": item["Size"]
        for page in _pages(paths[0], Bucket=bucket, Prefix=prefix)
        for item in page.get("Contents", [])
    }
    return {path: listed.get(path) for path in paths}


def names_in(directory: str) -> set[str]:
    """The names in a directory of s3://; none when there is no such directory."""
    bucket, prefix = _place(directory.rstrip("/") + "/")
    names: set[str] = set()
    for page in _pages(directory, Bucket=bucket, Prefix=prefix, Delimiter="/"):
        keys = [item["Key"] for item in page.get("Contents", [])]
        keys += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        names.update(key.removeprefix(prefix).rstrip("/") for key in keys)
    return names - {""}


def _pages(path: str, **wanted: str) -> list[dict[str, Any]]:
    """The pages of a list of objects, a thousand on each."""
    paginator = _client().get_paginator("list_objects_v2")
    return persistently(path, lambda: _translated(path, lambda: list(paginator.paginate(**wanted))))


def persistently(path: str, request: Callable[[], T]) -> T:
    """Calls `request`, also again after each of `PAUSES` while it fails for a passing reason.

    Args:
      path: what is requested, for the note on stderr.
      request: raises one of OSError or tf.errors.OpError.
    """
    for pause in PAUSES:
        try:
            return request()
        except _TEMPORARY as error:
            _note(path, error)
            time.sleep(pause)
    return request()


_noting = threading.Lock()
_next_note = 0.0


def _note(path: str, error: Exception) -> None:
    """Notes a failed request, one of all that fail in half a minute."""
    global _next_note
    with _noting:
        if time.monotonic() < _next_note:
            return
        _next_note = time.monotonic() + sum(PAUSES)
    said = getattr(error, "strerror", None) or reason(error)
    progress.note(f"note: {path} cannot be read now ({said}): trying again for half a minute")


@functools.cache
def check_bucket(path: str) -> None:
    """Checks, once in a process, that the bucket of a path is there.

    TensorFlow's file system takes minutes to find out that it cannot be reached, and then finds no
    files in it.

    Args:
      path: s3://BUCKET.

    Raises:
      InputError: there is no such bucket, or it cannot be reached for longer than `PAUSES` allow.
    """

    def request() -> None:
        _translated(path, lambda: _client().head_bucket(Bucket=path.removeprefix(_S3)))

    try:
        persistently(path, request)
    except PermissionError:  # which some of its files may have
        return
    except OSError as error:
        found = "there is no such bucket" if error.errno == errno.ENOENT else error.strerror
        raise InputError(
            f"{path} cannot be read ({found}): check the name of the bucket, the network, and the"
            " variables S3_ENDPOINT and AWS_REGION of the environment."
        ) from None


def _read_other(path: str, position: int, size: int | None) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        if position:
            file.seek(position)
        return file.read() if size is None else file.read(size)


def _read_s3(path: str, position: int, size: int | None) -> bytes:
    bucket, key = _place(path)
    wanted = {"Bucket": bucket, "Key": key}
    if size is not None:
        wanted["Range"] = f"bytes={position}-{position + size - 1}"
    elif position:
        wanted["Range"] = f"bytes={position}-"
    return _translated(path, lambda: _client().get_object(**wanted)["Body"].read())


def _place(path: str) -> tuple[str, str]:
    """The bucket and the key of a path."""
    bucket, _, key = path.removeprefix(_S3).partition("/")
    return bucket, key


@functools.cache
def _client() -> Any:
    """A client of the server that tensorflow-io's variables of the environment name."""
    import boto3
    import botocore.config

    endpoint = os.environ.get("S3_ENDPOINT")
    if endpoint and "://" not in endpoint:
        plain = os.environ.get("S3_USE_HTTPS") in ("0", "false")
        endpoint = f"http{'' if plain else 's'}://{endpoint}"
    config = botocore.config.Config(
        max_pool_connections=_CONNECTIONS,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1},  # `persistently` repeats
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("S3_REGION")
    return boto3.session.Session().client(
        "s3", endpoint_url=endpoint, region_name=region, config=config
    )


def _translated(path: str, request: Callable[[], T]) -> T:
    """Calls a request of boto3, and raises its errors as those of an operating system."""
    import botocore.exceptions

    try:
        return request()
    except botocore.exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 416:  # the range begins after the end
            return b""  # type: ignore[return-value]  # only reads have ranges
        known = {404: errno.ENOENT, 401: errno.EACCES, 403: errno.EACCES}.get(status)
        if known:
            raise OSError(known, os.strerror(known), path) from None
        raise ConnectionError(errno.EIO, f"HTTP status {status}", path) from None
    except (
        botocore.exceptions.NoCredentialsError,
        botocore.exceptions.PartialCredentialsError,
    ) as error:
        raise InputError(
            f"{path} cannot be read ({error}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
            " AWS_PROFILE."
        ) from None
    except botocore.exceptions.BotoCoreError as error:
        raise ConnectionError(errno.EIO, str(error), path) from None
