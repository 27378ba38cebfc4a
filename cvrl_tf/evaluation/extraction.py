"""Features of videos as a file for other programs, from records or straight from video files.

Both go through a `feature_store` beside the output, so that the same call resumes after a stop.
"""

import csv
import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.state import Failure
from cvrl_tf.conversion.workers import InProcess, WorkerPool
from cvrl_tf.data import records
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import feature_store
from cvrl_tf.evaluation.decoding import Decoding, settings_of
from cvrl_tf.evaluation.feature_store import FeatureStore, StoredFeatures
from cvrl_tf.evaluation.features import identify
from cvrl_tf.evaluation.inference import map_records, map_videos
from cvrl_tf.evaluation.views import EvaluationViews
from cvrl_tf.progress import Progress

FEATURES_KEY, SHAPE_KEY = "features", "features/shape"
_DESCRIPTION = "features"


def check_output(path: str) -> None:
    """Raises InputError unless `path` can be made: a local .npz or .tfrecord file."""
    if os.path.splitext(path)[1] not in _WRITERS:
        raise InputError(
            f"--output={path}: expected a name that ends in {' or '.join(_WRITERS)}, which says the"
            " format."
        )
    if files.is_remote(path):
        raise InputError(f"--output={path} is remote: expected a local file, to be copied then.")
    if os.path.exists(path):
        raise InputError(f"--output={path} exists: name a new file.")
    files.check_writable(path, f"--output={path}")


def from_records(
    backbone: keras.Model,
    videos: IndexedSource,
    views: EvaluationViews,
    output: str,
) -> StoredFeatures:
    """Writes the features of all records, in their order.

    Args:
      backbone: from clips (n, T, H, W, 3) to features (n, D); run in inference mode.
      videos: what to read, checked with `checks.check_shards`.
      views: the views of each video.
      output: the file, see `check_output`: .npz with `features` (N, V, D) float32, `labels` (N,)
        int64, -1 where there is none, and `ids` (N,); or .tfrecord with a `tf.train.Example` for
        each video: `features`, V * D floats, `features/shape`, `example/id` and, where there is
        one, `clip/label/index`.

    Returns:
      What was written; its values are gone.

    Raises:
      InputError: a record that cannot be read, or a store beside `output` of something else.
    """

    def add(store: FeatureStore) -> None:
        for video in map_records(
            _pooled(backbone), videos, views, _DESCRIPTION, first_video=len(store.ids)
        ):
            store.append(*video)

    return _extract(backbone, videos.index.fingerprint(), views, output, add)


def from_files(
    backbone: keras.Model,
    entries: Sequence[Entry],
    views: EvaluationViews,
    output: str,
    executor: WorkerPool | InProcess | None = None,
) -> StoredFeatures:
    """Writes the features of video files: those that their records would have.

    A video that cannot be decoded is skipped; `OUTPUT.failures.csv` lists those with the reason,
    and damaged ones that were used (kept=yes).

    Args:
      backbone: as for `from_records`.
      entries: the files; their ids are unique.
      views: as for `from_records`.
      output: as for `from_records`.
      executor: decodes the files; None for a process for each core. A process that hangs or dies
        at a file is replaced, and the file is a failure.

    Returns:
      What was written, without the values.

    Raises:
      InputError: no video can be decoded, or a store beside `output` of something else.
    """

    def add(store: FeatureStore) -> None:
        skipped = {failure.video_id for failure in store.failures.values() if not failure.kept}
        known = skipped.union(store.ids)
        left = [entry for entry in entries if entry.video_id not in known]
        with (
            executor or WorkerPool() as running,
            Progress(_DESCRIPTION, len(entries), "video", initial=len(known)) as progress,
        ):

            def note(failure: Failure) -> None:
                store.note_failure(failure)
                progress.update(int(not failure.kept), skipped=store.num_skipped)

            decoding = Decoding(left, views, running, note)
            videos = decoding.dataset()
            for video in map_videos(_pooled(backbone), videos, lambda video: video, views):
                store.append(*video)
                progress.update()
            decoding.check()

    digest = hashlib.sha256(repr(settings_of(views)).encode())
    for entry in entries:
        digest.update(f"{entry.video_id}\t{entry.path}\t{_size(entry.path)}\n".encode())
    return _extract(backbone, digest.hexdigest()[:16], views, output, add)


def _size(path: str) -> int:
    """Bytes of a file; -1 for one that cannot be reached, which is a failure when it is read."""
    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.OpError:
        return -1


def _pooled(backbone: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda clips: backbone(clips, training=False)


def _extract(
    backbone: keras.Model,
    data: str,
    views: EvaluationViews,
    output: str,
    add: Callable[[FeatureStore], None],
) -> StoredFeatures:
    """Fills the store beside the output, makes the output of it, and removes it."""
    check_output(output)
    identity = identify(backbone, "pooled", "float32", data, views)
    directory = f"{output}.partial"
    row = len(views), backbone.output_shape[-1]
    with feature_store.open_store(directory, identity, row) as store:
        if not store.complete:
            add(store)
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
        _WRITERS[os.path.splitext(output)[1]](temporary, stored)
        os.replace(temporary, output)
        shutil.rmtree(directory)
    return dataclasses.replace(stored, values=np.empty((0, *row), np.float32))


def _failures_text(failures: Sequence[Failure]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(failures[0].row()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(failure.row() for failure in sorted(failures, key=lambda one: one.video_id))
    return text.getvalue()


def _write_npz(path: str, stored: StoredFeatures) -> None:
    with open(path, "wb") as file:
        np.savez(file, features=stored.values, labels=stored.labels, ids=np.array(stored.ids))


def _write_tfrecord(path: str, stored: StoredFeatures) -> None:
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
            example = tf.train.Example(features=tf.train.Features(feature=context))
            writer.write(example.SerializeToString())


_WRITERS = {".npz": _write_npz, ".tfrecord": _write_tfrecord}
