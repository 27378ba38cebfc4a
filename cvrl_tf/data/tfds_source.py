"""Data sets of TensorFlow Datasets (TFDS), read unchanged: the JPEGs stay encoded.

A data set is named `tfds:NAME[/CONFIG][:VERSION]:SPLIT`, with TFDS's own names, such as
`tfds:ucf101/ucf101_1_256:2.0.0:train`; `train+test` are two splits. It is looked for where TFDS
prepares data sets: below the environment variable TFDS_DATA_DIR, or ~/tensorflow_datasets. Nothing
is downloaded. The only module that imports tensorflow_datasets.
"""

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterator

import tensorflow as tf

from cvrl_tf.data.records import RecordSummary
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError

try:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder
except ImportError as error:
    raise InputError(
        f"The package tensorflow_datasets, which tfds:... needs, cannot be imported ({error}):"
        " install the versions of requirements.txt."
    ) from None

_NAME = re.compile(r"tfds:([\w.-]+(?:/[\w.-]+)?(?::[\d*]+\.[\d*]+\.[\d*]+)?)(?::([\w+-]+|.*\]))?")
Parser = Callable[[tf.Tensor], dict[str, tf.Tensor]]
# Text features that may name an example, the first that there is.
_ID_FEATURES = ("id", "video_id", "filename", "video_name")


def find_source(name: str, flag: str) -> Source:
    """The files of a split of a data set that TFDS has prepared.

    Args:
      name: `tfds:NAME[/CONFIG][:VERSION]:SPLIT`.
      flag: name of the flag that holds it, for the message.

    Returns:
      The source. Records without a text feature that names them have a hash of theirs as id; those
      of a data set without a class label are unlabelled.

    Raises:
      InputError: not such a name, no such data set or split, none prepared, no video in it, or not
        stored as JPEGs in TFRecord files.
    """
    builder, split = _builder(name, flag)
    origin = f"--{flag}={name}"
    splits = builder.info.splits
    names = split.split("+") if split else []
    if not names or any(part not in splits for part in names):
        raise InputError(
            f"{origin}: {builder.info.full_name} has the splits {', '.join(splits)}, found"
            f" '{split or ''}': expected one of them, or several with + between; slices such as"
            " train[:50%] cannot be read."
        )
    file_format = builder.info.file_format.value
    if file_format != "tfrecord":
        raise InputError(
            f"{origin} is stored as {file_format}: expected tfrecord; prepare it again with"
            " --file_format=tfrecord."
        )
    features = builder.info.features
    if _feature(features, tfds.features.Video, ("video",)) is None:
        raise InputError(
            f"{origin} has no video: its features are {', '.join(sorted(features))}; expected one"
            " of them to be a tfds.features.Video."
        )
    parse = _parser(features)
    return Source(
        name=name,
        paths=[str(path) for part in names for path in splits[part].filepaths],
        parse=parse,
        summarize=functools.partial(_summarize, parse),
        label_and_id=None,  # features are in any order
    )


def parser_of_directory(directory: str) -> Parser:
    """What `find_source` gives as `parse`, for the data set that TFDS has prepared in a directory.

    Args:
      directory: of the version, which holds the files.
    """
    with _quiet():
        return _parser(tfds.builder_from_directory(directory).info.features)


def _parser(features: "tfds.features.FeaturesDict") -> Parser:
    video = _feature(features, tfds.features.Video, ("video",))
    label = _feature(features, tfds.features.ClassLabel, ("label",))
    texts = [key for key in features if isinstance(features[key], tfds.features.Text)]
    text = next((key for key in _ID_FEATURES if key in texts), None)
    return functools.partial(_parse, features, video, label, text)


def class_names(name: str, flag: str) -> list[str]:
    """The class names of a data set in the order of their labels, empty without labels."""
    features = _builder(name, flag)[0].info.features
    label = _feature(features, tfds.features.ClassLabel, ("label",))
    return list(features[label].names) if label else []


def _builder(name: str, flag: str) -> tuple["tfds.core.DatasetBuilder", str | None]:
    match = _NAME.fullmatch(name)
    if not match:
        raise InputError(
            f"--{flag}={name}: expected tfds:NAME[/CONFIG][:VERSION]:SPLIT, such as"
            " tfds:ucf101/ucf101_1_256:2.0.0:train."
        )
    dataset, split = match.groups()
    try:
        with _quiet():
            # From the files alone: `tfds.builder` looks on the network for what is not there.
            return read_only_builder.builder_from_files(dataset), split
    except tfds.core.DatasetNotFoundError:
        pass
    except ValueError as error:  # such as: found in several places
        raise InputError(f"--{flag}={name} cannot be loaded ({error}).") from None
    directories = tfds.core.utils.file_utils.list_data_dirs(None)
    base = re.split("[/:]", dataset)[0]
    found = sorted({name for place in directories for name in _subfolders(f"{place}/{base}")})
    places = ", ".join(map(str, directories)) + (
        f" (found of {base}: {', '.join(found)})" if found else ""
    )
    if base in tfds.list_builders(with_community_datasets=False):
        raise InputError(
            f"--{flag}={name}: {dataset} is not prepared in {places}: run 'tfds build"
            f" {dataset}', or set TFDS_DATA_DIR to the directory where it is."
        )
    raise InputError(
        f"--{flag}={name}: there is no data set {dataset} in {places}, and TensorFlow Datasets"
        " itself has none: check the spelling, or set TFDS_DATA_DIR to the directory where"
        " it is."
    )


def _subfolders(path: str) -> list[str]:
    return [n.rstrip("/") for n in tf.io.gfile.listdir(path)] if tf.io.gfile.isdir(path) else []


def _feature(
    features: "tfds.features.FeaturesDict", kind: type, preferred: tuple[str, ...]
) -> str | None:
    """The name of the feature of a kind: a preferred one, or the first."""
    names = [key for key in features if isinstance(features[key], kind)]
    return next((key for key in preferred if key in names), names[0] if names else None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's use of deprecated functions from the user's eyes."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _parse(
    features: "tfds.features.FeaturesDict",
    video: str | None,
    label: str | None,
    text: str | None,
    serialized: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """As `records.parse`, for an example with the features named."""
    kept = tfds.features.FeaturesDict({key: features[key] for key in (video, label, text) if key})
    with _quiet():
        example = kept.deserialize_example(serialized, decoders={video: tfds.decode.SkipDecoding()})
    if text:
        record_id = example[text]
    else:
        record_id = tf.strings.as_string(tf.strings.to_hash_bucket_fast(serialized, 2**63 - 1))
    return {
        "frames": example[video],
        "label": example[label] if label else tf.constant(-1, tf.int64),
        "id": record_id,
    }


def _summarize(parse: Parser, serialized: bytes, origin: str) -> RecordSummary:
    """As `records.summarize`, for an example that `parse` parses."""
    try:
        record = parse(tf.constant(serialized))
    except (tf.errors.InvalidArgumentError, ValueError) as error:
        raise InputError(
            f"{origin} does not have the features of its data set ({error}): prepare it again."
        ) from None
    frames = list(record["frames"].numpy())
    if not frames:
        raise InputError(f"{origin} has no frames: prepare the data set again.")
    if not frames[0].startswith(b"\xff\xd8"):
        kind = "PNG" if frames[0].startswith(b"\x89PNG") else "other"
        raise InputError(
            f"{origin} stores its frames as {kind} images, expected JPEGs: convert the data set"
            " with python -m cvrl_tf.make_tfrecords --dataset=tfds."
        )
    try:
        height, width, _ = tf.io.extract_jpeg_shape(frames[0]).numpy()
    except tf.errors.InvalidArgumentError:
        raise InputError(
            f"{origin}: its first frame is a damaged JPEG image; prepare the data set again."
        ) from None
    label = int(record["label"])
    return RecordSummary(len(frames), int(height), int(width), label if label >= 0 else None)
