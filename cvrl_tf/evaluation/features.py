"""Features of a frozen backbone: evenly spaced clips, uniform crops, no augmentation."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf.data.source import IndexedSource
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import feature_store
from cvrl_tf.evaluation.feature_store import StoredFeatures
from cvrl_tf.evaluation.inference import Computation, OmittedRecords, map_records
from cvrl_tf.evaluation.report import fingerprint_weights
from cvrl_tf.evaluation.views import EvaluationViews


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of a data set.

    Attributes:
      values: (N, D) float32, of Euclidean norm 1; of others, float16 too, or mapped from a file.
      labels: (N,) int64, class indices.
      ids: N record ids.
    """

    values: np.ndarray
    labels: np.ndarray
    ids: list[str]


@dataclasses.dataclass(frozen=True)
class FrozenFeatures:
    """The features of the paper's linear evaluation: in inference mode, with norm 1.

    Attributes:
      backbone: from clips (n, T, H, W, 3) to features (n, D).
    """

    backbone: keras.Model

    def __call__(self, clips: tf.Tensor) -> tf.Tensor:
        """Features (n, D) of clips (n, T, H, W, 3) in [0, 1]."""
        return tf.math.l2_normalize(self.backbone(clips, training=False), axis=1)

    @property
    def computation(self) -> Computation:
        """For all views of all videos."""
        return Computation(self, (self.backbone,))


def extract_features(
    backbone: keras.Model,
    videos: IndexedSource,
    views: EvaluationViews,
    description: str = "features",
    omitted: OmittedRecords | None = None,
) -> Features:
    """Computes the feature of labelled videos: the mean over views of the normalised features.

    Args:
      backbone: from clips (N, T, H, W, 3) to features (N, D); run in inference mode.
      videos: what to read, checked with `checks.check_shards`.
      views: the views of each video.
      description: for the progress bar.
      omitted: gets the records that cannot be read; None where such a record is an error.

    Returns:
      Features in the order of the records.

    Raises:
      InputError: a record that is damaged or not in the layout, unless it is omitted; or a record
        without a label.
    """
    values = np.empty((len(videos), backbone.output_shape[-1]), np.float32)
    labels: list[int] = []
    ids: list[str] = []
    computation = FrozenFeatures(backbone).computation
    for video in map_records(computation, videos, views, description, omitted=omitted):
        if video.label < 0:
            raise InputError(
                f"The record '{video.id}' of {videos.name} has no label: evaluation needs labelled"
                " records; convert with class folders or lists."
            )
        mean = video.values.mean(axis=0)
        values[len(ids)] = mean / max(np.linalg.norm(mean), 1e-12)
        labels.append(video.label)
        ids.append(video.id)
    if not ids:
        raise InputError(f"None of the {len(videos)} records of {videos.name} can be read.")
    return Features(values[: len(ids)], np.array(labels, np.int64), ids)


def identify(
    models: Sequence[keras.Model], features: str, dtype: str, data: str, views: EvaluationViews
) -> dict[str, Any]:
    """What decides the features that are stored, as `feature_store.open_store` takes it.

    Args:
      models: that compute them.
      features: which of their outputs.
      dtype: of the file.
      data: fingerprint of the videos.
      views: of each.
    """
    return {
        "features": features,
        "dtype": dtype,
        "weights": fingerprint_weights(*models),
        "precision": sorted({layer.compute_dtype for model in models for layer in model.layers}),
        "data": data,
        "views": views.as_json(),
    }


def cached_features(
    backbone: keras.Model,
    videos: IndexedSource,
    views: EvaluationViews,
    cache_dir: str,
    description: str = "features",
) -> StoredFeatures:
    """The normalised features of all views of each video, computed once and kept on disk.

    They are stored in a directory of `cache_dir` whose name depends on the weights, the
    precision, the content of the records and the views, so features of another checkpoint or other
    data are never confused with them. A stopped computation resumes after the last complete
    video.

    Args:
      backbone: from clips (N, T, H, W, 3) to features (N, D); run in inference mode.
      videos: what to read, checked with `checks.check_shards`.
      views: the views of each video.
      cache_dir: local directory, made when needed.
      description: for the progress bar.

    Returns:
      (N, V, D) float16 of norm 1, mapped from the file, in the order of the records; V views of
      each, all crops of the first clip first.

    Raises:
      InputError: a record that is damaged or not in the layout; another process computes the same.
    """
    identity = identify(
        [backbone], "pooled, of norm 1", "float16", videos.index.fingerprint(), views
    )
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    directory = os.path.join(cache_dir, name)
    row = len(views), backbone.output_shape[-1]
    with feature_store.open_store(directory, identity, row) as store:
        if not store.complete:
            computation = FrozenFeatures(backbone).computation
            for video in map_records(
                computation, videos, views, description, first_video=len(store.ids)
            ):
                store.append(video.values, video.label, video.id)
            store.finish()
        return store.read()
