"""Files, local and remote: atomic writes, copies to work on, file systems loaded when needed."""

import concurrent.futures
import contextlib
import errno
import fcntl
import fnmatch
import glob
import json
import os
import re
import socket
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import tensorflow as tf

from cvrl_tf import progress, remote
from cvrl_tf.errors import InputError, reason

_COPY_BYTES = 8 * 2**20
_REQUESTS_AT_ONCE = 16
_PATTERN_CHARACTERS = re.compile(r"[][*?\\]")
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{32}$")


def write_atomically(path: str, content: bytes | str) -> None:
    """Writes `content` to `path` through a temporary file in the same directory and a rename.

    Whatever stood at `path` stays whole until the new content is complete.
    """
    temporary = f"{path}.tmp-{uuid.uuid4().hex}"
    try:
        with tf.io.gfile.GFile(temporary, "wb" if isinstance(content, bytes) else "w") as file:
            file.write(content)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)
        raise


def is_temporary(name: str) -> bool:
    """Whether a name is of what `write_atomically` leaves when its process is killed."""
    return bool(_TEMPORARY.search(name))


def remove_temporaries(directory: str) -> None:
    """Removes such files from a directory in which no other process writes."""
    for name in filter(is_temporary, names_in(directory)):
        tf.io.gfile.remove(os.path.join(directory, name))


@contextlib.contextmanager
def locked(path: str, what: str, wait: bool = False) -> Iterator[IO[str] | None]:
    """Holds a lock file, which names its holder to other processes.

    Remote files, and those of network disks without locks, lock nothing.

    Args:
      path: of the file; its directory exists.
      what: what the holder does, for the message: "training in --model_dir=runs/first".
      wait: whether to wait, with a note, while another process holds it.

    Yields:
      The open file, None for a remote one. A process that inherits it holds the lock too, until it
      ends.

    Raises:
      InputError: another process holds it and `wait` is false, or it cannot be written.
    """
    if is_remote(path):
        yield None
        return
    try:
        opened = open(path, "a+")  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): give yourself permission to write to"
            " its directory, or name another."
        ) from None
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = f"({file.read().strip() or 'just started'}) is {what}"
            if not wait:
                raise InputError(
                    f"Another process {holder}: wait for it, or choose another directory."
                ) from None
            progress.note(f"note: another process {holder}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a network disk without locks
            pass
        file.truncate(0)
        with contextlib.suppress(OSError):  # a full disk, which the next write reports
            os.write(file.fileno(), f"{os.getpid()} on {socket.gethostname()}\n".encode())
        yield file


def json_text(values: Mapping[str, Any]) -> str:
    """The text of a JSON file."""
    return json.dumps(values, indent=2) + "\n"


def write_json(path: str, values: Mapping[str, Any]) -> None:
    """Writes `values` to `path` as indented JSON, atomically."""
    write_atomically(path, json_text(values))


def write_if_changed(path: str, content: str) -> None:
    """Writes the text `content` to `path` atomically, unless that is there already."""
    if not tf.io.gfile.exists(path) or read_text(path) != content:
        write_atomically(path, content)


def read_text(path: str) -> str:
    """Reads the text file at `path`."""
    with tf.io.gfile.GFile(path, "r") as file:
        return file.read()


def read_bytes(path: str) -> bytes:
    """Reads the file at `path`."""
    with remote.RemoteFile(path) if is_remote(path) else open(path, "rb") as file:
        return file.read()


def size(path: str) -> int:
    """The size of a file in bytes; raises OSError or tf.errors.OpError where there is none."""
    found = sizes([path])[path]
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return found


def sizes(paths: Sequence[str]) -> dict[str, int | None]:
    """The sizes of files of one directory in bytes, None where there is no such file, by path."""
    if paths and paths[0].startswith("s3://"):
        return remote.sizes(paths)

    def size_of(path: str) -> int | None:
        try:
            return remote.persistently(path, lambda: tf.io.gfile.stat(path).length)
        except tf.errors.NotFoundError:
            return None

    with concurrent.futures.ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        return dict(zip(paths, pool.map(size_of, paths), strict=True))


def read_json(path: str) -> dict[str, Any]:
    """Reads the JSON object at `path`."""
    return json.loads(read_text(path))


def names_in(directory: str) -> list[str]:
    """The sorted names in a directory; none when there is no such directory.

    Object stores have no empty directories: one that was made is there with its first file.
    """
    if directory.startswith("s3://"):
        return sorted(remote.names_in(directory))
    try:
        return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(directory))
    except tf.errors.NotFoundError:
        return []


def is_remote(path: str) -> bool:
    """Whether `path` has a scheme such as gs:// or s3://."""
    return "://" in path


def load_file_systems(*paths: str) -> None:
    """Loads the file systems that these paths or glob patterns need, if TensorFlow lacks them.

    tensorflow-io, which has s3://, az://, hdfs:// and http://, is imported only here, and only for
    such a path. It aborts the interpreter at its end, which `commandline.run` prevents.

    Raises:
      InputError: tensorflow-io or boto3, with which s3:// is read, is not installed, or does not
        load with this TensorFlow; or a bucket of s3:// cannot be reached.
    """
    parts = [part.strip() for path in paths for part in path.split(",")]
    schemes = {part.partition("://")[0] for part in parts if is_remote(part)}
    if not schemes <= set(tf.io.gfile.get_registered_schemes()):
        _load_tensorflow_io(schemes)
    for part in parts:
        if part.startswith("s3://"):
            remote.check_bucket("/".join(part.split("/")[:3]))


def _load_tensorflow_io(schemes: set[str]) -> None:
    try:
        if "s3" in schemes:
            import boto3  # noqa: F401
        with warnings.catch_warnings(record=True) as caught:  # what it says when it does not load
            import tensorflow_io  # noqa: F401
        reasons = [str(warning.message) for warning in caught]
    except Exception as error:  # an ImportError, or whatever its native parts raise
        reasons = [str(error)]
    missing = sorted(schemes - set(tf.io.gfile.get_registered_schemes()))
    if missing:
        reason = reasons[0].strip().splitlines()[0] if reasons else "it does not know them"
        needed = "tensorflow-io and boto3" if missing[0] == "s3" else "tensorflow-io"
        raise InputError(
            f"Found a path with {missing[0]}://, which needs {needed} ({reason}): expected"
            f" TensorFlow 2.17 or older (found {tf.__version__}) and pip install -e '.[remote]' in"
            " the clone of this package."
        )


def split_names(names: str) -> list[str]:
    """The paths and glob patterns in `names`, which has commas between them.

    A path that exists is one name, whatever commas it has.
    """
    if tf.io.gfile.exists(names):
        return [names]
    return [part.strip() for part in names.split(",")]


def literal_part(pattern: str) -> str:
    """The beginning of a local glob pattern, up to a slash or all of it, that exists as a path.

    Brackets in it are part of a name, such as `My clip [dQw4w9WgXcQ].mp4`, not of a pattern.
    """
    parts = pattern.split("/")
    for count in range(len(parts), 0, -1):
        beginning = "/".join(parts[:count])
        if os.path.lexists(beginning or "/"):
            return beginning
    return ""


def matching(pattern: str) -> list[str]:
    """The sorted paths that match a glob pattern; a path that exists is taken literally.

    Hidden names match only where the pattern has the dot. In local patterns `**` is any number of
    folders; a folder that a link leads back to is not entered again.

    Args:
      pattern: local or remote.
    """
    if is_remote(pattern):
        return [pattern] if tf.io.gfile.exists(pattern) else sorted(_matching_remote(pattern))
    literal = literal_part(pattern)
    return sorted(_matching_local(glob.escape(literal) + pattern[len(literal) :]))


def _matching_remote(pattern: str) -> set[str]:
    """As `_matching_local`, without `**`.

    TensorFlow's own search sends up to four requests to a bucket for each name that matches.
    """
    scheme, _, path = pattern.partition("://")
    before, *parts = re.split(r"/(?=[^/]*[][*?\\])", path, maxsplit=1)
    if not parts:
        return set()
    part, slash, after = parts[0].partition("/")
    directory = f"{scheme}://{before}"
    names = fnmatch.filter(names_in(directory), part)
    found = [f"{directory}/{name}" for name in names if part[0] == "." or name[0] != "."]
    if not slash:
        return set(found)
    if not looks_like_pattern(after):
        return {path for path in (f"{one}/{after}" for one in found) if tf.io.gfile.exists(path)}
    return {path for one in found for path in _matching_remote(f"{one}/{after}")}


def _matching_local(pattern: str) -> set[str]:
    if re.search(r"(^|/)\*\*$", pattern):
        pattern += "/*"
    deep = re.search(r"(?:^|(?<=/))\*\*/", pattern)
    if not deep:
        return set(glob.glob(pattern))
    before, after = pattern[: deep.start()], pattern[deep.end() :]
    return {
        path
        for start in (glob.glob(before) if before else [""])
        for folder in _folders(start, ())
        for path in _matching_local(glob.escape(folder) + after)
    }


def _folders(directory: str, above: tuple[str, ...]) -> Iterator[str]:
    """Yields a directory and those below it, each with a slash at its end, without hidden ones."""
    real = os.path.realpath(directory)
    if real in above:  # a link that leads back
        return
    yield directory
    with reading(directory or "."), os.scandir(directory or ".") as entries:
        names = [entry.name for entry in entries if is_directory(entry)]
    for name in names:
        if not name.startswith("."):
            yield from _folders(f"{directory}{name}/", (*above, real))


def is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether a name is of a directory, or links to one; not of a link to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns errors of the operating system into one sentence.

    Args:
      path: what is read.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        said = getattr(error, "strerror", None) or reason(error).rpartition("; ")[2]
        raise InputError(
            f"{path} cannot be read ({said}): give yourself permission, or move it elsewhere."
        ) from None


@contextlib.contextmanager
def local_copy(path: str, on_progress: Callable[[], None] = lambda: None) -> Iterator[str | None]:
    """A local file with the content of `path`: itself, or a temporary copy of a remote file.

    Args:
      path: local or remote.
      on_progress: called after each part of a remote file that is copied.

    Yields:
      The local path; None when there is no such remote file.
    """
    if not is_remote(path):
        yield path
        return
    load_file_systems(path)
    with tempfile.TemporaryDirectory(prefix="cvrl_") as directory:
        # FFmpeg recognises some formats by the extension.
        copy = os.path.join(directory, "video" + os.path.splitext(path)[1])
        found = True
        try:
            with tf.io.gfile.GFile(path, "rb") as source, open(copy, "wb") as target:
                while part := source.read(_COPY_BYTES):
                    target.write(part)
                    on_progress()
        except tf.errors.NotFoundError:
            found = False
        yield copy if found else None


def check_writable(path: str, given: str) -> None:
    """Checks before any long work that a file can be written.

    Args:
      path: of the file, local or remote; of a remote one nothing is checked.
      given: what the user gave, for the message: "--html=page.html".

    Raises:
      InputError: it is a directory, or its directory does not exist or cannot be written to.
    """
    if is_remote(path):
        return
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.path.basename(path):
        raise InputError(f"{given} is a directory: expected the name of a file to write.")
    if not os.path.isdir(directory):
        raise InputError(f"{given} cannot be written: there is no directory {directory}; make it.")
    effective = os.access in os.supports_effective_ids
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=effective):
        raise InputError(
            f"{given} cannot be written: there is no permission to write to {directory}; name"
            " another directory."
        )


def looks_like_pattern(path: str) -> bool:
    """Whether a path has characters of glob patterns: *, ?, [, ] or a backslash."""
    return bool(_PATTERN_CHARACTERS.search(path))


@contextlib.contextmanager
def literal_path(path: str) -> Iterator[str]:
    """Gives a path without characters of glob patterns to what is at `path`.

    TensorFlow takes the prefix of a checkpoint and the directory of a SavedModel for patterns:
    brackets and backslashes in names hide the files from it.

    Args:
      path: a file or directory, which may not exist yet, or a prefix of files, such as a
        checkpoint's.

    Yields:
      `path` itself if it is remote or has no such characters. Otherwise a symbolic link to it, with
      links to the files of which it is a prefix beside it, in a directory that is removed at the
      end.
    """
    if is_remote(path) or not looks_like_pattern(path):
        yield path
        return
    directory, name = os.path.split(os.path.abspath(path))
    with tempfile.TemporaryDirectory(prefix="cvrl_") as place:
        link = os.path.join(place, "link")
        os.symlink(os.path.join(directory, name), link)
        for other in os.listdir(directory) if os.path.isdir(directory) else []:
            if other.startswith(f"{name}."):
                os.symlink(os.path.join(directory, other), link + other.removeprefix(name))
        yield link
