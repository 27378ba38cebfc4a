"""Files that may not be read or written, also for root, who may do anything."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def nobody() -> Iterator[pathlib.Path]:
    """Yields an empty directory of a user without rights, who this process is in the meantime."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        if user == 0:
            os.chown(directory, 65534, 65534)
            os.seteuid(65534)
        try:
            yield directory
        finally:
            os.seteuid(user)
            for path in [directory, *directory.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o700)
