"""A bucket on a local S3 server, for benchmarks and tests of remote files."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

PROGRAM = pathlib.Path(__file__).parent / "others" / "s3_server.py"
NAME = "data"
_START_SECONDS = 120


class LocalBucket:
    """A bucket `s3://data` of a server on this machine.

    Args:
      port: of the server.

    Attributes:
      environment: the variables with which this package finds it.
    """

    def __init__(self, port: int):
        self._url = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "key",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "S3_ENDPOINT": self._url,
        }

    def control(self, **values: float) -> dict[str, int]:
        """Sets the delay and whether the server is down; returns the requests since the last call.

        See `others/s3_server.py`.
        """
        query = "&".join(f"{name}={value}" for name, value in values.items())
        with urllib.request.urlopen(f"{self._url}/_control?{query}") as answer:
            return json.load(answer)

    def put(self, key: str, content: bytes = b"") -> None:
        """Writes an object; the empty key makes the bucket."""
        url = f"{self._url}/{NAME}/{key}".rstrip("/")
        headers = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/x",
            "Content-Type": "application/octet-stream",
        }
        request = urllib.request.Request(url, content, headers, method="PUT")
        urllib.request.urlopen(request).close()

    def upload(self, directory: str, prefix: str) -> None:
        """Writes all files below a directory, hidden ones too."""
        for path in sorted(pathlib.Path(directory).rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(directory)}", path.read_bytes())


@contextlib.contextmanager
def serving() -> Iterator[LocalBucket]:
    """Starts a server with the empty bucket, and ends it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(port)],
        env={**os.environ, "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(2**30)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        bucket, end = LocalBucket(port), time.monotonic() + _START_SECONDS
        while True:
            try:
                bucket.control()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("moto's server does not start") from None
                time.sleep(0.1)
        bucket.put("")
        bucket.control()
        yield bucket
    finally:
        server.kill()
        server.wait()
