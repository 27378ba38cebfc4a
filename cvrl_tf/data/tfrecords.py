"""TFRecord files, whatever their records hold."""

import dataclasses
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import google_crc32c
import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError

# A TFRecord is its length and the length's checksum, the data, and the data's checksum.
HEAD = struct.Struct("<QI")
TAIL = struct.Struct("<I")


@dataclasses.dataclass(frozen=True)
class StoredRecord:
    """A record as it lies in a shard.

    Attributes:
      number: position among the records of the shard, from 0.
      offset: first byte of its length.
      serialized: its bytes, or None when they are damaged.
      problem: what is damaged, or None.
    """

    number: int
    offset: int
    serialized: bytes | None
    problem: str | None = None


def read_shard(path: str, offset: int = 0) -> Iterator[StoredRecord]:
    """Reads the records of a shard and goes on after a damaged one, unlike `tf.data`.

    Where a length is damaged or the file is cut off, the record that says so is the last.

    Args:
      path: the shard.
      offset: of the record to start from; it then has the number 0.

    Raises:
      tf.errors.OpError: the file cannot be read.
    """
    size = tf.io.gfile.stat(path).length
    with tf.io.gfile.GFile(path, "rb") as file:
        number, position = 0, offset
        while position < size:
            file.seek(position)
            rest = f"the last {size - position} of {size} bytes cannot be reached"
            head = file.read(HEAD.size)
            if len(head) < HEAD.size:
                problem = f"the file is cut off in the record's length: {rest}"
                yield StoredRecord(number, position, None, problem)
                return
            length, checksum = HEAD.unpack(head)
            if checksum != _checksum(head[:8]):
                problem = f"the record's length is damaged, or this is not a TFRecord file: {rest}"
                yield StoredRecord(number, position, None, problem)
                return
            end = position + HEAD.size + length + TAIL.size
            if end > size:
                problem = f"the file is cut off: the record ends at byte {end}, the file at {size}"
                yield StoredRecord(number, position, None, problem)
                return
            serialized = file.read(length)
            if TAIL.unpack(file.read(TAIL.size))[0] == _checksum(serialized):
                yield StoredRecord(number, position, serialized)
            else:
                problem = "the record is damaged: its bytes do not have the checksum stored"
                yield StoredRecord(number, position, None, problem)
            number, position = number + 1, end


def checksums(path: str, offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yields the length and the stored checksum of the records of a shard.

    Args:
      path: the shard, which is whole.
      offsets: of the records.
    """
    with _open_at_places(path) as file:
        for offset in map(int, offsets):
            file.seek(offset)
            length, _ = HEAD.unpack(file.read(HEAD.size))
            file.seek(offset + HEAD.size + length)
            yield length, TAIL.unpack(file.read(TAIL.size))[0]


def _open_at_places(path: str) -> Any:
    """A file to read few bytes from at each place: TensorFlow's read half a megabyte there."""
    return tf.io.gfile.GFile(path, "rb") if files.is_remote(path) else open(path, "rb", 0)


def record_offsets(path: str) -> np.ndarray:
    """Where the records of a shard start, found from their lengths alone.

    Returns:
      (N,) int64, the first byte of each record.

    Raises:
      InputError: the file is empty, is cut off, or is not a TFRecord file.
    """
    size = tf.io.gfile.stat(path).length
    offsets, position = [], 0
    with _open_at_places(path) as file:
        while position < size:
            file.seek(position)
            head = file.read(HEAD.size)
            offsets.append(position)
            position += HEAD.size + TAIL.size
            position += HEAD.unpack(head)[0] if len(head) == HEAD.size else size
            if position > size:
                raise InputError(
                    f"{path} is not a whole TFRecord file: record {len(offsets) - 1} ends at byte"
                    f" {position}, the file at byte {size}; convert it again."
                )
    if not offsets:
        raise InputError(f"{path} holds no records: remove it, or convert it again.")
    return np.array(offsets, np.int64)


def _checksum(data: bytes) -> int:
    """CRC-32C, masked as TFRecord files store it."""
    value = google_crc32c.value(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
