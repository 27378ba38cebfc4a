import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.training.methods.cvrl import info_nce


def _reference(first, second, temperature):
    """InfoNCE from its definition, clip by clip, in float64."""
    clips = np.concatenate([first, second]).astype("float64")
    clips /= np.linalg.norm(clips, axis=1, keepdims=True)
    count = len(first)
    total = 0.0
    for index in range(2 * count):
        logits = clips @ clips[index] / temperature
        positive = logits[(index + count) % (2 * count)]
        total += np.log(np.exp(np.delete(logits, index)).sum()) - positive
    return total / count


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(5)
    first = rng.normal(size=(8, 16)).astype("float32")
    return first, (first + rng.normal(size=(8, 16))).astype("float32")


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_is_the_sum_of_both_directions(embeddings, temperature):
    loss, _ = info_nce([*map(tf.constant, embeddings)], temperature)
    assert float(loss) == pytest.approx(_reference(*embeddings, temperature), rel=1e-5)


def test_loss_of_three_views_is_that_of_the_definition():
    """Every ordered pair of views; the third clip of the same video is in no denominator."""
    rng = np.random.default_rng(1)
    clips = rng.normal(size=(3, 4, 8))
    found, _ = info_nce([tf.constant(view, tf.float32) for view in clips], 0.3)
    clips /= np.linalg.norm(clips, axis=2, keepdims=True)
    terms = []
    for view, positive in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]:
        for video in range(4):
            logits = clips @ clips[view, video] / 0.3  # (3, 4): views and videos
            negatives = np.exp(np.delete(logits, video, axis=1)).sum()
            term = np.exp(logits[positive, video])
            terms.append(-np.log(term / (term + negatives)))
    assert float(found) == pytest.approx(2 * np.mean(terms), rel=1e-5)


def _earlier_info_nce(first, second, temperature):
    """The loss of two views on one replica, as it was before there could be more."""
    first, second = tf.math.l2_normalize(first, axis=1), tf.math.l2_normalize(second, axis=1)
    twins = tf.range(tf.shape(first)[0])
    self_logits = -1e9 * tf.one_hot(twins, tf.shape(first)[0])
    to_second = tf.matmul(first, second, transpose_b=True) / temperature
    to_first = tf.matmul(second, first, transpose_b=True) / temperature
    to_own = tf.matmul(first, first, transpose_b=True) / temperature + self_logits
    first_logits = tf.concat([to_second, to_own], axis=1)
    to_own = tf.matmul(second, second, transpose_b=True) / temperature + self_logits
    second_logits = tf.concat([to_first, to_own], axis=1)
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(twins, first_logits)
        + tf.nn.sparse_softmax_cross_entropy_with_logits(twins, second_logits)
    )


@pytest.mark.parametrize("count", [2, 5, 32])
def test_loss_of_two_views_is_that_of_earlier_versions_bit_for_bit(count):
    views = np.random.default_rng(count).normal(size=(2, count, 128)).astype("float32")

    @tf.function
    def run(loss_of):
        first, second = map(tf.constant, views)
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            loss = loss_of(first, second)
        return loss, *tape.gradient(loss, [first, second])

    expected = run(lambda first, second: _earlier_info_nce(first, second, 0.1))
    found = run(lambda first, second: info_nce([first, second], 0.1)[0])
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_figures_of_a_case_by_hand():
    # Four orthogonal videos; the last clip of the second view points to the third video.
    first = tf.eye(4)
    second = tf.gather(tf.eye(4), [0, 1, 2, 2])
    loss, figures = info_nce([first, second], temperature=1.0)
    assert float(figures["contrast_accuracy"]) == pytest.approx(0.75)
    # Rows of first x second: (1,0,0,0), (0,1,0,0), (0,0,1,1), (0,0,0,0).
    one = np.exp([1, 0, 0, 0]) / np.exp([1, 0, 0, 0]).sum()
    two = np.exp([0, 0, 1, 1]) / np.exp([0, 0, 1, 1]).sum()
    entropies = [-(p * np.log(p)).sum() for p in (one, one, two, np.full(4, 0.25))]
    assert float(figures["contrast_entropy"]) == pytest.approx(np.mean(entropies), rel=1e-5)
    assert float(loss) == pytest.approx(_reference(first.numpy(), second.numpy(), 1.0), rel=1e-5)


def test_scale_of_embeddings_does_not_matter(embeddings):
    first, second = embeddings
    loss, _ = info_nce([tf.constant(first), tf.constant(second)], 0.1)
    scaled, _ = info_nce([tf.constant(7 * first), tf.constant(0.1 * second)], 0.1)
    assert float(scaled) == pytest.approx(float(loss), rel=1e-5)


def _on_replicas(replicas, embeddings, temperature, tmp_path):
    """Loss, gradient, accuracy and entropy of the joint batch (2N, D) on some replicas."""
    if replicas == 1:
        embeddings = tf.constant(embeddings)
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            loss, figures = info_nce(tf.split(embeddings, 2), temperature)
        accuracy, entropy = figures["contrast_accuracy"], figures["contrast_entropy"]
        gradient = tape.gradient(loss, embeddings)
        return {"loss": loss, "gradient": gradient, "accuracy": accuracy, "entropy": entropy}
    source, target = tmp_path / "embeddings.npy", tmp_path / "result.npz"
    np.save(source, embeddings)
    program = pathlib.Path(__file__).parents[2] / "replicas_program.py"
    subprocess.run(
        [sys.executable, program, str(replicas), str(temperature), source, target],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    return np.load(target)


@pytest.mark.parametrize(("replicas", "temperature"), [(1, 0.1), (1, 0.5), (2, 0.1), (3, 0.5)])
def test_loss_and_gradient_are_those_of_the_authors(golden, tmp_path, replicas, temperature):
    values = golden("infonce")
    result = _on_replicas(replicas, values["embeddings"], temperature, tmp_path)
    for name, key in [("loss", "loss"), ("accuracy", "acc"), ("entropy", "entropy")]:
        assert float(result[name]) == pytest.approx(float(values[f"{key}_tau{temperature}"]), 1e-5)
    np.testing.assert_allclose(
        result["gradient"], values[f"grad_tau{temperature}"], rtol=0, atol=1e-5
    )


def test_four_replicas_equal_one(embeddings, tmp_path):
    joint = np.concatenate(embeddings)  # the authors' twelve embeddings do not divide by four
    expected = _on_replicas(1, joint, 0.1, tmp_path)
    result = _on_replicas(4, joint, 0.1, tmp_path)
    for name in ("loss", "accuracy", "entropy"):
        assert float(result[name]) == pytest.approx(float(expected[name]), 1e-5)
    np.testing.assert_allclose(result["gradient"], expected["gradient"], rtol=0, atol=1e-5)
