"""TFRecord files, whatever their records hold."""

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError
from cvrl_tf.remote import RemoteFile

# A TFRecord is its length and the length's checksum, the data, and the data's checksum.
HEAD = struct.Struct("<QI")
TAIL = struct.Struct("<I")
OVERHEAD = HEAD.size + TAIL.size  # bytes of a record beside its data
_UNCOMPRESSED = "which cannot be read in random order: expected an uncompressed TFRecord file"


@dataclasses.dataclass(frozen=True)
class StoredRecord:
    """A record as it lies in a shard.

    Attributes:
      number: position among the records of the shard, from 0.
      offset: first byte of its length.
      serialized: its bytes, or None when they are damaged.
      problem: what is damaged, or None.
      length: bytes of its data; 0 where the file does not hold all of it.
      checksum: stored with the data; None where the file does not hold it.
    """

    number: int
    offset: int
    serialized: bytes | None
    problem: str | None = None
    length: int = 0
    checksum: int | None = None


def read_shard(path: str, offset: int = 0) -> Iterator[StoredRecord]:
    """Reads the records of a shard and continues after a damaged one, unlike `tf.data`.

    Where a length is damaged or the file is cut off, the record that says so is the last.

    Args:
      path: the shard.
      offset: of the record to start from; it then has the number 0.

    Raises:
      OSError, tf.errors.OpError: the file cannot be read.
    """
    size = files.size(path)
    with RemoteFile(path) if files.is_remote(path) else open(path, "rb") as file:
        number, position = 0, offset
        problem: str | None
        while position < size:
            file.seek(position)
            rest = f"the last {size - position} of {size} bytes cannot be reached"
            head = file.read(HEAD.size)
            if len(head) < HEAD.size:
                problem = f"the file is cut off in the record's length: {rest}"
                yield StoredRecord(number, position, None, problem)
                return
            length, stored = HEAD.unpack(head)
            if stored != checksum(head[:8]):
                problem = f"the record's length is damaged, or this is not a TFRecord file: {rest}"
                if compression := _compression(head):
                    problem = f"the file is compressed ({compression}), {_UNCOMPRESSED}"
                yield StoredRecord(number, position, None, problem)
                return
            end = position + HEAD.size + length + TAIL.size
            if end > size:
                problem = f"the file is cut off: the record ends at byte {end}, the file at {size}"
                yield StoredRecord(number, position, None, problem)
                return
            serialized = file.read(length + TAIL.size)
            serialized, tail = serialized[:length], serialized[length:]
            (stored,) = TAIL.unpack(tail)
            problem = None
            if stored != checksum(serialized):
                problem = "the record is damaged: its bytes do not have the checksum stored"
            data = None if problem else serialized
            yield StoredRecord(number, position, data, problem, length, stored)
            number, position = number + 1, end


def open_at_places(path: str) -> Any:
    """Opens a file to read few bytes at many places: TensorFlow reads half a megabyte at each."""
    return RemoteFile(path) if files.is_remote(path) else open(path, "rb", 0)


class RecordPlaces(NamedTuple):
    """Where the N records of a shard lie, and what is stored with them.

    Attributes:
      offsets: (N,) int64, the first byte of each record in the file.
      lengths: (N,) int64, bytes of its data.
      checksums: (N,) uint32, stored with the data.
    """

    offsets: np.ndarray
    lengths: np.ndarray
    checksums: np.ndarray


def find_records(path: str) -> RecordPlaces:
    """Finds the records of a shard from their lengths; no data are read.

    Args:
      path: the shard.

    Raises:
      InputError: the file is empty, cut off, compressed, or not a TFRecord file.
      OSError, tf.errors.OpError: it cannot be read.
    """
    size = files.size(path)
    if not size:
        raise InputError(f"{path} holds no records: remove it, or convert it again.")
    places: list[tuple[int, ...]] = []
    position = 0
    with open_at_places(path) as file:
        head = file.read(HEAD.size)
        if compression := _compression(head):
            raise InputError(
                f"{path} is compressed ({compression}), {_UNCOMPRESSED}; decompress it, or write it"
                " again without compression."
            )
        while position < size:
            length, _ = HEAD.unpack(head) if len(head) == HEAD.size else (size, 0)
            end = position + HEAD.size + length + TAIL.size
            if end > size:
                raise InputError(
                    f"{path} is not a whole TFRecord file: record {len(places)} ends at byte"
                    f" {end}, the file at byte {size}; convert it again."
                )
            # The checksum that ends this record, and the head of the next.
            file.seek(end - TAIL.size)
            between = file.read(TAIL.size + HEAD.size)
            places.append((position, length, *TAIL.unpack_from(between)))
            position, head = end, between[TAIL.size :]
    columns = zip(*places, strict=True)
    dtypes = (np.int64, np.int64, np.uint32)
    return RecordPlaces(*(np.array(x, dtype) for x, dtype in zip(columns, dtypes, strict=True)))


def read_record(path: str, offset: int, length: int, stored_checksum: int) -> bytes:
    """Reads a record whose place is known, with one read.

    Args:
      path: the shard.
      offset: first byte of the record in the file.
      length: bytes of its data.
      stored_checksum: that is stored with the data.

    Raises:
      OSError, tf.errors.OpError: the file cannot be read, or does not hold this record there.
    """
    with open_at_places(path) as file:
        file.seek(offset)
        content = file.read(length + OVERHEAD)
    data = content[HEAD.size : HEAD.size + length]
    if content[HEAD.size + length :] != TAIL.pack(stored_checksum) or (
        checksum(data) != stored_checksum
    ):
        raise tf.errors.DataLossError(None, None, f"corrupted record at {offset} of {path}")
    return data


def read_head(file: Any, offset: int, size: int) -> tuple[bytes, int]:
    """Reads the beginning of a record's data.

    Args:
      file: of the shard, open for reading bytes.
      offset: first byte of the record in the file.
      size: the number of bytes to read.

    Returns:
      At most `size` bytes of the data, and how many bytes it has altogether.
    """
    file.seek(offset)
    head = file.read(HEAD.size + size)
    length, _ = HEAD.unpack_from(head)
    return head[HEAD.size :][:length], length


def checksum(data: bytes) -> int:
    """CRC-32C, masked as TFRecord files store it."""
    value = google_crc32c.value(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _compression(head: bytes) -> str | None:
    """The compression of a file that begins with `head`, None if it is a TFRecord file or unknown.

    TensorFlow writes compressed TFRecord files as one GZIP or ZLIB stream.
    """
    if len(head) == HEAD.size and HEAD.unpack(head)[1] == checksum(head[:8]):
        return None
    if head[:2] == b"\x1f\x8b":
        return "GZIP"
    # ZLIB's method and window size, and a multiple of 31.
    return "ZLIB" if head[:1] == b"\x78" and int.from_bytes(head[:2]) % 31 == 0 else None
