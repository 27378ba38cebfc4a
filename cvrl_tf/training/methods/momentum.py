"""A momentum encoder: clips predict the embeddings of other clips by a moving average.

    queries: clips -> backbone -> projection head -> predictor
    keys:    clips -> average of the backbone -> average of the head, without gradients

`loss="infonce"` contrasts each query with the keys of the global batch, which is MoCo v3 (Chen et
al., arXiv 2104.02057) without a queue. `loss="byol"` only compares it with keys of its own video
(Grill et al., arXiv 2006.07733). On clips of videos: Feichtenhofer et al., arXiv 2104.14558.
"""

import itertools
import math

import tensorflow as tf

from cvrl_tf.models.heads import build_predictor
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.methods import similarity
from cvrl_tf.training.methods.cvrl import CVRL
from cvrl_tf.training.methods.method import Figures, Method
from cvrl_tf.training.precision import DTYPE_POLICIES


class MomentumEncoder(Method):
    """The networks of CVRL, their moving average, and a predictor.

    The average has batch statistics of its own: in training those of the global batch, and moving
    ones, which follow the keys.

    Args:
      config: of the run.
      layers: that the networks are built of, as of `build_backbone`.
    """

    def __init__(self, config: PretrainConfig, layers: str = "clip"):
        self._online, self._average = CVRL(config, layers), CVRL(config, layers)
        self.backbone = self._online.backbone
        units = self._online.head.layers[1].units
        policy = DTYPE_POLICIES[config.precision]
        self.predictor = build_predictor(units, policy, config.seed, layers)
        self.trained = {**self._online.trained, "predictor": self.predictor}
        self.untrained = {
            f"momentum_{name}": network for name, network in self._average.trained.items()
        }
        self._config = config

    def start(self) -> None:
        """See `Method`; the average starts as a copy."""
        for name, network in self._online.trained.items():
            self._average.trained[name].set_weights(network.get_weights())

    def embed(self, features: tf.Tensor) -> tf.Tensor:
        """See `Method`; the queries."""
        return self.predictor(self._online.embed(features), training=True)

    def keys(self, clips: tf.Tensor) -> tf.Tensor:
        """See `Method`; of the average."""
        features = self._average.backbone(clips, training=True)
        return tf.stop_gradient(self._average.embed(features))

    def loss(self, embeddings: tf.Tensor, keys: tf.Tensor | None) -> tuple[tf.Tensor, Figures]:
        """See `Method`.

        Each ordered pair of different views of a video is a query and its key. The loss is twice
        the mean over all of them; with K = 2 that is the sum of both directions.
        """
        queries = [tf.math.l2_normalize(view, axis=1) for view in tf.unstack(embeddings)]
        own_keys = [tf.math.l2_normalize(view, axis=1) for view in tf.unstack(keys)]
        all_keys, rows = similarity.gather(own_keys)
        pairs = list(itertools.permutations(range(len(queries)), 2))
        logits = {
            (view, other): tf.matmul(queries[view], all_keys[other], transpose_b=True)
            / self._config.temperature
            for view, other in pairs
        }
        if self._config.loss == "byol":
            losses = [byol(queries[view], own_keys[other]) for view, other in pairs]
        else:
            losses = [
                tf.nn.sparse_softmax_cross_entropy_with_logits(rows, logits[pair]) for pair in pairs
            ]
        loss = tf.reduce_mean(tf.add_n(losses)) * (2.0 / len(pairs))
        figures = similarity.figures(logits[0, 1], rows, all_keys[0], self._config.temperature)
        return loss, figures

    def after_update(self, done: tf.Tensor) -> None:
        """See `Method`; moves the average."""
        share = 1.0 - self._config.momentum_encoder  # of the weights, in their average
        if self._config.anneal_momentum:
            share *= annealing(done)
        for name, network in self._online.trained.items():
            averages = self._average.trained[name].trainable_variables
            for average, weight in zip(averages, network.trainable_variables, strict=True):
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=average.value.handle,  # this replica's
                    alpha=share,
                    delta=average.value - weight.value,
                )


def byol(queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """The squared distances (n,) of normalised queries (n, D) and keys (n, D), without negatives.

    Source: arXiv 2006.07733, equation 2.
    """
    return 2.0 - 2.0 * tf.reduce_sum(queries * keys, axis=1)


def annealing(done: tf.Tensor) -> tf.Tensor:
    """The factor of 1 - momentum, scalar float32: a cosine from 1 to 0 at the end of the run.

    Args:
      done: fraction of the steps of the run that is finished.

    Source: arXiv 2006.07733, section 3.3.
    """
    return 0.5 * (1.0 + tf.cos(math.pi * done))
