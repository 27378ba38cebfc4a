"""Functions for methods that compare clips over all replicas."""

from collections.abc import Sequence

import tensorflow as tf

from cvrl_tf.training.methods.method import Figures


def gather(views: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The embeddings of the global batch. Their gradients reach all replicas.

    Args:
      views: K tensors (n, D), this replica's embeddings of each view.

    Returns:
      K tensors (N, D), of all replicas; and (n,) int32, the rows in them of this replica's videos.
    """
    context = tf.distribute.get_replica_context()
    num_local = tf.shape(views[0])[0]
    rows = context.replica_id_in_sync_group * num_local + tf.range(num_local)
    if context.num_replicas_in_sync == 1:
        return list(views), rows
    return [context.all_gather(view, 0) for view in views], rows


def figures(logits: tf.Tensor, rows: tf.Tensor, clips: tf.Tensor, temperature: float) -> Figures:
    """How well clips recognise another clip of their video among those of all videos.

    Args:
      logits: (n, N) float32, the cosines between the first views of this replica's videos and the
        second views of all videos, divided by `temperature`.
      rows: (n,) int32, the columns of the same videos.
      clips: (N, D) float32, normalised first views of all videos.
      temperature: of `logits`.

    Returns:
      Scalars float32: `contrast_accuracy`, in [0, 1], the fraction of first views whose nearest
      second view is that of the same video; `contrast_entropy`, in nats, of the softmax over the
      second views; `positive_similarity` and `negative_similarity`, the mean cosines with the
      second view of the same video and of other videos; `feature_std`, the mean standard deviation
      of the coordinates of `clips` times the square root of D: 1 if they are spread evenly, 0 if
      they have collapsed to a point.
    """
    cosines = logits * temperature
    positives = tf.gather(cosines, rows, axis=1, batch_dims=1)
    num_negatives = tf.cast(tf.shape(logits)[1] - 1, tf.float32)
    negatives = tf.math.divide_no_nan(tf.reduce_sum(cosines, axis=1) - positives, num_negatives)
    spread = tf.reduce_mean(tf.math.reduce_std(clips, axis=0))
    hits = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), rows)
    entropy = -tf.reduce_sum(tf.nn.softmax(logits) * tf.nn.log_softmax(logits), axis=1)
    return {
        "contrast_accuracy": tf.reduce_mean(tf.cast(hits, tf.float32)),
        "contrast_entropy": tf.reduce_mean(entropy),
        "positive_similarity": tf.reduce_mean(positives),
        "negative_similarity": tf.reduce_mean(negatives),
        "feature_std": spread * tf.sqrt(tf.cast(tf.shape(clips)[1], tf.float32)),
    }
