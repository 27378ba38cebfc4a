"""Features of videos as a file for other programs, from records or straight from video files.

Both go through a `feature_store` beside the output, so that an extraction that was stopped goes on.
"""

import collections
import concurrent.futures
import csv
import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf import environment, files
from cvrl_tf.conversion import frames
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.data import records
from cvrl_tf.data.source import IndexedSource
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import feature_store
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
) -> StoredFeatures:
    """Writes the features of video files, decoded as the conversion to records does.

    A video that cannot be decoded is left out; `OUTPUT.failures.csv` lists those with the reason,
    and damaged ones that were used (kept=yes).

    Args:
      backbone: as for `from_records`.
      entries: the files; their ids are unique.
      views: as for `from_records`.
      output: as for `from_records`.

    Returns:
      What was written; its values are gone.

    Raises:
      InputError: no video can be decoded, or a store beside `output` of something else.
    """
    settings = frames.Settings(short_side=max(frames.SHORT_SIDE, views.clip.size))

    def add(store: FeatureStore) -> None:
        known = {*store.ids, *store.failures}
        left = [entry for entry in entries if entry.video_id not in known]
        with Progress(_DESCRIPTION, len(entries), "video", initial=len(known)) as progress:

            def note(entry: Entry, reason: str, kept: bool) -> None:
                store.note_damage(entry.video_id, reason, kept)
                progress.update(0 if kept else 1, left_out=len(store.failures))

            videos = _decoded(left, settings, note)
            for values, label, video_id in map_videos(
                _pooled(backbone), videos, lambda video: video, views
            ):
                store.append(values, label, video_id)
                progress.update()

    digest = hashlib.sha256(repr(settings).encode())
    for entry in entries:
        size = tf.io.gfile.stat(entry.path).length if tf.io.gfile.exists(entry.path) else -1
        digest.update(f"{entry.video_id}\t{entry.path}\t{size}\n".encode())
    data = digest.hexdigest()[:16]
    return _extract(backbone, data, views, output, add)


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
        if stored.failures or stored.damaged:
            files.write_atomically(failures, _failures_text(stored))
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


def _failures_text(stored: StoredFeatures) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["video_id", "reason", "kept"])
    rows.writerows([*row, "no"] for row in stored.failures.items())
    rows.writerows([*row, "yes"] for row in stored.damaged.items())
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


def _decoded(
    entries: Sequence[Entry],
    settings: frames.Settings,
    note: Callable[[Entry, str, bool], None],
) -> tf.data.Dataset:
    """The videos as `records.parse` gives them; some are decoded ahead, each by a thread.

    Args:
      entries: the files.
      settings: of the decoding.
      note: told of a damaged video what is wrong, and whether it is used all the same.
    """

    def videos() -> Iterator[dict[str, Any]]:
        workers = environment.granted_cpus()
        waiting: collections.deque = collections.deque()
        following = iter(entries)
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            while True:
                while len(waiting) < 2 * workers and (entry := next(following, None)):
                    waiting.append((entry, pool.submit(frames.read_video, entry, settings)))
                if not waiting:
                    return
                entry, future = waiting.popleft()
                try:
                    video, damage = future.result()
                except frames.VideoError as error:
                    note(entry, str(error), False)
                    continue
                if damage:
                    note(entry, damage, True)
                yield {
                    "frames": video.frames,
                    "label": -1 if video.label is None else video.label,
                    "id": video.video_id,
                }

    return tf.data.Dataset.from_generator(
        videos,
        output_signature={
            "frames": tf.TensorSpec([None], tf.string),
            "label": tf.TensorSpec([], tf.int64),
            "id": tf.TensorSpec([], tf.string),
        },
    )
