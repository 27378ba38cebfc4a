"""A local HTTP server of archives in the authors' layout, with the faults of networks."""

import contextlib
import gzip
import http.server
import re
import tarfile
import threading
from dataclasses import dataclass, field


@dataclass
class Archives:
    """What the server has, and how it behaves.

    Attributes:
      files: content by path, such as "/cvrl/x.tar.gz".
      ranges: whether it honours Range.
      cuts: bytes after which the next connections break; empty for none.
      pauses: bytes after which the next answers wait for `resume`; empty for none.
      statuses: statuses with which it answers the next requests instead.
      redirects: the new path by path.
      lengths: another Content-Length by path; None for none at all.
      hold: if set, each answer waits for it.
      requests: (path, Range) of each request.
    """

    files: dict[str, bytes]
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    pauses: list[int] = field(default_factory=list)
    resume: threading.Event = field(default_factory=threading.Event)
    statuses: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    lengths: dict[str, int | None] = field(default_factory=dict)
    hold: threading.Event | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serve(files):
    """Yields `Archives` that a server on this machine serves, with its `url`."""
    archives = Archives(dict(files))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            _answer(self, archives)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    archives.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield archives
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(request, archives):
    wanted = request.headers.get("Range")
    archives.requests.append((request.path, wanted))
    if archives.hold:
        archives.hold.wait(30)
    if archives.statuses:
        request.send_error(archives.statuses.pop(0))
        return
    if request.path in archives.redirects:
        request.send_response(302)
        request.send_header("Location", archives.redirects[request.path])
        request.end_headers()
        return
    content = archives.files.get(request.path)
    if content is None:
        request.send_error(404)
        return
    start, status = 0, 200
    if wanted and archives.ranges:
        start, status = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]), 206
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.end_headers()
            return
    request.send_response(status)
    if status == 206:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    length = archives.lengths.get(request.path, len(content) - start)
    if length is not None:
        request.send_header("Content-Length", str(length))
    request.end_headers()
    part = content[start:]
    if archives.cuts:
        part = part[: archives.cuts.pop(0)]
    pause = archives.pauses.pop(0) if archives.pauses else len(part)
    with contextlib.suppress(ConnectionError):  # the client was killed
        request.wfile.write(part[:pause])
        if pause < len(part):
            archives.resume.wait(60)
            request.wfile.write(part[pause:])


def tar_gz(members):
    """A .tar.gz of (name, content) pairs, or of (TarInfo, content) where a header is special."""
    blocks = []
    for header, content in members:
        if isinstance(header, str):
            name, header = header, tarfile.TarInfo(header)
            header.size = len(content)
            if name.endswith("/"):
                header.type = tarfile.DIRTYPE
        padding = bytes(-len(content) % tarfile.BLOCKSIZE)
        blocks += [header.tobuf(tarfile.GNU_FORMAT), content, padding]
    return gzip.compress(b"".join(blocks) + bytes(2 * tarfile.BLOCKSIZE), 1)


def authors_archive(prefix, name):
    """A .tar.gz as the authors publish them: a folder with the two files of a checkpoint.

    Args:
      prefix: path of the checkpoint's files, whose names in the archive are those of the authors.
      name: of the folder.
    """
    stem = f"{name}/{name}_backbone-1"
    members = [(f"{name}/", b"")]
    for ending in (".index", ".data-00000-of-00001"):
        with open(f"{prefix}{ending}", "rb") as file:
            members.append((f"{stem}{ending}", file.read()))
    return tar_gz(members)
