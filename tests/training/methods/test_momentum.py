import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.models.normalization import ClipBatchNormalization
from cvrl_tf.models.rematerialization import REMAT
from cvrl_tf.models.resnet3d import BACKBONES, Architecture
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer
from cvrl_tf.training.methods import build_method
from cvrl_tf.training.methods.cvrl import CVRL
from cvrl_tf.training.methods.momentum import MomentumEncoder, annealing, byol


def _trainer(config, strategy, total_steps=4, **options):
    with strategy.scope():
        return ContrastiveTrainer(config, 0, total_steps, **options)


def _weights(method):
    """All variables by network and number."""
    networks = {**method.trained, **method.untrained}
    return {
        f"{name} {index} {variable.path}": variable.numpy()
        for name, network in networks.items()
        for index, variable in enumerate(network.variables)
    }


def _averaged(method):
    """Pairs of a trained weight and its average."""
    for name in ("backbone", "head"):
        yield from zip(
            method.trained[name].trainable_variables,
            method.untrained[f"momentum_{name}"].trainable_variables,
            strict=True,
        )


def _normalised(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def _reference(queries, keys, loss, temperature):
    """The loss from its definition, pair by pair, in float64; (K, n, D) arrays."""
    queries, keys = _normalised(queries.astype("float64")), _normalised(keys.astype("float64"))
    num_views, num_videos, _ = queries.shape
    terms = []
    for view in range(num_views):
        for other in set(range(num_views)) - {view}:
            for video in range(num_videos):
                query = queries[view, video]
                if loss == "byol":
                    terms.append(((query - keys[other, video]) ** 2).sum())
                    continue
                logits = keys[other] @ query / temperature
                terms.append(np.log(np.exp(logits).sum()) - logits[video])
    return 2 * np.mean(terms)


@pytest.mark.parametrize("loss", ["infonce", "byol"])
@pytest.mark.parametrize("num_views", [2, 3])
def test_loss_and_gradient_are_those_of_the_definition(tiny, loss, num_views):
    method = build_method(dataclasses.replace(tiny, loss=loss))
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(2, num_views, 3, 5)).astype("float32")
    embeddings = tf.constant(queries)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        found, _ = method.loss(embeddings, tf.constant(keys))
    assert float(found) == pytest.approx(_reference(queries, keys, loss, 0.1), rel=1e-5)
    gradient = tape.gradient(found, embeddings).numpy()
    for index in np.ndindex(queries.shape):
        step = np.zeros(queries.shape)
        step[index] = 1e-4
        above, below = (_reference(queries + s * step, keys, loss, 0.1) for s in (1, -1))
        assert gradient[index] == pytest.approx((above - below) / 2e-4, abs=1e-4)


def test_byol_of_a_case_by_hand():
    queries = tf.constant([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    keys = tf.constant([[1.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    np.testing.assert_allclose(byol(queries, keys), [0.0, 4.0, 0.8], atol=1e-6)


def test_annealing_ends_at_momentum_one():
    values = [float(annealing(tf.constant(done))) for done in (0.0, 1 / 3, 0.5, 1.0)]
    np.testing.assert_allclose(values, [1.0, 0.75, 0.5, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("anneal", "shares"), [(False, [0.1, 0.1]), (True, [0.1, 0.1 * 0.5 * (1 + np.sqrt(0.5))])]
)
def test_the_average_after_two_steps(tiny, batches, one_replica, anneal, shares):
    trainer = _trainer(dataclasses.replace(tiny, anneal_momentum=anneal), one_replica)
    pairs = list(_averaged(trainer.method))
    expected = [average.numpy() for _, average in pairs]
    for value, (weight, _) in zip(expected, pairs, strict=True):
        np.testing.assert_array_equal(value, weight.numpy())
    inputs = batches(one_replica)
    for share in shares:
        assert float(trainer.step(next(inputs))["skipped"]) == 0.0
        for index, (weight, _) in enumerate(pairs):
            expected[index] = (1 - share) * expected[index] + share * weight.numpy()
    for value, (weight, average) in zip(expected, pairs, strict=True):
        np.testing.assert_allclose(average.numpy(), value, atol=1e-6)
        if weight.path.endswith("kernel"):
            assert np.abs(weight.numpy() - value).max() > 1e-4


def test_a_step_that_is_not_finite_does_not_move_the_average(tiny, batches, one_replica):
    trainer = _trainer(tiny, one_replica)
    inputs = batches(one_replica)
    trainer.step(next(inputs))
    before = _weights(trainer.method)
    batch = next(inputs)
    poisoned = batch._replace(views=(batch.views[0] * np.nan, batch.views[1]))
    assert float(trainer.step(poisoned)["skipped"]) == 1.0
    for name, value in _weights(trainer.method).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_no_gradient_reaches_the_average(tiny, batches, one_replica):
    method = build_method(tiny)
    (first, second) = next(batches(one_replica)).views
    averages = [weight for _, weight in _averaged(method)]
    with tf.GradientTape() as tape:
        embeddings = method.embed(method.backbone(first, training=True))
        keys = method.keys(second)
        loss, _ = method.loss(tf.stack([embeddings] * 2), tf.stack([keys] * 2))
    trained = [
        weight for network in method.trained.values() for weight in network.trainable_weights
    ]
    gradients = tape.gradient(loss, [weight.value for weight in averages + trained])
    assert all(gradient is None for gradient in gradients[: len(averages)])
    assert all(gradient is not None for gradient in gradients[len(averages) :])
    changed = {id(variable) for variable in _trainer(tiny, one_replica).variables}
    assert not changed & {id(weight) for weight in averages}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_two_replicas_train_like_one_with_the_joint_batch(
    tiny, batches, one_replica, two_replicas, momentum
):
    # A low rate, because the step scales rounding too.
    config = dataclasses.replace(tiny, momentum_encoder=momentum, learning_rate=0.01)
    results = []
    for strategy in (one_replica, two_replicas):
        trainer = _trainer(config, strategy)
        inputs = batches(strategy, num_views=3)
        results.append((float(trainer.step(next(inputs))["loss"]), _weights(trainer.method)))
    (one_loss, one), (two_loss, two) = results
    assert two_loss == pytest.approx(one_loss, rel=1e-5)
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=1e-5, err_msg=name)
    initial = _weights(build_method(config))
    moved = [name for name in one if np.any(one[name] != initial[name])]
    assert {name for name in one if name.endswith(("kernel", "moving_mean"))} <= {*moved}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_accumulated_gradients_are_those_of_the_whole_batch(tiny, batches, two_replicas, momentum):
    whole = dataclasses.replace(tiny, momentum_encoder=momentum, batch_size=12)
    results = []
    for accumulate in (1, 3):
        trainer = _trainer(dataclasses.replace(whole, accumulate=accumulate), two_replicas)
        networks = {**trainer.method.trained, **trainer.method.untrained}
        for network in networks.values():
            for layer in network.layers:
                if isinstance(layer, ClipBatchNormalization):
                    layer.trainable = False  # else statistics are those of micro-batches
        inputs = batches(two_replicas, num_views=3, num_videos=12, num_parts=accumulate)
        figures = trainer.step(*itertools.islice(inputs, accumulate))
        figures = {name: float(value) for name, value in figures.items()}
        results.append((figures, _weights(trainer.method)))
    (figures, expected), (found_figures, found) = results
    assert found_figures == pytest.approx(figures, rel=1e-4)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("loss", "accumulate"), [("infonce", 1), ("byol", 2)])
def test_recomputed_activations_train_the_same_on_two_replicas(
    tiny, batches, two_replicas, monkeypatch, loss, accumulate
):
    monkeypatch.undo()  # a backbone of one block, which has what is recomputed
    monkeypatch.setitem(BACKBONES, "one_block", Architecture((1, 0, 0, 0), 4))
    options = {"backbone": "one_block", "loss": loss, "accumulate": accumulate}
    config = dataclasses.replace(tiny, learning_rate=0.01, **options)
    results = []
    for remat in REMAT:
        trainer = _trainer(config, two_replicas, remat=remat)
        parts = itertools.islice(batches(two_replicas, num_parts=accumulate), accumulate)
        loss_value = float(trainer.step(*parts)["loss"])
        results.append((loss_value, _weights(trainer.method)))
    expected_loss, expected = results[0]
    for found_loss, found in results[1:]:
        assert found_loss == pytest.approx(expected_loss, rel=1e-6)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    initial = _weights(build_method(config))
    assert all(np.any(expected[name] != initial[name]) for name in expected if "conv" in name)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision(tiny, batches, one_replica, precision):
    config = dataclasses.replace(tiny, precision=precision, accumulate=2)
    parts = list(itertools.islice(batches(one_replica, num_parts=2), 2))
    exact = _trainer(dataclasses.replace(config, precision="float32"), one_replica)
    expected = float(exact.step(*parts)["loss"])
    trainer = _trainer(config, one_replica)
    if precision == "float16":
        trainer._loss_scale.scale.assign(16.0)
    figures = trainer.step(*parts)
    assert float(figures["loss"]) == pytest.approx(expected, rel=0.05)
    assert float(figures["skipped"]) == 0.0
    weights = _weights(trainer.method)
    assert {value.dtype for name, value in weights.items() if "seed" not in name} == {
        np.dtype("float32")
    }


def test_the_average_starts_as_a_copy(tiny):
    method = build_method(tiny)
    for network in method.trained.values():
        network.set_weights([value + 1.0 for value in network.get_weights()])
    method.start()
    for name in ("backbone", "head"):
        for one, two in zip(
            method.trained[name].variables,
            method.untrained[f"momentum_{name}"].variables,
            strict=True,
        ):
            np.testing.assert_array_equal(one.numpy(), two.numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum_encoder": 1.0}, r"^momentum_encoder=1.0, expected 0 <= momentum < 1"),
        ({"momentum_encoder": -0.1}, r"^momentum_encoder=-0.1, expected"),
        ({"momentum_encoder": float("nan")}, r"^momentum_encoder=nan, expected"),
        ({"momentum_encoder": 0.0, "loss": "byol"}, r"^loss=byol without a momentum encoder"),
        (
            {"momentum_encoder": 0.0, "anneal_momentum": True},
            r"^anneal_momentum without a momentum encoder",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(tiny, change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(tiny, **change).check(100, 1)


def test_the_configuration_chooses_the_method(tiny):
    assert isinstance(build_method(tiny), MomentumEncoder)
    assert isinstance(build_method(dataclasses.replace(tiny, momentum_encoder=0.0)), CVRL)
    names = [
        dataclasses.replace(tiny, momentum_encoder=m, loss=loss).method
        for m, loss in [(0.0, "infonce"), (0.9, "infonce"), (0.9, "byol")]
    ]
    assert names == ["cvrl", "moco", "byol"]
