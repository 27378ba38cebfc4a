"""A local S3 server that counts and delays requests: moto in a process of its own.

  python tools/benchmark/others/s3_server.py PORT

Its memory holds the objects. A range of an object is sent from there directly, because moto copies
the whole object for each request, and a benchmark would measure that. A GET of
/_control?delay=SECONDS&down=0|1 sets how long each request waits, and whether each is refused with
status 503 (slow down); it answers with the number of requests since the last such call, as JSON:
all, those refused, and the most at one time.
"""

import json
import re
import sys
import threading
import time
import urllib.parse

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple
from werkzeug.test import Client

CONTROL = "/_control"


class CountedServer:
    """A WSGI application around moto's."""

    def __init__(self):
        self._application = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._delay, self._down, self._now = 0.0, False, 0
        self._counts = {"all": 0, "refused": 0, "most": 0}
        self._objects: dict[str, bytes] = {}  # of which ranges were read, by path

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == CONTROL:
            return self._control(environ, start_response)
        with self._lock:
            self._now += 1
            self._counts["all"] += 1
            self._counts["refused"] += self._down
            self._counts["most"] = max(self._counts["most"], self._now)
        try:
            time.sleep(self._delay)
            if self._down:
                start_response("503 Slow Down", [("Content-Length", "0")])
                return [b""]
            return self._answer(environ, start_response)
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, environ, start_response):
        path, wanted = environ["PATH_INFO"], environ.get("HTTP_RANGE", "")
        bounds = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE"):
            self._objects.pop(path, None)
        elif bounds and environ["REQUEST_METHOD"] == "GET" and not environ["QUERY_STRING"]:
            content = self._objects.get(path) or self._whole(path, environ)
            first, last = int(bounds[1]), min(int(bounds[2]), len(content) - 1)
            if first <= last:
                headers = [
                    ("Content-Length", str(last + 1 - first)),
                    ("Content-Range", f"bytes {first}-{last}/{len(content)}"),
                ]
                start_response("206 Partial Content", headers)
                return [content[first : last + 1]]
        return list(self._application(environ, start_response))

    def _whole(self, path, environ):
        """The object of a path, which is kept; nothing of one that is not there."""
        headers = {"Authorization": environ.get("HTTP_AUTHORIZATION", "")}
        found = Client(self._application).get(path, headers=headers)
        if found.status_code != 200:
            return b""
        return self._objects.setdefault(path, found.data)

    def _control(self, environ, start_response):
        chosen = urllib.parse.parse_qs(environ["QUERY_STRING"])
        with self._lock:
            counts, self._counts = self._counts, {"all": 0, "refused": 0, "most": 0}
            self._delay = float(chosen.get("delay", [self._delay])[0])
            self._down = bool(int(chosen.get("down", [self._down])[0]))
        content = json.dumps(counts).encode()
        start_response("200 OK", [("Content-Length", str(len(content)))])
        return [content]


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as those of a real server

    def log_request(self, *unused):
        pass


if __name__ == "__main__":
    run_simple(
        "127.0.0.1", int(sys.argv[1]), CountedServer(), threaded=True, request_handler=_Handler
    )
