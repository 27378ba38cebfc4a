"""Files that appear under their name only when they are complete."""

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def write_atomically(path: str, content: bytes | str) -> None:
    """Writes `content` to `path` through a temporary file in the same directory and a rename.

    Whatever stood at `path` stays whole until the new content is complete.
    """
    temporary = f"{path}.tmp-{os.getpid()}"
    try:
        with tf.io.gfile.GFile(temporary, "wb" if isinstance(content, bytes) else "w") as file:
            file.write(content)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)
        raise


def write_json(path: str, values: Mapping[str, Any]) -> None:
    """Writes `values` to `path` as indented JSON, atomically."""
    write_atomically(path, json.dumps(values, indent=2) + "\n")


def read_json(path: str) -> dict[str, Any]:
    """Reads the JSON object at `path`."""
    with tf.io.gfile.GFile(path, "r") as file:
        return json.loads(file.read())
