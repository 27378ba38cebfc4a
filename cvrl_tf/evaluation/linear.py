"""Linear classifiers on stored features of a frozen backbone: the fast linear evaluation.

Each video has clips, each with its feature. A clip is a sample in training, as in the paper's
protocol, but without augmentation; in testing the softmax of a video's views is averaged.
"""

import warnings

import keras
import numpy as np
import tensorflow as tf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cvrl_tf.data.sampling import Purpose, fold
from cvrl_tf.data.stream import Order
from cvrl_tf.models.heads import build_classifier
from cvrl_tf.progress import Progress
from cvrl_tf.training.config import SupervisedConfig
from cvrl_tf.training.optimizer import build_optimizer
from cvrl_tf.training.schedule import WarmupCosine
from cvrl_tf.training.supervised import cross_entropy

LOGISTIC_ITERATIONS = 2000
CHUNK = 512  # videos classified at a time
ABSENT_LOGIT = -1e9  # of a class without training videos: its probability is 0


def fit_sgd(config: SupervisedConfig, features: np.ndarray, labels: np.ndarray) -> keras.Model:
    """Trains the classifier of the linear evaluation with its SGD, on stored features.

    Each epoch contains each video once, with a randomly drawn clip, in the order of the stream that
    training on videos uses.

    Args:
      config: classes, schedule and seed.
      features: (N, V, D) floats of norm 1, of V clips of N videos; may be mapped from a file.
      labels: (N,) int64.

    Returns:
      The classifier, of `heads.build_classifier`.

    Source: paper section 4.2.
    """
    num_videos, num_clips, size = features.shape
    total_steps = config.steps_of(config.epochs, num_videos)
    warmup_steps = config.steps_of(config.warmup_epochs, num_videos)
    classifier = build_classifier(size, config.num_classes, config.seed)
    schedule = WarmupCosine(config.learning_rate, warmup_steps, total_steps)
    optimizer = build_optimizer("sgd", [classifier], schedule, weight_decay=0.0)

    @tf.function(
        input_signature=[
            tf.TensorSpec([config.batch_size, size]),
            tf.TensorSpec([config.batch_size], tf.int64),
            tf.TensorSpec([], tf.int64),
        ]
    )
    def train(batch: tf.Tensor, batch_labels: tf.Tensor, step: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = cross_entropy(classifier(batch), batch_labels, smoothing=0.0)
        optimizer.apply(tape.gradient(loss, classifier.trainable_variables), step)

    order = Order(config.seed)
    videos, clips, epoch = np.empty(0, int), np.empty(0, int), 0
    with Progress("linear classifier", total_steps, "step") as progress:
        for step in range(total_steps):
            while len(videos) < config.batch_size:
                draws = tf.random.stateless_uniform(
                    [num_videos],
                    fold(order.epoch_seed(epoch), Purpose.FIRST_START),
                    0,
                    num_clips,
                    tf.int32,
                )
                numbers = order.of_epoch(epoch, num_videos)(np.arange(num_videos)).numpy()
                videos = np.concatenate([videos, numbers])
                clips = np.concatenate([clips, draws.numpy()[numbers]])
                epoch += 1
            batch, videos = np.split(videos, [config.batch_size])
            batch_clips, clips = np.split(clips, [config.batch_size])
            train(features[batch, batch_clips].astype("float32"), labels[batch], step)
            progress.update()

    return classifier


def fit_logistic_regression(features: np.ndarray, labels: np.ndarray) -> keras.Model:
    """Multinomial logistic regression on standardised features, scikit-learn's with C = 1.

    Args:
      features: (N, V, D) floats, of V clips of N videos; all are in memory twice, as float32.
      labels: (N,) int64.

    Returns:
      The same function of features that are not standardised, as `heads.build_classifier` makes it
      for all classes up to the largest label. Classes without videos have probability 0.
    """
    num_clips = features.shape[1]
    scaler = StandardScaler().fit(_flat(features))
    regression = LogisticRegression(max_iter=LOGISTIC_ITERATIONS)
    with warnings.catch_warnings():
        # Iterations that have not converged to 1e-4 classify as well as more would.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(scaler.transform(_flat(features)), np.repeat(labels, num_clips))
    weights, intercepts = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # one logit, of the second class: that of the first is 0
        weights = np.concatenate([0 * weights, weights])
        intercepts = np.concatenate([0 * intercepts, intercepts])
    weights = weights.astype(np.float64) / scaler.scale_
    num_classes = int(regression.classes_.max()) + 1
    kernel = np.zeros((features.shape[2], num_classes))
    bias = np.full(num_classes, ABSENT_LOGIT)
    kernel[:, regression.classes_] = weights.T
    bias[regression.classes_] = intercepts - weights @ scaler.mean_
    classifier = build_classifier(len(kernel), num_classes)
    classifier.set_weights([kernel, bias])
    return classifier


def predict(classifier: keras.Model, features: np.ndarray) -> np.ndarray:
    """The mean over the views of each video of its class probabilities.

    Args:
      classifier: of `fit_sgd` or `fit_logistic_regression`.
      features: (N, V, D) floats; may be mapped from a file.

    Returns:
      (N, C) float32.
    """
    found = []
    for start in range(0, len(features), CHUNK):
        values = features[start : start + CHUNK]
        probabilities = tf.nn.softmax(classifier(_flat(values)))
        found.append(tf.reduce_mean(tf.reshape(probabilities, [*values.shape[:2], -1]), axis=1))
    return np.concatenate(found)


def _flat(features: np.ndarray) -> np.ndarray:
    """(N, V, D) of any type as (N * V, D) float32."""
    return features.reshape(-1, features.shape[2]).astype("float32")
