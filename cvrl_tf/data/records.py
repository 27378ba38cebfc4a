"""The TFRecord layout: the one module that knows the keys.

A record is a `tf.train.SequenceExample`, the layout of the authors' readers and of DeepMind's DMVR:

| key                                       | where, type         | meaning                        |
|-------------------------------------------|---------------------|--------------------------------|
| `image/encoded`                           | frames, bytes       | one JPEG for each frame        |
| `image/timestamp`                         | frames, int64       | microseconds from its start    |
| `clip/label/index`                        | context, int64      | from 0; absent when unlabelled |
| `clip/label/text`, `clip/label/string`    | context, bytes      | class name                     |
| `clip/start/timestamp`, `clip/end/...`    | context, int64      | microseconds in the source     |
| `image/frame_rate`                        | context, float      | frames per second as stored    |
| `image/height`, `image/width`             | context, int64      | pixels                         |
| `image/channels`                          | context, int64      | 3                              |
| `image/format`, `image/colorspace`        | context, bytes      | `JPEG`, `RGB`                  |
| `example/id`, `clip/media_id`             | context, bytes      | identity                       |
| `clip/data_path`, `video/filename`        | context, bytes      | origin                         |

All frames of a record have one height and width.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.data import tfrecords
from cvrl_tf.errors import InputError, reason

FRAMES_KEY = "image/encoded"
LABEL_KEY = "clip/label/index"
LABEL_NAME_KEY = "clip/label/text"
ID_KEY = "example/id"
TIMESTAMP_KEY = "image/timestamp"

_LABEL_KEYS = {LABEL_KEY: int, LABEL_NAME_KEY: bytes, "clip/label/string": bytes}
_CONTEXT_KEYS = {
    ID_KEY: bytes,
    "clip/media_id": bytes,
    "clip/data_path": bytes,
    "video/filename": bytes,
    "clip/start/timestamp": int,
    "clip/end/timestamp": int,
    "image/frame_rate": float,
    "image/height": int,
    "image/width": int,
    "image/channels": int,
    "image/format": bytes,
    "image/colorspace": bytes,
}
_CONSTANTS = {"image/channels": 3, "image/format": b"JPEG", "image/colorspace": b"RGB"}
UNLABELLED = -1
UNREADABLE = -2
HEAD_BYTES = 4096  # hold the context of most records
# Of a record, after its context: sizes and the name of the list of frames; then the frames.
_LIST_HEAD_BYTES, _CONTENT_BYTES = 64, 2048
_LISTS = {bytes: "bytes_list", int: "int64_list", float: "float_list"}


@dataclasses.dataclass(frozen=True)
class Video:
    """One video in the form in which it is stored.

    Attributes:
      video_id: name that is unique in its data set.
      frames: JPEG bytes of each frame, RGB, all of one size.
      timestamps: microseconds from the first frame, one for each frame.
      frame_rate: frames per second.
      height: pixels.
      width: pixels.
      path: the source file.
      label: class index from 0, or None when unlabelled.
      label_name: class name, or None when unlabelled.
      start: microseconds in the source video where the clip starts.
    """

    video_id: str
    frames: Sequence[bytes]
    timestamps: Sequence[int]
    frame_rate: float
    height: int
    width: int
    path: str
    label: int | None = None
    label_name: str | None = None
    start: int = 0


def _feature(value: int | float | bytes) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def end_microseconds(video: Video) -> int:
    """When the last frame of a video with frames ends, in microseconds on its clock.

    It is shown for 1 / `frame_rate` seconds; but where long gaps between other frames make that
    more than twice the usual time between two frames, for the usual time.
    """
    shown = round(1e6 / video.frame_rate) if video.frame_rate > 0 else 0
    if len(video.timestamps) > 1:
        usual = round(float(np.median(np.diff(video.timestamps))))
        if shown > 2 * usual > 0:
            shown = usual
    return video.timestamps[-1] + shown


def serialize(video: Video) -> bytes:
    """The record of `video`, the same bytes for the same video.

    Raises:
      ValueError: no frames, or not one timestamp for each frame.
    """
    if not video.frames or len(video.frames) != len(video.timestamps):
        raise ValueError(
            f"{video.video_id}: found {len(video.frames)} frames and {len(video.timestamps)}"
            " timestamps, expected as many of both and at least one."
        )
    name = video.path.rsplit("/", 1)[-1]
    context: dict[str, int | float | bytes] = {
        ID_KEY: video.video_id.encode(),
        "clip/media_id": video.video_id.encode(),
        "clip/data_path": video.path.encode(),
        "video/filename": name.encode(),
        "clip/start/timestamp": video.start,
        "clip/end/timestamp": video.start + end_microseconds(video),
        "image/frame_rate": float(video.frame_rate),
        "image/height": video.height,
        "image/width": video.width,
        "image/channels": 3,
        "image/format": b"JPEG",
        "image/colorspace": b"RGB",
    }
    if video.label is not None:
        context[LABEL_KEY] = video.label
    if video.label_name is not None:
        context[LABEL_NAME_KEY] = video.label_name.encode()
        context["clip/label/string"] = video.label_name.encode()
    before = tf.train.SequenceExample(
        context=tf.train.Features(feature={key: _feature(context[key]) for key in context})
    )
    timestamps = tf.train.FeatureList(feature=map(_feature, video.timestamps))
    after = tf.train.FeatureLists(feature_list={TIMESTAMP_KEY: timestamps})
    return _join_frames(
        before.SerializeToString(deterministic=True),
        video.frames,
        after.SerializeToString(deterministic=True),
    )


def _join_frames(before: bytes, frames: Sequence[bytes], after: bytes) -> bytes:
    """A SequenceExample in the wire format: its context, the frames, and other feature lists.

    Protocol buffers themselves take five times the size of the frames while they serialize; this
    takes it once.
    """
    parts = []
    for frame in frames:
        head = b""
        for _ in range(3):  # a FeatureList's Feature, its BytesList, and the value in that
            head = b"\x0a" + _varint(len(head) + len(frame)) + head
        parts += [head, frame]
    size = sum(map(len, parts))
    key = b"\x0a" + _varint(len(FRAMES_KEY)) + FRAMES_KEY.encode()
    entry = key + b"\x12" + _varint(size)  # of the map from names to FeatureLists
    entry = b"\x0a" + _varint(len(entry) + size) + entry
    lists = b"\x12" + _varint(len(entry) + size + len(after))
    return b"".join([before, lists, entry, *parts, after])


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def deserialize(serialized: bytes) -> tuple[Video, list[str]]:
    """The inverse of `serialize`, for a record that may not be as `serialize` writes it.

    Args:
      serialized: the record.

    Returns:
      The video, empty or 0 where the record has nothing that can be used, and a phrase for each
      thing that is not in the layout. JPEGs are not looked into.

    Raises:
      ValueError: not a `tf.train.SequenceExample`.
    """
    example = _parse_example(serialized)
    problems: list[str] = []
    features = example.context.feature
    labelled = any(key in features for key in _LABEL_KEYS)
    context = {
        key: _context_value(example, key, kind, problems)
        for key, kind in (_CONTEXT_KEYS | (_LABEL_KEYS if labelled else {})).items()
    }
    for key, expected in _CONSTANTS.items():
        if context[key] not in (None, expected):
            problems.append(f"'{key}' is {context[key]!r}, expected {expected!r}")
    for one, other in (ID_KEY, "clip/media_id"), (LABEL_NAME_KEY, "clip/label/string"):
        values = context.get(one), context.get(other)
        if None not in values and values[0] != values[1]:
            problems.append(f"'{one}' is {values[0]!r} but '{other}' is {values[1]!r}")
    frames = _list_values(example, FRAMES_KEY, bytes, problems)
    timestamps = _list_values(example, TIMESTAMP_KEY, int, problems)
    if frames and timestamps and len(frames) != len(timestamps):
        problems.append(f"{len(frames)} frames but {len(timestamps)} timestamps")
    for index in range(1, len(timestamps)):
        if timestamps[index] < timestamps[index - 1]:
            problems.append(
                f"the timestamp of frame {index}, {timestamps[index]}, is before that of the frame"
                f" in front of it, {timestamps[index - 1]}"
            )
            break
    name = context.get(LABEL_NAME_KEY)
    video = Video(
        video_id=_text(context[ID_KEY]),
        frames=frames,
        timestamps=timestamps,
        frame_rate=context["image/frame_rate"] or 0.0,
        height=context["image/height"] or 0,
        width=context["image/width"] or 0,
        path=_text(context["clip/data_path"]),
        label=context.get(LABEL_KEY),
        label_name=None if name is None else _text(name),
        start=context["clip/start/timestamp"] or 0,
    )
    return video, problems


def _parse_example(serialized: bytes) -> tf.train.SequenceExample:
    try:
        return tf.train.SequenceExample.FromString(serialized)
    except Exception as error:  # protobuf's DecodeError has no public base class
        raise ValueError(f"not a tf.train.SequenceExample ({error})") from None


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _context_value(
    example: tf.train.SequenceExample, key: str, kind: type, problems: list[str]
) -> Any:
    """The one value of `key`, or None and a phrase in `problems`."""
    if key not in example.context.feature:
        problems.append(f"the key '{key}' is missing")
        return None
    return _one_value(example.context.feature[key], f"'{key}'", kind, problems)


def _list_values(
    example: tf.train.SequenceExample, key: str, kind: type, problems: list[str]
) -> list[Any]:
    """The values of a feature list, up to the first that is not one value of `kind`."""
    features = example.feature_lists.feature_list
    if key not in features or not features[key].feature:
        problems.append(f"the feature list '{key}' is {'empty' if key in features else 'missing'}")
        return []
    values = []
    for index, feature in enumerate(features[key].feature):
        value = _one_value(feature, f"'{key}' of frame {index}", kind, problems)
        if value is None:
            break
        values.append(value)
    return values


def _one_value(feature: tf.train.Feature, name: str, kind: type, problems: list[str]) -> Any:
    found, expected = feature.WhichOneof("kind") or "nothing", _LISTS[kind]
    values = getattr(feature, expected).value
    if found != expected:
        problems.append(f"{name} holds {found}, expected {expected}")
    elif len(values) != 1:
        problems.append(f"{name} holds {len(values)} values, expected one")
    return values[0] if len(values) == 1 else None


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a record in a tf.data graph. JPEGs stay encoded.

    Args:
      serialized: scalar string, one record.

    Returns:
      `frames`, (L,) string, the JPEG of each frame; `label`, scalar int64, -1 when unlabelled;
      `id`, scalar string, empty when the record has none.

    Raises:
      tf.errors.InvalidArgumentError: when run on bytes that are not such a record.
    """
    context, sequence = tf.io.parse_single_sequence_example(
        serialized,
        context_features={
            LABEL_KEY: tf.io.FixedLenFeature([], tf.int64, default_value=-1),
            ID_KEY: tf.io.FixedLenFeature([], tf.string, default_value=""),
        },
        sequence_features={FRAMES_KEY: tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    return {"frames": sequence[FRAMES_KEY], "label": context[LABEL_KEY], "id": context[ID_KEY]}


def label_and_id(head: bytes) -> tuple[int, str] | None:
    """The label and the id of a record from its first bytes, without its frames.

    Args:
      head: the record, or as many bytes of it as there are.

    Returns:
      The label, -1 when unlabelled, and the id, empty when it has none. None when the context,
      which protocol buffers are written with first, is not there or not whole.

    Raises:
      ValueError: not a context.
    """
    parts = _split_context(head)
    if parts is None:
        return None
    try:
        features = tf.train.Features.FromString(parts[0]).feature
    except Exception as error:  # protobuf's DecodeError has no public base class
        raise ValueError(f"not the context of a record ({error})") from None
    labels, ids = features[LABEL_KEY].int64_list.value, features[ID_KEY].bytes_list.value
    return (labels[0] if labels else -1), (_text(ids[0]) if ids else "")


@dataclasses.dataclass(frozen=True)
class Identity:
    """Which video a record holds.

    Attributes:
      label: class index; `UNLABELLED`, or `UNREADABLE` where the record is damaged.
      id: empty where it has none.
      content: `content_key`, or a number in its place that also identifies the frames.
    """

    label: int
    id: str
    content: int

    @classmethod
    def of_parsed(cls, record: dict[str, tf.Tensor]) -> "Identity":
        """The identity of a record that `parse` has parsed."""
        frames = record["frames"].numpy()
        content = content_hash(b"%d " % len(frames) + b"".join(frames[:1]))
        return cls(int(record["label"]), _text(record["id"].numpy()), content)


def identify(serialized: bytes) -> Identity:
    """The identity of a record, from its first `HEAD_BYTES` where these suffice.

    Raises:
      ValueError: not a context.
      tf.errors.OpError: not a record.
    """
    head = serialized[:HEAD_BYTES]
    found = label_and_id(head)
    if found:
        return Identity(*found, content_key(head))
    return Identity.of_parsed(parse(tf.constant(serialized)))


def content_key(head: bytes) -> int:
    """A number that records of the same frames share, whatever their ids and labels.

    It is a checksum of the size of all frames and timestamps and of the beginning of the first
    frame, so that videos which only begin alike, such as with a black frame, have different ones.

    Args:
      head: as for `label_and_id`; 4096 bytes suffice for contexts of up to 2048.

    Returns:
      An integer below 2^63; 0 where the frames do not come right after the context.
    """
    parts = _split_context(head)
    if parts is None or FRAMES_KEY.encode() not in parts[1][:_LIST_HEAD_BYTES]:
        return 0
    return content_hash(parts[1][:_CONTENT_BYTES])


def content_hash(content: bytes) -> int:
    """A checksum from 1 to 2^63 - 1."""
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return max(1, int.from_bytes(digest) >> 1)


def _split_context(head: bytes) -> tuple[bytes, bytes] | None:
    """The context of a record and what follows it; None if it is not there or not whole."""
    if head[:1] != b"\x0a":  # the first field, of bytes
        return None
    size = shift = 0
    for position in range(1, min(len(head), 6)):
        size |= (head[position] & 127) << shift
        shift += 7
        if head[position] < 128:
            break
    else:
        return None
    context, rest = head[position + 1 :][:size], head[position + 1 + size :]
    return (context, rest) if len(context) == size else None


@dataclasses.dataclass(frozen=True)
class RecordSummary:
    """The size of a record: frames, pixels; and its label, None when unlabelled."""

    num_frames: int
    height: int
    width: int
    label: int | None


def summarize(serialized: bytes, origin: str) -> RecordSummary:
    """Checks that a record is in the layout and returns its size.

    Args:
      serialized: the record.
      origin: its file and position, for the message.

    Raises:
      InputError: not a SequenceExample, no frames in `image/encoded`, or a frame not in JPEG.
    """
    try:
        example = _parse_example(serialized)
    except ValueError as error:
        raise InputError(
            f"{origin} is {error}; expected records as python -m cvrl_tf.make_tfrecords writes"
            " them."
        ) from None
    frames = example.feature_lists.feature_list[FRAMES_KEY].feature
    first = frames[0].bytes_list.value[:1] if frames else []
    if not first:
        found = sorted(example.feature_lists.feature_list) or sorted(example.context.feature)
        raise InputError(
            f"{origin} has no frames in the feature list '{FRAMES_KEY}' (found the keys"
            f" {', '.join(key for key in found if key != FRAMES_KEY) or 'none'}); expected records"
            " as python -m cvrl_tf.make_tfrecords writes them."
        )
    try:
        height, width, _ = tf.io.extract_jpeg_shape(first[0]).numpy()
    except tf.errors.InvalidArgumentError:
        raise InputError(
            f"{origin}: its first frame is not a JPEG image; convert the video again."
        ) from None
    labels = example.context.feature[LABEL_KEY].int64_list.value
    return RecordSummary(len(frames), int(height), int(width), labels[0] if labels else None)


def first_record(
    path: str, summarize: Callable[[bytes, str], RecordSummary] = summarize
) -> RecordSummary:
    """The summary of a shard's first record.

    Args:
      path: a TFRecord file.
      summarize: from a record and its origin to its summary; for records in this layout by default.

    Raises:
      InputError: it cannot be read or is not in the layout.
    """
    with files.reading(path):
        stored = next(tfrecords.read_shard(path), None)
    if stored is None or stored.serialized is None:
        raise InputError(
            f"{path}: its first record is damaged, or it is not a TFRecord file; convert it again."
        )
    return summarize(stored.serialized, f"{path}, record 0")


@contextlib.contextmanager
def naming_bad_records(pattern: str) -> Iterator[None]:
    """Turns the errors of a tf.data graph that reads records into one sentence.

    Args:
      pattern: of the shards that are read.

    Raises:
      InputError: a record is damaged, gone, not in the layout, or has a frame that cannot be
        decoded.
    """
    try:
        yield
    except (
        tf.errors.InvalidArgumentError,
        tf.errors.DataLossError,
        tf.errors.NotFoundError,
        tf.errors.PermissionDeniedError,
    ) as error:
        raise InputError(
            f"A record of {pattern} cannot be read ({reason(error)}): convert its video again, or"
            " omit it."
        ) from None
