"""Features of a frozen backbone: evenly spaced clips, centre crop, no augmentation."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf.data import records
from cvrl_tf.data.pipeline import ClipSpec
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation.views import sample_views
from cvrl_tf.progress import Progress


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of a data set.

    Attributes:
      values: (N, D) float32, of Euclidean norm 1.
      labels: (N,) int64, class indices.
      ids: N record ids.
    """

    values: np.ndarray
    labels: np.ndarray
    ids: list[str]


def extract_features(
    backbone: keras.Model,
    source: Source,
    clip: ClipSpec,
    num_clips: int,
    batch_size: int = 16,
    description: str = "features",
) -> Features:
    """Computes the feature of each video: the mean over its clips of the normalised features.

    Args:
      backbone: from clips (N, T, H, W, 3) to features (N, D); run in inference mode.
      source: what to read, checked with `pipeline.check_shards`.
      clip: the clips to be taken.
      num_clips: evenly spaced clips of each video.
      batch_size: videos at a time.
      description: for the progress bar.

    Returns:
      Features in the order of the records.

    Raises:
      InputError: a record without a label, or a shard that is damaged or not in the layout.
    """
    num_videos = source.count_records()

    def views(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        record = source.parse(serialized)
        return sample_views(record["frames"], clip, num_clips), record["label"], record["id"]

    views_shape = [None, num_clips, clip.frames, clip.size, clip.size, 3]

    # One trace: the last batch is smaller.
    @tf.function(input_signature=[tf.TensorSpec(views_shape, tf.float32)])
    def compute(batch: tf.Tensor) -> tf.Tensor:
        clips = tf.reshape(batch, [-1, *batch.shape[2:]])
        normalized = tf.math.l2_normalize(backbone(clips, training=False), axis=1)
        mean = tf.reduce_mean(tf.reshape(normalized, [-1, num_clips, normalized.shape[1]]), axis=1)
        return tf.math.l2_normalize(mean, axis=1)

    dataset = (
        tf.data.TFRecordDataset(list(source.paths))
        .map(views, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(2)
    )
    values, labels, ids = [], [], []
    with (
        Progress(description, num_videos, "video") as progress,
        records.naming_bad_records(source.name),
    ):
        for batch, batch_labels, batch_ids in dataset:
            values.append(compute(batch).numpy())
            labels.append(batch_labels.numpy())
            ids += [record_id.decode() for record_id in batch_ids.numpy()]
            progress.update(len(batch_labels))
    labels = np.concatenate(labels)
    if np.any(labels < 0):
        first = ids[int(np.argmax(labels < 0))]
        raise InputError(
            f"{np.sum(labels < 0)} of {num_videos} records of {source.name} have no"
            f" label, the first is '{first}': evaluation needs labelled records; convert with class"
            " folders or lists."
        )
    return Features(np.concatenate(values), labels, ids)
