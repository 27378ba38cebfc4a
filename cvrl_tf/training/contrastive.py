"""InfoNCE over the clips of all replicas (paper section 3.1, equation 1)."""

import tensorflow as tf

EXCLUDED = -1e9  # the logit of a clip with itself


def info_nce(
    first: tf.Tensor, second: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Contrasts the two views of each video with all other clips of the global batch.

    The positive of a clip is the other clip of the same video. The negatives are all clips of other
    videos, on all replicas. Inside `tf.distribute` embeddings are gathered over replicas, so the
    mean of this loss over replicas is the loss of the joint batch.

    The loss is the sum of both directions, each a mean over the N videos, as in the released code.
    The paper's equation 1 is the mean over all 2N clips, which is half of it. The paper's formula
    with the released learning rate would make steps of half the size and, because the weight decay
    is added to the loss, would decay twice as strongly relative to the loss.

    Args:
      first: (n, D) float32, this replica's embeddings of the first views, not normalised.
      second: (n, D) float32, its embeddings of the second views, in the same order.
      temperature: divides the cosine similarities.

    Returns:
      The loss, a scalar float32, a mean over this replica's videos; and figures of the first
      direction, scalars: `contrast_accuracy`, in [0, 1], the fraction of first views whose nearest
      second view is that of the same video; `contrast_entropy`, in nats, of the softmax over the
      second views; `positive_similarity` and `negative_similarity`, the mean cosines with the
      second view of the same video and of other videos; `feature_std`, the mean standard deviation
      of the coordinates of all normalised first views times the square root of D: 1 if they are
      spread evenly, 0 if they have collapsed to a point.
    """
    first, second = tf.math.l2_normalize(first, axis=1), tf.math.l2_normalize(second, axis=1)
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        all_first, all_second = context.all_gather(first, 0), context.all_gather(second, 0)
    else:
        all_first, all_second = first, second
    num_local = tf.shape(first)[0]
    twins = context.replica_id_in_sync_group * num_local + tf.range(num_local)
    self_logits = EXCLUDED * tf.one_hot(twins, tf.shape(all_first)[0])

    def similarities(clips: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        return tf.matmul(clips, others, transpose_b=True) / temperature

    to_second = similarities(first, all_second)
    to_first = similarities(second, all_first)
    first_logits = tf.concat([to_second, similarities(first, all_first) + self_logits], axis=1)
    second_logits = tf.concat([to_first, similarities(second, all_second) + self_logits], axis=1)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(twins, first_logits)
        + tf.nn.sparse_softmax_cross_entropy_with_logits(twins, second_logits)
    )
    cosines = to_second * temperature
    positives = tf.gather(cosines, twins, axis=1, batch_dims=1)
    num_negatives = tf.cast(tf.shape(all_second)[0] - 1, tf.float32)
    negatives = tf.math.divide_no_nan(tf.reduce_sum(cosines, axis=1) - positives, num_negatives)
    spread = tf.reduce_mean(tf.math.reduce_std(all_first, axis=0))
    hits = tf.equal(tf.argmax(to_second, axis=1, output_type=tf.int32), twins)
    entropy = -tf.reduce_sum(tf.nn.softmax(to_second) * tf.nn.log_softmax(to_second), axis=1)
    return loss, {
        "contrast_accuracy": tf.reduce_mean(tf.cast(hits, tf.float32)),
        "contrast_entropy": tf.reduce_mean(entropy),
        "positive_similarity": tf.reduce_mean(positives),
        "negative_similarity": tf.reduce_mean(negatives),
        "feature_std": spread * tf.sqrt(tf.cast(tf.shape(first)[1], tf.float32)),
    }
