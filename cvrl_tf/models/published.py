"""The authors' published checkpoints, by name.

They are files of their project in the TensorFlow Model Garden (official/projects/video_ssl). A
checkpoint is downloaded at its first use and kept in a directory of its own in the user's cache:

backbone-1.index, backbone-1.data-00000-of-00001   the checkpoint
record.json                                        SHA-256 of the archive and of both files
lock                                               held while it is downloaded
"""

import dataclasses
import errno
import hashlib
import os
import shutil
from collections.abc import Mapping

import keras
import tensorflow as tf

from cvrl_tf import download, files
from cvrl_tf.errors import InputError
from cvrl_tf.models import official
from cvrl_tf.models.resnet3d import build_backbone

FOLDER = "https://storage.googleapis.com/tf_model_garden/vision/cvrl"
PROJECT = "https://github.com/tensorflow/models/tree/master/official/projects/video_ssl"
_MAX_BYTES = 2 * 127_000_000  # their archives, and what they hold, have 127 MB
_PREFIX, _ENDINGS = "backbone-1", (".index", ".data-00000-of-00001")


@dataclasses.dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes:
      file: name of the archive.
      data: what it was pre-trained on.
      epochs: of pre-training; None where it was not pre-trained on videos.
      figures: top-1 accuracy in percent of a linear classifier on its features, by data set, as
        the authors publish it.
      backbone: a key of `resnet3d.BACKBONES`.
    """

    file: str
    data: str
    epochs: int | None
    figures: Mapping[str, float]
    backbone: str = "r3d_50"

    @property
    def address(self) -> str:
        """Where the authors publish it."""
        return f"{FOLDER}/{self.file}"


PUBLISHED = {
    "imagenet_inflated": Published(
        "imagenet.tar.gz",
        "ImageNet, inflated from a 2-D ResNet-50",
        None,
        {"Kinetics-400": 53.5, "Kinetics-600": 54.7},
    ),
    "k400_200ep": Published(
        "r3d_1x_k400_200ep.tar.gz", "Kinetics-400", 200, {"Kinetics-400": 63.8}
    ),
    "k400_800ep": Published(
        "r3d_1x_k400_800ep.tar.gz", "Kinetics-400", 800, {"Kinetics-400": 66.1}
    ),
    "k600_800ep": Published(
        "r3d_1x_k600_800ep.tar.gz",
        "Kinetics-600",
        800,
        {"Kinetics-400": 68.5, "Kinetics-600": 70.4},
    ),
}


def load_pretrained(name: str, dtype: str = "float32") -> keras.Model:
    """The authors' R3D-50 with published weights, downloaded at the first use (127 MB).

        backbone = load_pretrained("k400_800ep")
        features = backbone(clips)

    | name              | pre-trained on           | linear top-1 % on Kinetics-400 | -600 |
    |-------------------|--------------------------|--------------------------------|------|
    | imagenet_inflated | ImageNet, inflated       | 53.5                           | 54.7 |
    | k400_200ep        | Kinetics-400, 200 epochs | 63.8                           |      |
    | k400_800ep        | Kinetics-400, 800 epochs | 66.1                           |      |
    | k600_800ep        | Kinetics-600, 800 epochs | 68.5                           | 70.4 |

    The accuracies are the authors'.

    Args:
      name: of the table.
      dtype: Keras dtype policy, such as "float32" or "mixed_bfloat16".

    Returns:
      A Keras model from clips (N, T, H, W, 3) float32 in [0, 1], RGB, any T, H and W, to features
      (N, 2048) float32. Pre-training used T = 16 frames at stride 2 of 224x224 pixels, the authors'
      evaluation 32 frames at stride 2 of 256x256. For a linear classifier, normalise each feature
      vector to a Euclidean length of 1.

    Raises:
      InputError: unknown name; or as `fetch`.
    """
    if name not in PUBLISHED:
        raise InputError(f"{name!r} is not the name of a published checkpoint: {_names()}.")
    prefix = fetch(name)
    backbone = build_backbone(PUBLISHED[name].backbone, dtype=dtype)
    official.load_official_checkpoint(backbone, prefix)
    return backbone


def _names() -> str:
    return f"expected one of {', '.join(PUBLISHED)}"


def locate(official_checkpoint: str) -> str:
    """The prefix of the files of a checkpoint of the authors.

    Args:
      official_checkpoint: a key of `PUBLISHED`, which is downloaded if necessary, or a prefix, with
        or without .index.

    Raises:
      InputError: no such name or files; or as `fetch`.
    """
    if official_checkpoint in PUBLISHED:
        return fetch(official_checkpoint)
    prefix = official_checkpoint.removesuffix(".index")
    files.load_file_systems(prefix)
    if not tf.io.gfile.exists(f"{prefix}.index"):
        raise InputError(
            f"The checkpoint {prefix} cannot be read (there is no file {prefix}.index): give the"
            " prefix of the authors' files, without .index and .data-00000-of-00001, or the name of"
            f" a published checkpoint, {', '.join(PUBLISHED)}."
        )
    return prefix


def fetch(name: str) -> str:
    """Downloads a published checkpoint, or takes it from the cache.

    Every file is compared with its SHA-256 of the first use; the authors publish none. Before the
    first use, all keys, shapes and checksums of the checkpoint are verified.

    Args:
      name: a key of `PUBLISHED`.

    Returns:
      The prefix of the checkpoint's files.

    Raises:
      InputError: it cannot be downloaded, stored or unpacked, is not a checkpoint of this network,
        or has changed since the first use.
    """
    directory = os.path.join(download.cache_directory(), "official", name)
    stored = _Stored(name, directory)
    if not stored.complete():
        try:
            os.makedirs(directory, exist_ok=True)
            lock = os.path.join(directory, "lock")
            with files.locked(lock, f"downloading {name}", wait=True):
                if not stored.complete():  # another process may just have done it
                    stored.fill()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise InputError(
                f"{directory} cannot be written ({error.strerror or error}):"
                f"{' free some space (400 MB), or' * full} set {download.CACHE} to a directory that"
                " you may write to."
            ) from None
    stored.check()
    return stored.prefix


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A published checkpoint in the cache.

    Attributes:
      name: a key of `PUBLISHED`.
      directory: of its files.
    """

    name: str
    directory: str

    @property
    def prefix(self) -> str:
        """Of the checkpoint's files."""
        return os.path.join(self.directory, _PREFIX)

    @property
    def record_path(self) -> str:
        """Of the checksums of the first use."""
        return os.path.join(self.directory, "record.json")

    def record(self) -> dict[str, str]:
        """SHA-256 by file name, empty before the first use."""
        try:
            return files.read_json(self.record_path)["sha256"]
        except tf.errors.NotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.record_path} is damaged ({error}): remove {self.directory}, and the same"
                " command downloads the checkpoint again."
            ) from None

    def complete(self) -> bool:
        """Whether it has been downloaded and verified."""
        paths = [self.record_path, *(self.prefix + ending for ending in _ENDINGS)]
        return all(map(os.path.exists, paths))

    def check(self) -> None:
        """Compares the files with their record."""
        recorded = self.record()
        for ending in _ENDINGS:
            found, expected = _sha256(self.prefix + ending), recorded.get(_PREFIX + ending)
            if found != expected:
                raise InputError(
                    f"{self.prefix}{ending} has changed since its first use (SHA-256 {found},"
                    f" expected {expected}): remove it, and the same command downloads it again."
                )

    def fill(self) -> None:
        """Downloads the archive if it is not there, unpacks and verifies it, and records it."""
        published = PUBLISHED[self.name]
        by_hand = os.path.join(self.directory, published.file)
        # Another name: a process that is killed must not leave what looks like the user's file.
        archive = downloaded = f"{by_hand}.downloaded"
        url = download.address(FOLDER, published.file)
        if os.path.isfile(by_hand):
            archive = by_hand
        elif not os.path.exists(downloaded):
            download.fetch(url, downloaded, _MAX_BYTES, self.name, by_hand)
        unpacked = os.path.join(self.directory, "unpacked")
        shutil.rmtree(unpacked, ignore_errors=True)  # of a process that was killed
        os.mkdir(unpacked)
        try:
            sha256 = {published.file: self._archive_sha256(archive, published.file, url)}
            parts = {ending: os.path.join(unpacked, _PREFIX + ending) for ending in _ENDINGS}
            remedy = f"It came from {url} and is removed: the same command downloads it again."
            try:
                download.unpack(archive, parts, _MAX_BYTES)
                self._verify(os.path.join(unpacked, _PREFIX), archive)
            except InputError as error:
                remedy = "Replace it." if archive == by_hand else remedy
                raise InputError(f"{error} {remedy}") from None
            for ending, path in parts.items():
                sha256[_PREFIX + ending] = _sha256(path)
                os.replace(path, self.prefix + ending)
            files.write_json(
                self.record_path,
                {"address": url if archive == downloaded else None, "sha256": sha256},
            )
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
            if archive == downloaded:  # wrong ones too; one that the user put there stays
                os.remove(archive)

    def _archive_sha256(self, archive: str, file: str, url: str) -> str:
        """The checksum of an archive, which must be that of the first use if there was one."""
        found = _sha256(archive)
        expected = self.record().get(file, found)
        if found != expected:
            raise InputError(
                f"{archive} of {url} has SHA-256 {found}, expected {expected}, which was recorded"
                " at the first use: it was replaced or damaged. To accept the new one, remove"
                f" {self.record_path}."
            )
        return found

    def _verify(self, prefix: str, archive: str) -> None:
        """Loads a checkpoint, with all its checks."""
        backbone = build_backbone(PUBLISHED[self.name].backbone)
        try:
            official.load_official_checkpoint(backbone, prefix)
        except InputError as error:
            said = str(error).replace(prefix, "Its checkpoint")
            raise InputError(f"{archive} is not the archive of {self.name}. {said}") from None


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
