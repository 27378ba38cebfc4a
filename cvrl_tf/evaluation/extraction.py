"""Values of each video as a file for other programs, from records or straight from video files.

Values are features or class probabilities. They go through a `feature_store` beside the output, so
that the same call resumes after a stop.
"""

import csv
import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.state import Failure
from cvrl_tf.conversion.workers import InProcess, WorkerPool
from cvrl_tf.data import records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import feature_store, thumbnails
from cvrl_tf.evaluation.decoding import Decoding, settings_of
from cvrl_tf.evaluation.feature_store import FeatureStore, StoredFeatures
from cvrl_tf.evaluation.features import identify
from cvrl_tf.evaluation.inference import Computation, map_records, map_videos
from cvrl_tf.evaluation.thumbnails import Strip
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.progress import Progress

FEATURES_KEY, SHAPE_KEY = "features", "features/shape"


@dataclasses.dataclass(frozen=True)
class Network:
    """What is computed of each video.

    Attributes:
      function: from clips (n, T, size, size, 3) float32 in [0, 1] to values (n, K), clip by clip.
      size: K.
      values: what they are, in the plural.
      models: the networks in it.
      views: the views of each video.
    """

    function: Callable[[tf.Tensor], tf.Tensor]
    size: int
    values: str
    models: Sequence[keras.Model]
    views: EvaluationViews

    @property
    def computation(self) -> Computation:
        """For all views of all videos."""
        return Computation(self.function, tuple(self.models))


@dataclasses.dataclass(frozen=True)
class Records:
    """Videos in records; checked with `checks.check_shards`."""

    videos: IndexedSource

    def fingerprint(self, views: EvaluationViews) -> str:
        """Of the content of the records."""
        return self.videos.index.fingerprint()

    def compute(self, network: Network, store: FeatureStore) -> None:
        """Adds to `store` what it lacks, in the order of the records.

        Raises:
          InputError: a record that cannot be read.
        """
        for video in map_records(
            network.computation,
            self.videos,
            network.views,
            network.values,
            first_video=len(store.ids),
        ):
            store.append(video.values, video.label, video.id)

    def strips(self, rows: Sequence[int], ids: Sequence[str], clip: ClipSpec) -> dict[int, Strip]:
        """Thumbnails by row; arguments as of `VideoFiles.strips`."""
        return thumbnails.read_strips(self.videos, rows, clip)


@dataclasses.dataclass(frozen=True)
class VideoFiles:
    """Video files. They have the values that their records would have.

    Attributes:
      entries: the files; their ids are unique.
      executor: makes what decodes the files. A process that hangs or dies at a file is replaced,
        and the file is a failure. By default a process for each core.
      class_names: of the labels of the entries; none where they have no labels.
    """

    entries: Sequence[Entry]
    executor: Callable[[], WorkerPool | InProcess] = WorkerPool
    class_names: Sequence[str] = ()

    def fingerprint(self, views: EvaluationViews) -> str:
        """Of the ids, paths and sizes of the files, and how they are decoded for the views."""
        digest = hashlib.sha256(repr(settings_of(views)).encode())
        for entry in self.entries:
            label = "" if entry.label is None else f"\t{entry.label}"
            line = f"{entry.video_id}\t{entry.path}\t{_size(entry.path)}{label}\n"
            digest.update(line.encode())
        return digest.hexdigest()[:16]

    def compute(self, network: Network, store: FeatureStore) -> None:
        """Adds to `store` what it lacks, and what is wrong with damaged files."""
        skipped = {failure.video_id for failure in store.failures.values() if not failure.kept}
        known = skipped.union(store.ids)
        left = [entry for entry in self.entries if entry.video_id not in known]
        with (
            self.executor() as running,
            Progress(network.values, len(self.entries), "video", initial=len(known)) as progress,
        ):

            def note(failure: Failure) -> None:
                store.note_failure(failure)
                progress.update(int(not failure.kept), skipped=store.num_skipped)

            decoding = Decoding(left, network.views, running, note)
            videos = decoding.dataset()
            found = map_videos(network.computation, videos, lambda video: video, network.views)
            for video in found:
                store.append(video.values, video.label, video.id)
                progress.update()
            decoding.check()

    def strips(self, rows: Sequence[int], ids: Sequence[str], clip: ClipSpec) -> dict[int, Strip]:
        """Thumbnails by row; those of videos that cannot be decoded any more are missing.

        Args:
          rows: numbers of some of the videos in `ids`.
          ids: of the videos that were computed.
          clip: as the network sees it.
        """
        entries = {entry.video_id: entry for entry in self.entries}
        row_of = {ids[row]: row for row in rows}
        chosen = [entries[video_id] for video_id in row_of]
        strips = {}
        with self.executor() as running, Progress("thumbnails", len(rows), "video") as progress:
            decoding = Decoding(chosen, EvaluationViews(clip, 1), running, lambda failure: None)
            for video in decoding.dataset():
                row = row_of[video["id"].numpy().decode()]
                strips[row] = thumbnails.strip_of(video["frames"], clip)
                progress.update()
            decoding.check()
        return strips


def _size(path: str) -> int:
    """Bytes of a file; -1 for one that cannot be reached, which is a failure when it is read."""
    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.OpError:
        return -1


Writer = Callable[[str, StoredFeatures], None]


def check_output(path: str, extensions: Sequence[str]) -> None:
    """Raises InputError unless `path` can be made: a local file with one of the extensions."""
    if os.path.splitext(path)[1] not in extensions:
        raise InputError(
            f"--output={path}: expected a name that ends in {' or '.join(extensions)}, which"
            " determines the format."
        )
    if files.is_remote(path):
        raise InputError(f"--output={path} is remote: expected a local file; copy it afterwards.")
    if os.path.exists(path):
        raise InputError(f"--output={path} exists: name a new file.")
    files.check_writable(path, f"--output={path}")


def extract(
    network: Network, videos: Records | VideoFiles, output: str, write: Writer
) -> StoredFeatures:
    """Computes the values of all videos, then writes the output.

    A video file that cannot be decoded is skipped; `OUTPUT.failures.csv` lists those with the
    reason, and damaged ones that were used (kept=yes).

    Args:
      network: what is computed.
      videos: of which.
      output: the file, see `check_output`.
      write: writes the values to a file, which then becomes `output`.

    Returns:
      What was written; its values are gone.

    Raises:
      InputError: no video can be decoded, a record cannot be read, or the store beside `output` is
        of something else.
    """
    check_output(output, [os.path.splitext(output)[1]])
    views = network.views
    identity = identify(network.models, network.values, "float32", videos.fingerprint(views), views)
    directory = f"{output}.partial"
    row = len(views), network.size
    with feature_store.open_store(directory, identity, row) as store:
        if not store.complete:
            videos.compute(network, store)
            store.finish()
        stored = store.read()
        failures = f"{output}.failures.csv"
        if stored.failures:
            files.write_atomically(failures, _failures_text(stored.failures))
        if not stored.ids:
            shutil.rmtree(directory)
            raise InputError(
                f"None of the {len(stored.failures)} videos can be decoded: {failures} has the"
                " reasons."
            )
        temporary = os.path.join(directory, "output")
        write(temporary, stored)
        os.replace(temporary, output)
        shutil.rmtree(directory)
    return dataclasses.replace(stored, values=np.empty((0, *row), np.float32))


def features_of(backbone: keras.Model, views: EvaluationViews) -> Network:
    """The pooled features (n, D) of a backbone, in inference mode."""
    return Network(
        lambda clips: backbone(clips, training=False),
        backbone.output_shape[-1],
        "pooled features",
        [backbone],
        views,
    )


def _failures_text(failures: Sequence[Failure]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(failures[0].row()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(failure.row() for failure in sorted(failures, key=lambda one: one.video_id))
    return text.getvalue()


def _write_npz(path: str, stored: StoredFeatures, class_names: Sequence[str] = ()) -> None:
    """`features` (N, V, D) float32, `labels` (N,) int64, -1 where there is none, `ids` (N,).

    And `class_names` (C,), if there are any.
    """
    arrays = {"features": stored.values, "labels": stored.labels, "ids": np.array(stored.ids)}
    if class_names:
        arrays["class_names"] = np.array(class_names)
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def _write_tfrecord(path: str, stored: StoredFeatures, class_names: Sequence[str] = ()) -> None:
    """A `tf.train.Example` for each video.

    `features`, V * D floats; `features/shape`; `example/id`; and where there is one,
    `clip/label/index`, with `clip/label/text` if there are class names.
    """

    def feature(**values: Any) -> tf.train.Feature:
        ((kind, value),) = values.items()
        return tf.train.Feature(**{kind: value})

    with tf.io.TFRecordWriter(path) as writer:
        for values, label, video_id in zip(stored.values, stored.labels, stored.ids, strict=True):
            context = {
                FEATURES_KEY: feature(float_list=tf.train.FloatList(value=values.ravel())),
                SHAPE_KEY: feature(int64_list=tf.train.Int64List(value=values.shape)),
                records.ID_KEY: feature(bytes_list=tf.train.BytesList(value=[video_id.encode()])),
            }
            if label >= 0:
                context[records.LABEL_KEY] = feature(int64_list=tf.train.Int64List(value=[label]))
                if class_names:
                    name = tf.train.BytesList(value=[class_names[label].encode()])
                    context[records.LABEL_NAME_KEY] = feature(bytes_list=name)
            example = tf.train.Example(features=tf.train.Features(feature=context))
            writer.write(example.SerializeToString())


FEATURE_WRITERS: Mapping[str, Callable[..., None]] = {
    ".npz": _write_npz,
    ".tfrecord": _write_tfrecord,
}
