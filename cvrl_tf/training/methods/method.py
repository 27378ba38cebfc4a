"""The interface between a method of self-supervised learning and the trainer."""

import abc

import keras
import tensorflow as tf

Figures = dict[str, tf.Tensor]


class Method(abc.ABC):
    """Networks, a loss over the views of a batch of videos, and what follows an update.

    `ContrastiveTrainer` does the rest, independently of the method: replicas, precision,
    micro-batches with cached gradients, recomputed activations, checkpoints. Networks are built in
    the scope of the strategy; all methods but `start` are called in replica context.

    Attributes:
      backbone: the network that is evaluated and exported, one of `trained`.
      trained: the networks that the loss trains, by their names in checkpoints.
      untrained: other networks of the method, by their names in checkpoints.
    """

    backbone: keras.Model
    trained: dict[str, keras.Model]
    untrained: dict[str, keras.Model] = {}

    @abc.abstractmethod
    def embed(self, features: tf.Tensor) -> tf.Tensor:
        """The embeddings of clips, in training; differentiated.

        Args:
          features: (m, F) float32, of `backbone`.

        Returns:
          (m, D) float32.
        """

    def keys(self, clips: tf.Tensor) -> tf.Tensor | None:
        """What the embeddings of other clips are compared with, if it is not embeddings.

        No gradient reaches it.

        Args:
          clips: (m, T, H, W, 3) float32 in [0, 1].

        Returns:
          (m, D) float32; None if embeddings are compared with each other.
        """
        return None

    @abc.abstractmethod
    def loss(self, embeddings: tf.Tensor, keys: tf.Tensor | None) -> tuple[tf.Tensor, Figures]:
        """The loss over the K views of this replica's n videos.

        Args:
          embeddings: (K, n, D) float32, of `embed`.
          keys: (K, n, D) float32, of `keys`.

        Returns:
          The loss, a scalar float32, and figures, scalars by name. Their means over replicas are
          those of the joint batch.
        """

    def start(self) -> None:
        """Called once, when `trained` has the weights that a new run starts from."""
        return

    def after_update(self, done: tf.Tensor) -> None:
        """Called after each change of the weights.

        Args:
          done: scalar float32, the fraction of the steps of the run that was finished before.
        """
        return
