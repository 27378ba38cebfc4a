import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cvrl_tf.data.stream import Order
from cvrl_tf.evaluation import linear
from cvrl_tf.models.heads import build_classifier
from cvrl_tf.training.config import SupervisedConfig


def _features(num_videos, num_clips, noise):
    """Float16 unit vectors (N, V, 3) around the axis of each video's class, 0, 1, 2, 0, ..."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_videos) % 3
    values = np.eye(3)[labels][:, None] + noise * rng.normal(size=(num_videos, num_clips, 3))
    return (values / np.linalg.norm(values, axis=2, keepdims=True)).astype("float16"), labels


def test_sgd_is_that_of_the_paper_by_hand():
    features, labels = _features(6, 1, noise=0.3)
    config = SupervisedConfig(
        train_data="",
        num_classes=3,
        frozen=True,
        batch_size=4,  # the second batch straddles two epochs
        epochs=2.0,
        learning_rate=2.0,
        warmup_epochs=0.7,  # one step
        seed=5,
    )
    classifier = linear.fit_sgd(config, features, labels)
    order = [Order(5).of_epoch(epoch, 6)(np.arange(6)).numpy() for epoch in range(2)]
    batches = np.concatenate(order).reshape(3, 4)
    kernel, bias = (weight.numpy() for weight in build_classifier(3, 3, seed=5).weights)
    momenta = [0.0, 0.0]
    values = features[:, 0].astype("float32")
    for step, batch in enumerate(batches):
        logits = values[batch] @ kernel + bias
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        error = (probabilities - np.eye(3)[labels[batch]]) / 4
        gradients = [values[batch].T @ error, error.sum(axis=0)]
        rate = 0.0 if step == 0 else 1 + np.cos(np.pi * step / 3)
        momenta = [0.9 * m - rate * g for m, g in zip(momenta, gradients, strict=True)]
        kernel, bias = kernel + momenta[0], bias + momenta[1]
    logits = values @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(linear.predict(classifier, features), expected, atol=1e-5)


def test_each_epoch_takes_one_drawn_clip_of_each_video(monkeypatch):
    features, labels = _features(6, 4, noise=0.3)
    taken = []

    class Watched(np.ndarray):
        def __getitem__(self, key):
            taken.append(key)
            return np.asarray(self)[key]

    config = SupervisedConfig(
        train_data="", num_classes=3, frozen=True, batch_size=3, epochs=40.0, learning_rate=1.0
    )
    linear.fit_sgd(config, features.view(Watched), labels)
    videos, clips = (np.concatenate(part) for part in zip(*taken, strict=True))
    assert [sorted(epoch) for epoch in videos.reshape(40, 6)] == [list(range(6))] * 40
    counts = np.bincount(clips, minlength=4)  # 240 draws of 4: 60 +- 6.7
    assert len(counts) == 4 and np.all(np.abs(counts - 60) < 27)


@pytest.mark.parametrize("fit", ["sgd", "logistic_regression"])
def test_both_separate_classes_and_average_the_softmax_of_views(fit):
    features, labels = _features(30, 2, noise=0.1)
    if fit == "sgd":
        config = SupervisedConfig(
            train_data="", num_classes=3, frozen=True, batch_size=30, epochs=50.0, learning_rate=8.0
        )
        classifier = linear.fit_sgd(config, features, labels)
    else:
        classifier = linear.fit_logistic_regression(features, labels)
    probabilities = linear.predict(classifier, features)
    assert np.argmax(probabilities, axis=1).tolist() == labels.tolist()
    views = [features[:, view : view + 1] for view in range(2)]
    single = np.stack([linear.predict(classifier, view) for view in views])
    np.testing.assert_allclose(probabilities, single.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)


def test_a_class_without_training_videos_has_probability_0():
    features, labels = _features(12, 1, noise=0.1)
    classifier = linear.fit_logistic_regression(features, 2 * labels)  # 0, 2, 4
    probabilities = linear.predict(classifier, features)
    assert probabilities.shape == (12, 5)
    assert np.argmax(probabilities, axis=1).tolist() == (2 * labels).tolist()
    assert tf.reduce_max(probabilities[:, [1, 3]]) == 0


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_logistic_regression_is_that_of_scikit_learn(num_classes):
    features, labels = _features(40, 2, noise=0.5)
    features, labels = features[labels < num_classes], labels[labels < num_classes]
    flat = features.reshape(-1, 3).astype("float32")
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    pipeline.fit(flat, np.repeat(labels, 2))
    expected = pipeline.predict_proba(flat).reshape(-1, 2, num_classes).mean(axis=1)
    classifier = linear.fit_logistic_regression(features, labels)
    np.testing.assert_allclose(linear.predict(classifier, features), expected, atol=1e-5)
