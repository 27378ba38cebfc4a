import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.data import pipeline
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.stream import Order
from cvrl_tf.models.normalization import ClipBatchNormalization
from cvrl_tf.models.rematerialization import REMAT
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer
from cvrl_tf.training.methods import cvrl
from cvrl_tf.training.methods.cvrl import info_nce


def _batches(config, count, batch_size):
    videos = find_source(config.train_data, "train_data").indexed()
    return pipeline.pretraining_batches(videos, config.views, batch_size, Order(config.seed)).take(
        count
    )


def _inputs(config, strategy, num_parts=None):
    """The arguments of steps: parts of global batches, one for each micro-batch or more."""
    count = num_parts or config.accumulate
    parts = iter(
        strategy.distribute_datasets_from_function(
            lambda context: _batches(
                config, -1, context.get_per_replica_batch_size(config.batch_size) // count
            )
        )
    )
    while True:
        yield [next(parts) for _ in range(count)]


def _train(config, strategy, num_steps, remat="none", num_parts=None):
    """Losses and weights after some steps, by the trainer's own step."""
    with strategy.scope():
        trainer = ContrastiveTrainer(config, warmup_steps=0, total_steps=1000, remat=remat)
    inputs = _inputs(config, strategy, num_parts)
    losses = [float(trainer.step(*next(inputs))["loss"]) for _ in range(num_steps)]
    weights = {
        variable.path: variable.numpy()
        for model in (trainer.backbone, trainer.method.head)
        for variable in model.variables
    }
    return losses, weights


@pytest.mark.parametrize("remat", REMAT)
def test_two_replicas_train_like_one_with_the_joint_batch(config, one_replica, two_replicas, remat):
    # After one step: later ones amplify rounding through max pooling's choice of a maximum.
    one_losses, one = _train(config, one_replica, num_steps=1)
    two_losses, two = _train(config, two_replicas, num_steps=1, remat=remat)
    np.testing.assert_allclose(two_losses, one_losses, rtol=1e-5)
    assert one.keys() == two.keys()
    for path in one:
        np.testing.assert_allclose(two[path], one[path], atol=1e-5, err_msg=path)
    moved = [path for path in one if path.endswith("moving_mean") and np.abs(one[path]).max() > 0]
    assert len(moved) == sum(path.endswith("moving_mean") for path in one)


def test_one_step_is_the_update_of_the_paper(config, one_replica):
    """Gradient of InfoNCE plus weight decay on kernels; then SGD with momentum 0.9, three steps."""
    with one_replica.scope():
        trainer = ContrastiveTrainer(config, warmup_steps=0, total_steps=1000)
    expected = [variable.numpy() for variable in trainer.variables]
    momenta = [np.zeros_like(value) for value in expected]
    decayed = {variable.path for variable in trainer.variables if "kernel" in variable.path}

    @tf.function
    def loss_gradients(views):
        with tf.GradientTape() as tape:
            clips = tf.concat(views, axis=0)
            embeddings = trainer.method.head(trainer.backbone(clips, training=True), training=True)
            loss, _ = info_nce([embeddings[:4], embeddings[4:]], config.temperature)
        return tape.gradient(loss, [variable.value for variable in trainer.variables])

    for step, batch in enumerate(_batches(config, 3, 4)):
        gradients = loss_gradients(batch.views)
        rate = 0.001 * (1 + np.cos(np.pi * step / 1000))
        for index, (variable, gradient) in enumerate(
            zip(trainer.variables, gradients, strict=True)
        ):
            gradient = gradient.numpy()
            if variable.path in decayed:
                gradient = gradient + 1e-2 * expected[index]
            momenta[index] = 0.9 * momenta[index] - rate * gradient
            expected[index] = expected[index] + momenta[index]
        trainer.step(batch)
        for variable, value in zip(trainer.variables, expected, strict=True):
            np.testing.assert_allclose(
                variable.numpy(), value, atol=1e-5, err_msg=f"{step} {variable.path}"
            )


def _cropped_batches(config, size):
    """Batches whose colours are left to the device."""
    videos = find_source(config.train_data, "train_data").indexed()
    order = Order(config.seed)
    return pipeline.pretraining_batches(videos, config.views, size, order, augmented=False)


@pytest.mark.parametrize("options", [{}, {"compiled_colors": False}])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_augmenting_on_the_device_trains_the_same(config, one_replica, accumulate, options):
    config = dataclasses.replace(config, accumulate=accumulate)
    losses = []
    size = 4 // accumulate
    for parts in (
        _batches(config, accumulate, size),
        _cropped_batches(config, size).take(accumulate),
    ):
        with one_replica.scope():
            trainer = ContrastiveTrainer(config, 0, 1000, **options)
        losses.append(float(trainer.step(*parts)["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_compiled_colours_are_in_no_graph_of_collective_operations(
    config, two_replicas, accumulate, monkeypatch
):
    config = dataclasses.replace(config, accumulate=accumulate)
    graphs = {"colours": set(), "loss": set()}

    def note(name, function):
        def noting(*args):
            graph = tf.compat.v1.get_default_graph()
            while isinstance(graph, tf.__internal__.FuncGraph):
                graphs[name].add(graph.name)
                graph = graph.outer_graph
            return function(*args)

        return noting

    monkeypatch.setattr(pipeline, "augment_batch", note("colours", pipeline.augment_batch))
    monkeypatch.setattr(cvrl, "info_nce", note("loss", info_nce))
    with two_replicas.scope():
        trainer = ContrastiveTrainer(config, 0, 1000)
    parts = iter(
        two_replicas.distribute_datasets_from_function(
            lambda context: _cropped_batches(config, 2 // accumulate)
        )
    )
    figures = trainer.step(*(next(parts) for _ in range(accumulate)))
    assert np.isfinite(float(figures["loss"]))
    assert graphs["colours"] and graphs["loss"]
    assert not graphs["colours"] & graphs["loss"]


def test_weight_decay_holds_for_kernels_only(config, one_replica):
    with one_replica.scope():
        trainer = ContrastiveTrainer(config, 1, 10)
    before = {variable.path: variable.numpy() for variable in trainer.variables}
    zeros = [tf.zeros(variable.shape) for variable in trainer.variables]
    trainer.optimizer.apply(zeros, tf.constant(1))
    decayed = {
        variable.path
        for variable in trainer.variables
        if np.abs(variable.numpy() - before[variable.path]).max() > 0
    }
    blocks = [f"res{stage}_0_{part}" for stage in range(2, 6) for part in ("shortcut", *"abc")]
    assert decayed == {
        "conv1_conv/kernel",
        *(f"{block}_conv/kernel" for block in blocks),
        *(f"hidden_{index}_dense/kernel" for index in range(3)),
        "embeddings/kernel",
    }
    others = before.keys() - decayed
    assert {path.rsplit("/", 1)[1] for path in others} == {"gamma", "beta", "bias"}


def test_training_lowers_the_loss_on_a_fixed_batch(config, one_replica):
    faster = dataclasses.replace(config, learning_rate=0.02)
    with one_replica.scope():
        trainer = ContrastiveTrainer(faster, 0, 1000)
    (batch,) = _batches(config, 1, 12)
    losses = [float(trainer.step(batch)["loss"]) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_bfloat16_trains_like_float32(config, one_replica):
    half = dataclasses.replace(config, precision="bfloat16")
    losses, weights = _train(half, one_replica, num_steps=3)
    # Eight clips, differences divided by a temperature of 0.1: rounding changes the loss of a batch
    # by up to a fifth, the mean of eight batches (on the initial weights) by less.
    fixed = {"learning_rate": 0.0, "weight_decay": 0.0}
    rounded, _ = _train(dataclasses.replace(half, **fixed), one_replica, num_steps=8)
    exact, _ = _train(dataclasses.replace(config, **fixed), one_replica, num_steps=8)
    assert np.mean(rounded) == pytest.approx(np.mean(exact), rel=0.15)
    assert losses[0] != exact[0]
    assert np.isfinite(losses).all()
    assert {value.dtype for path, value in weights.items() if "seed" not in path} == {
        np.dtype("float32")
    }


def _momenta_after_a_step(config, strategy, frozen_statistics):
    """The momenta after one step: minus the learning rate times the gradient."""
    with strategy.scope():
        trainer = ContrastiveTrainer(config, 0, 1000)
    if config.precision == "float16":
        trainer._loss_scale.scale.assign(16.0)  # these gradients are large
    for model in (trainer.backbone, trainer.method.head):
        for layer in model.layers:
            if isinstance(layer, ClipBatchNormalization) and frozen_statistics:
                layer.trainable = False
    parts = next(_inputs(config, strategy))
    figures = {name: float(value) for name, value in trainer.step(*parts).items()}
    momenta = [slot.numpy() for slot in trainer.optimizer.momentums]
    moving = trainer.backbone.get_layer("conv1_bn").moving_mean.numpy()
    return figures, momenta, moving


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_in_parts_trains_the_same(config, one_replica, two_replicas, accumulate):
    config = dataclasses.replace(config, accumulate=accumulate)
    (whole_loss,), whole = _train(config, one_replica, 1)
    (loss,), cut = _train(config, one_replica, 1, num_parts=4)
    assert loss == whole_loss
    for path in whole:
        np.testing.assert_array_equal(cut[path], whole[path], err_msg=path)
    (loss,), _ = _train(config, two_replicas, 1, num_parts=2)
    assert loss == pytest.approx(whole_loss, rel=1e-5)


@pytest.mark.parametrize("on_two", [False, True])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    config, one_replica, two_replicas, on_two
):
    whole = dataclasses.replace(config, batch_size=12, weight_decay=0.0)
    parts = dataclasses.replace(whole, accumulate=3)
    figures, expected, _ = _momenta_after_a_step(whole, one_replica, frozen_statistics=True)
    strategy = two_replicas if on_two else one_replica
    found_figures, found, _ = _momenta_after_a_step(parts, strategy, frozen_statistics=True)
    assert found_figures == pytest.approx(figures, rel=1e-5)
    largest = max(np.abs(value).max() for value in expected)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5 * largest)


@pytest.mark.parametrize("on_two", [False, True])
def test_accumulation_moves_the_statistics_once_for_each_micro_batch(
    config, one_replica, two_replicas, on_two
):
    parts = dataclasses.replace(config, batch_size=12, accumulate=3)
    strategy = two_replicas if on_two else one_replica
    with strategy.scope():
        trainer = ContrastiveTrainer(parts, 0, 1000)
    with one_replica.scope():
        reference = ContrastiveTrainer(parts, 0, 1000)
    (whole,) = _batches(parts, 1, 12)
    for numbers in np.arange(12).reshape(3, 4):  # whatever the replicas
        clips = tf.concat([tf.gather(view, numbers) for view in whole.views], axis=0)
        reference.backbone(clips, training=True)
    inputs = _inputs(parts, strategy)
    trainer.step(*next(inputs))
    for one, two in zip(
        trainer.backbone.non_trainable_variables,
        reference.backbone.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(one.numpy(), two.numpy(), atol=1e-5, err_msg=one.path)
    trainer.step(*next(inputs))  # the sums start from zero again
    assert int(trainer.checkpoint.step.numpy()) == 2
    # Later calls do not have them fixed either.
    before = reference.backbone.get_layer("conv1_bn").moving_mean.numpy()
    reference.backbone(tf.concat(whole.views, axis=0), training=True)
    assert np.any(reference.backbone.get_layer("conv1_bn").moving_mean.numpy() != before)


def test_accumulation_in_reduced_precision(config, two_replicas):
    figures = {}
    for precision in ("float32", "bfloat16", "float16"):
        half = dataclasses.replace(config, batch_size=12, accumulate=3, precision=precision)
        figures[precision], *_ = _momenta_after_a_step(half, two_replicas, frozen_statistics=False)
    exact = figures.pop("float32")
    for precision, found in figures.items():
        assert found["loss"] == pytest.approx(exact["loss"], rel=0.1), precision
        assert found["gradient_norm"] == pytest.approx(exact["gradient_norm"], rel=0.3), precision


def test_float16_lowers_its_scale_until_gradients_are_finite(config, two_replicas):
    """An infinity on one replica skips the step on both; then training continues."""
    half = dataclasses.replace(config, precision="float16")
    with two_replicas.scope():
        trainer = ContrastiveTrainer(half, 0, 1000)
    trainer._loss_scale.scale.assign(2.0**18)  # overflows in the gradients
    inputs = _inputs(half, two_replicas)
    before = [variable.numpy() for variable in trainer.variables]
    figures = trainer.step(*next(inputs))
    assert float(figures["skipped"]) == 1.0 and np.isfinite(float(figures["loss"]))
    for variable, value in zip(trainer.variables, before, strict=True):
        for local in two_replicas.experimental_local_results(variable.value):
            np.testing.assert_array_equal(local.numpy(), value)
    skipped = []
    while 0.0 not in skipped:
        assert len(skipped) < 16
        skipped.append(float(trainer.step(*next(inputs))["skipped"]))
    assert skipped[0] == 1.0
    assert float(trainer._loss_scale.scale.numpy()) == 2.0 ** (18 - 1 - sum(skipped))


def test_statistics_of_a_step_that_is_not_finite_do_not_stay(config, one_replica):
    with one_replica.scope():
        trainer = ContrastiveTrainer(config, 0, 1000)
    (batch,) = _batches(config, 1, 4)
    poisoned = batch._replace(views=(batch.views[0] * np.nan, batch.views[1]))
    before = [variable.numpy() for variable in trainer.backbone.variables]
    assert float(trainer.step(poisoned)["skipped"]) == 1.0
    for variable, value in zip(trainer.backbone.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
    assert float(trainer.step(batch)["skipped"]) == 0.0
