"""CVRL: clips of one video attract each other, clips of different videos repel each other.

    clips -> backbone -> projection head -> InfoNCE over the clips of all replicas

Source: paper section 3.1.
"""

import itertools
from collections.abc import Sequence

import tensorflow as tf

from cvrl_tf.models import build_projection_head
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.methods import similarity
from cvrl_tf.training.methods.method import Figures, Method
from cvrl_tf.training.precision import DTYPE_POLICIES

EXCLUDED = -1e9  # the logit of a clip with a clip of the same video that is not its positive


class CVRL(Method):
    """A backbone and a projection head, trained by InfoNCE.

    Args:
      config: of the run.
      layers: that the networks are built of, as of `build_backbone`.
    """

    def __init__(self, config: PretrainConfig, layers: str = "clip"):
        policy = DTYPE_POLICIES[config.precision]
        self.backbone = config.build_backbone(policy, layers)
        size = self.backbone.output_shape[-1]
        self.head = build_projection_head(size, policy, config.seed, layers)
        self.trained = {"backbone": self.backbone, "head": self.head}
        self._temperature = config.temperature

    def embed(self, features: tf.Tensor) -> tf.Tensor:
        """See `Method`."""
        return self.head(features, training=True)

    def loss(self, embeddings: tf.Tensor, keys: tf.Tensor | None) -> tuple[tf.Tensor, Figures]:
        """See `Method`; embeddings are compared with each other."""
        return info_nce(tf.unstack(embeddings), self._temperature)


def info_nce(views: Sequence[tf.Tensor], temperature: float) -> tuple[tf.Tensor, Figures]:
    """Contrasts the K views of each video with the clips of other videos of the global batch.

    Each ordered pair of different views of a video is a clip and its positive. The negatives of the
    clip are all clips of all other videos, on all replicas; the other K - 2 clips of its own video
    are neither. Inside `tf.distribute` embeddings are gathered over replicas, so the mean of this
    loss over replicas is the loss of the joint batch.

    With K = 2 the loss is the sum of both directions, each a mean over the N videos, as in the
    released code. The paper's equation 1 is the mean over all 2N clips, which is half of it. The
    paper's formula with the released learning rate would make steps of half the size and, because
    the weight decay is added to the loss, would decay twice as strongly relative to the loss. With
    more views the loss is twice the mean over all ordered pairs, so its scale does not depend on K.

    Args:
      views: K tensors (n, D) float32, this replica's embeddings of each view, in the same order of
        videos, not normalised.
      temperature: divides the cosine similarities.

    Returns:
      The loss, a scalar float32, a mean over this replica's videos; and the figures of
      `similarity.figures`, of the first views and the second views.

    Source: paper section 3.1, equation 1. K clips: the positives of Feichtenhofer et al.,
    arXiv 2104.14558, with one term for each, outside of the logarithm, as L_out of SupCon (Khosla
    et al., arXiv 2004.11362), whose denominator also has the other positives.
    """
    clips = [tf.math.l2_normalize(view, axis=1) for view in views]
    all_clips, rows = similarity.gather(clips)
    same_video = EXCLUDED * tf.one_hot(rows, tf.shape(all_clips[0])[0])

    def similarities(view: int, other: int) -> tf.Tensor:
        return tf.matmul(clips[view], all_clips[other], transpose_b=True) / temperature

    numbers = range(len(clips))
    pairs = list(itertools.permutations(numbers, 2))
    logits = {pair: similarities(*pair) for pair in pairs}
    logits |= {(view, view): similarities(view, view) for view in numbers}
    losses = []
    for view, positive in pairs:
        others = [logits[view, other] + same_video for other in numbers if other != positive]
        candidates = tf.concat([logits[view, positive], *others], axis=1)
        losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(rows, candidates))
    loss = tf.reduce_mean(tf.add_n(losses)) * (2.0 / len(pairs))
    return loss, similarity.figures(logits[0, 1], rows, all_clips[0], temperature)
