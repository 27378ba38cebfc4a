import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.training.contrastive import info_nce


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
    loss, _ = info_nce(*map(tf.constant, embeddings), temperature)
    assert float(loss) == pytest.approx(_reference(*embeddings, temperature), rel=1e-5)


def test_figures_of_a_case_by_hand():
    # Four orthogonal videos; the last clip of the second view points to the third video.
    first = tf.eye(4)
    second = tf.gather(tf.eye(4), [0, 1, 2, 2])
    loss, figures = info_nce(first, second, temperature=1.0)
    assert float(figures["contrast_accuracy"]) == pytest.approx(0.75)
    # Rows of first x second: (1,0,0,0), (0,1,0,0), (0,0,1,1), (0,0,0,0).
    one = np.exp([1, 0, 0, 0]) / np.exp([1, 0, 0, 0]).sum()
    two = np.exp([0, 0, 1, 1]) / np.exp([0, 0, 1, 1]).sum()
    entropies = [-(p * np.log(p)).sum() for p in (one, one, two, np.full(4, 0.25))]
    assert float(figures["contrast_entropy"]) == pytest.approx(np.mean(entropies), rel=1e-5)
    assert float(loss) == pytest.approx(_reference(first.numpy(), second.numpy(), 1.0), rel=1e-5)


def test_scale_of_embeddings_does_not_matter(embeddings):
    first, second = embeddings
    loss, _ = info_nce(tf.constant(first), tf.constant(second), 0.1)
    scaled, _ = info_nce(tf.constant(7 * first), tf.constant(0.1 * second), 0.1)
    assert float(scaled) == pytest.approx(float(loss), rel=1e-5)


def test_replicas_give_loss_and_gradient_of_the_joint_batch(embeddings, two_replicas):
    first, second = map(tf.constant, embeddings)
    with tf.GradientTape() as tape:
        tape.watch([first, second])
        expected_loss, expected = info_nce(first, second, 0.1)
    expected_gradients = tape.gradient(expected_loss, [first, second])

    def rows(embeddings):
        return two_replicas.experimental_distribute_values_from_function(
            lambda context: tf.split(embeddings, 2)[context.replica_id_in_sync_group]
        )

    inputs = rows(first), rows(second)

    @tf.function
    def run():
        def step(first, second):
            with tf.GradientTape() as tape:
                tape.watch([first, second])
                loss, figures = info_nce(first, second, 0.1)
                objective = loss / 2
            return loss, figures["contrast_accuracy"], *tape.gradient(objective, [first, second])

        return two_replicas.run(step, args=inputs)

    losses, accuracies, *gradients = map(two_replicas.experimental_local_results, run())
    assert np.mean([float(loss) for loss in losses]) == pytest.approx(
        float(expected_loss), rel=1e-5
    )
    assert np.mean([float(value) for value in accuracies]) == pytest.approx(
        float(expected["contrast_accuracy"]), abs=1e-6
    )
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(np.concatenate(gradient), expected_gradient, atol=1e-5)
