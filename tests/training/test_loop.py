"""The loop, with a network of four weights on numbers made from the names of records."""

import dataclasses
import json
import os
import signal
import time
import weakref
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_records import damage, make_video, write_shard

from cvrl_tf.data import parts, records, stream
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.stream import Order
from cvrl_tf.errors import InputError, Stopped
from cvrl_tf.training import checkpoints, loop, memory, metrics
from cvrl_tf.training.checkpoints import RunCheckpoints
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.loop import Evaluation, LoopOptions, Run, TrainingData
from cvrl_tf.training.schedule import WarmupCosine
from cvrl_tf.training.selection import Selection, Selector
from cvrl_tf.training.strategy import Workers
from cvrl_tf.training.trainer import Trainer

VIDEOS = 10
STEPS = 12
BATCH = 4
VIDEO_BYTES = 12.0


class Numbers(NamedTuple):
    """A batch: (n, 3) float32 and the positions of their records."""

    values: tf.Tensor
    positions: tf.Tensor


class LinearTrainer(Trainer):
    """Fits the sum of the numbers; `spoilt` are the steps whose loss is not finite."""

    def __init__(self, spoilt=(), learning_rate=0.1):
        numbers = keras.Input((3,))
        initializer = keras.initializers.VarianceScaling(seed=1)
        dense = keras.layers.Dense(1, kernel_initializer=initializer)
        model = keras.Model(numbers, dense(numbers))
        super().__init__({"model": model}, WarmupCosine(learning_rate, 0, STEPS), 0.0)
        self._model = model
        self._spoilt = tf.constant([-1, *spoilt], tf.int64)

    def gradients(self, *parts):
        values = tf.concat([part.values for part in parts], axis=0)
        with tf.GradientTape() as tape:
            predictions = self._model(values)
            expected = tf.reduce_sum(values, axis=1, keepdims=True)
            loss = tf.reduce_mean((predictions - expected) ** 2)
            now = self.checkpoint.step + 1
            loss *= tf.where(tf.reduce_any(now == self._spoilt), np.nan, 1.0)
            scaled = self.scale(loss)
        return self.differentiate(tape, scaled), {"loss": loss}


def _shard(directory, damaged=()):
    path = directory / "train-00000-of-00001"
    if not path.exists():
        write_shard(path, [make_video(number, 2) for number in range(VIDEOS)])
        damage(str(path), *damaged)
    return str(path)


def _data(path):
    videos, order = find_source(path, "train_data").indexed(), Order(7)

    def sample(serialized, epoch_seed):
        record = records.parse(serialized)
        return {"seed": stream.fold(epoch_seed, tf.strings.to_hash_bucket_fast(record["id"], 1000))}

    def batches(batch_size, share):
        numbers = stream.read_stream(
            videos.index,
            order,
            sample,
            lambda kept: tf.random.stateless_normal([3], kept["seed"]),
            share,
        )
        return numbers.batch(batch_size, drop_remainder=True).map(Numbers)

    return TrainingData(videos, order, BATCH, batches, VIDEO_BYTES)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    return _shard(tmp_path_factory.mktemp("numbers"))


def _train(
    shard,
    directory,
    strategy,
    trainer=None,
    evaluation=None,
    begin=None,
    selection=None,
    **options,
):
    """Trains; returns the final weights."""
    os.makedirs(directory, exist_ok=True)
    with strategy.scope():
        trainer = trainer or LinearTrainer()
    options = LoopOptions(**{"log_every_steps": 2, "save_every_steps": 5} | options)
    begin = begin or (lambda writer, step: None)
    run = Run(str(directory), STEPS, "testing", evaluation, selection, begin)
    loop.train(trainer, _data(shard), run, options)
    return [variable.numpy() for variable in trainer.variables]


def _without_times(directory):
    timed = ("videos_per_second", "input_wait")
    rows = metrics.read_metrics(str(directory))
    return [{name: row[name] for name in row if name not in timed} for row in rows]


def _checkpoints(directory):
    names = (directory / "checkpoints").glob("*.index")
    return sorted(int(path.name[5:-6]) for path in names)


def test_a_run_writes_lines_and_checkpoints(shard, tmp_path, one_replica):
    begun = []
    _train(shard, tmp_path, one_replica, begin=lambda writer, step: begun.append(step))
    rows = metrics.read_metrics(str(tmp_path))
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    assert [row["epoch"] for row in rows] == pytest.approx([0.8, 1.6, 2.4, 3.2, 4.0, 4.8])
    assert rows[0]["loss"] > 2 * rows[-1]["loss"]
    assert set(rows[0]) == {
        "step",
        "epoch",
        "loss",
        "gradient_norm",
        "learning_rate",
        "skipped_steps",
        "videos_per_second",
        "input_wait",
        "bad_records",
    }
    assert rows[0]["learning_rate"] == pytest.approx(0.05 * (1 + np.cos(np.pi / 12)), rel=1e-5)
    assert _checkpoints(tmp_path) == [5, 10, 12] and begun == [0]


@pytest.mark.parametrize("killed_at", [1, 4, 7, 11])
def test_an_interrupted_run_goes_on_to_the_same_end(shard, tmp_path, one_replica, killed_at):
    expected = _train(shard, tmp_path / "whole", one_replica, log_every_steps=3)
    with one_replica.scope():
        trainer = LinearTrainer()
    step = trainer.step

    def failing_step(*batch):
        if int(trainer.checkpoint.step.numpy()) == killed_at:
            raise RuntimeError("killed")
        return step(*batch)

    trainer.step = failing_step
    stopped = tmp_path / "stopped"
    with pytest.raises(RuntimeError, match="killed"):
        _train(shard, stopped, one_replica, trainer, log_every_steps=3)
    begun = []
    found = _train(
        shard, stopped, one_replica, log_every_steps=3, begin=lambda _, step: begun.append(step)
    )
    assert begun == [killed_at // 5 * 5]
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    # Checkpoints at 5 and 10, lines at 3, 6, 9, 12: lines begin before a checkpoint and end after.
    assert _without_times(stopped) == _without_times(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_ends_the_run(shard, tmp_path, one_replica, number):
    expected = _train(shard, tmp_path / "whole", one_replica)
    with one_replica.scope():
        trainer = LinearTrainer()
    step = trainer.step

    def signalled_step(*batch):
        if int(trainer.checkpoint.step.numpy()) == 6:
            os.kill(os.getpid(), number)
        return step(*batch)

    trainer.step = signalled_step
    stopped = tmp_path / "stopped"
    with pytest.raises(
        Stopped, match=rf"at step 7 of 12 by {number.name}, saved to .*stopped: the"
    ):
        _train(shard, stopped, one_replica, trainer)
    assert _checkpoints(stopped) == [5, 7]
    found = _train(shard, stopped, one_replica)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    assert _without_times(stopped) == _without_times(tmp_path / "whole")


def test_bad_records_are_left_out_counted_and_listed(tmp_path, one_replica, capsys):
    bad = _shard(tmp_path, damaged=(2, 7))
    expected = _train(bad, tmp_path / "whole", one_replica)
    reason = "the record is damaged: its bytes do not have the checksum stored"
    lines = [f"{bad}, record {number}: {reason}" for number in (2, 7)]
    assert (tmp_path / "whole" / "bad_records.txt").read_text().splitlines() == lines
    error = capsys.readouterr().err
    for line in lines:  # each is reported once, although every epoch reads it
        assert error.count(f"skipped: {line}\n") == 1
    assert metrics.read_metrics(str(tmp_path / "whole"))[-1]["bad_records"] == 2
    # A stopped and resumed run reads the same videos: their positions are saved.
    with one_replica.scope():
        trainer = LinearTrainer()
    step = trainer.step

    def signalled_step(*batch):
        if int(trainer.checkpoint.step.numpy()) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*batch)

    trainer.step = signalled_step
    with pytest.raises(Stopped):
        _train(bad, tmp_path / "stopped", one_replica, trainer)
    found = _train(bad, tmp_path / "stopped", one_replica)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    assert _without_times(tmp_path / "stopped") == _without_times(tmp_path / "whole")


@pytest.fixture
def in_pairs(monkeypatch):
    """Batches come in parts of two videos."""
    monkeypatch.setattr(parts, "PART_BYTES", 2 * VIDEO_BYTES)


def test_batches_in_parts_train_the_same(tmp_path, one_replica, two_replicas, in_pairs):
    bad = _shard(tmp_path, damaged=(2, 7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_BYTES", BATCH * VIDEO_BYTES)
        expected = _train(bad, tmp_path / "whole", one_replica)
    found = _train(bad, tmp_path / "parts", one_replica)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    assert _without_times(tmp_path / "parts") == _without_times(tmp_path / "whole")
    names = [tmp_path / run / "bad_records.txt" for run in ("parts", "whole")]
    assert names[0].read_text() == names[1].read_text() != ""
    found = _train(bad, tmp_path / "two", two_replicas)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_all_parts_of_a_batch_are_in_its_histograms(
    shard, tmp_path, one_replica, in_pairs, monkeypatch
):
    added, add = [], loop.Log.add

    def noting_add(log, step, figures, values):
        added.append(values)
        add(log, step, figures, values)

    monkeypatch.setattr(loop.Log, "add", noting_add)
    with one_replica.scope():
        trainer = LinearTrainer()
    data = dataclasses.replace(_data(shard), histograms=lambda part: {"position": part.positions})
    loop.train(trainer, data, Run(str(tmp_path), STEPS, "testing"), LoopOptions())
    found = [values["position"].tolist() for values in added]
    assert found == np.arange(STEPS * BATCH).reshape(STEPS, BATCH).tolist()


@pytest.mark.parametrize(("gpus", "ahead"), [(False, 1), (True, 2)])
def test_a_cpu_holds_the_batch_of_a_step_beside_the_parts(
    shard, one_replica, in_pairs, monkeypatch, gpus, ahead
):
    monkeypatch.setattr(parts, "HOST_BYTES", (BATCH + 3 * 2 + 2) * VIDEO_BYTES - 1)
    monkeypatch.setattr(loop, "on_gpus", lambda strategy: gpus)
    found = _data(shard).parts(one_replica, Workers(one_replica))
    assert found == parts.Parts(number=2, ahead=ahead)


def test_a_batch_is_dropped_before_the_next_one_is_read(
    shard, tmp_path, one_replica, in_pairs, monkeypatch
):
    taken, alive = [], []
    with one_replica.scope():
        trainer = LinearTrainer()
    step, naming = trainer.step, records.naming_bad_records

    def noting_step(*batch):
        taken.extend(weakref.ref(part.values) for part in batch)
        return step(*batch)

    def noting_read(name):
        alive.append(sum(reference() is not None for reference in taken))
        return naming(name)

    trainer.step = noting_step
    monkeypatch.setattr(records, "naming_bad_records", noting_read)
    _train(shard, tmp_path, one_replica, trainer)
    assert len(taken) == 2 * STEPS and alive == [0] * STEPS


def test_exhausted_memory_ends_the_run_with_what_fits(shard, tmp_path, one_replica):
    class ExhaustedTrainer(LinearTrainer):
        def step(self, *batch):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with one_replica.scope():
        trainer = ExhaustedTrainer()
    config = PretrainConfig(train_data="", batch_size=8)
    run = Run(str(tmp_path), STEPS, "testing", step_memory=memory.StepMemory(config))
    with pytest.raises(InputError, match=r"^The memory of a device .* on 16 clips .*remat=norm is"):
        loop.train(trainer, _data(shard), run, LoopOptions())


def test_too_many_bad_records_end_the_run(tmp_path, one_replica):
    bad = _shard(tmp_path, damaged=(2, 7))
    with pytest.raises(
        InputError,
        match=r"2 records cannot be used, more than max_bad_records=1; the last: .*, rec",
    ):
        _train(bad, tmp_path / "run", one_replica, max_bad_records=1)


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(shard, tmp_path, one_replica):
    with one_replica.scope():
        trainer = LinearTrainer(spoilt=[9])
    with pytest.raises(
        InputError,
        match=r"The loss of step 9 is not finite \(loss nan\), and the weights were not"
        r" changed. The last checkpoint is .*ckpt-5. Lower learning_rate.*on_nan=skip skips such",
    ):
        _train(shard, tmp_path, one_replica, trainer)
    assert _checkpoints(tmp_path) == [5]
    assert [row["step"] for row in metrics.read_metrics(str(tmp_path))] == [2, 4, 6, 8]


def test_steps_that_are_not_finite_are_skipped_if_asked_for(shard, tmp_path, one_replica):
    with one_replica.scope():
        trainer = LinearTrainer(spoilt=[3, 8])
    weights = _train(shard, tmp_path, one_replica, trainer, on_nan="skip")
    rows = metrics.read_metrics(str(tmp_path))
    assert [row["skipped_steps"] for row in rows] == [0, 1, 0, 1, 0, 0]
    assert np.isfinite([row["loss"] for row in rows]).all()
    assert np.isfinite(weights[0]).all()


def test_nothing_but_skipped_steps_ends_the_run(shard, tmp_path, one_replica, monkeypatch):
    monkeypatch.setattr("cvrl_tf.training.log.MOST_SKIPPED_IN_A_ROW", 3)
    with one_replica.scope():
        trainer = LinearTrainer(spoilt=range(5, 13))
    with pytest.raises(InputError, match="loss of step 8 .*; 4 steps in a row changed nothing"):
        _train(shard, tmp_path, one_replica, trainer, on_nan="skip")


def test_what_is_measured_on_the_way_is_in_the_lines(shard, tmp_path, one_replica):
    values = iter([0.25, 0.5, 0.75])
    evaluation = Evaluation(5, lambda: {"knn_top1": next(values)})
    _train(shard, tmp_path, one_replica, evaluation=evaluation)
    rows = metrics.read_metrics(str(tmp_path))
    assert [row["step"] for row in rows] == [2, 4, 5, 6, 8, 10, 12]
    assert [row.get("knn_top1") for row in rows] == [None, None, 0.25, None, None, 0.5, 0.75]


@pytest.mark.parametrize("log_every_steps", [11, 4])
def test_the_speed_is_that_of_training_alone(
    shard, tmp_path, one_replica, monkeypatch, log_every_steps
):
    """The last window has one step or four; evaluations and checkpoints take much longer."""
    save = RunCheckpoints.save

    def slow_save(self, step):
        time.sleep(1.0)
        save(self, step)

    def measure():
        time.sleep(1.0)
        return {}

    monkeypatch.setattr(RunCheckpoints, "save", slow_save)
    _train(
        shard,
        tmp_path,
        one_replica,
        evaluation=Evaluation(12, measure),
        log_every_steps=log_every_steps,
        save_every_steps=9,
    )
    rows = metrics.read_metrics(str(tmp_path))
    assert rows[-1]["step"] == 12
    assert rows[-1]["videos_per_second"] > (12 % log_every_steps or 4) * BATCH / 1.0


def test_what_runs_is_said(shard, tmp_path, one_replica, capsys):
    evaluation = Evaluation(12, lambda: {"knn_top1": 0.75})
    _train(shard, tmp_path, one_replica, evaluation=evaluation)
    _train(shard, tmp_path, one_replica)
    lines = capsys.readouterr().err.splitlines()
    about = "testing: 10 videos, 2.5 steps an epoch, 12 steps, 1 device"
    assert lines[0] == about
    assert lines[1].startswith("testing: 12/12 steps") and " knn_top1=0.75 " in lines[1]
    assert (
        lines[2] == "testing: 10 videos, 2.5 steps an epoch, 12 steps, 1 device, all of them done"
    )


def _stop_at(number, strategy):
    """A trainer whose process gets SIGTERM in its step of that number."""
    with strategy.scope():
        trainer = LinearTrainer()
    step = trainer.step

    def signalled_step(*batch):
        if int(trainer.checkpoint.step.numpy()) + 1 == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*batch)

    trainer.step = signalled_step
    return trainer


@pytest.mark.parametrize("stopped_at", [None, 3, 4, 7])
def test_the_best_weights_are_kept_and_patience_ends_the_run(
    shard, tmp_path, one_replica, capsys, stopped_at
):
    """Whether or not the run is stopped in between: `best` and its count are in the checkpoint."""
    accuracies = {2: 0.5, 4: 0.75, 6: 0.75, 8: 0.25, 10: 1.0, 12: 1.0}
    selection = Selection("validation_accuracy", patience=2)
    weights = {}

    def train(trainer=None):
        with one_replica.scope():
            trainer = trainer or LinearTrainer()

        def measure():
            step = int(trainer.checkpoint.step.numpy())
            weights[step] = [variable.numpy() for variable in trainer.variables]
            return {"validation_accuracy": accuracies[step]}

        evaluation = Evaluation(2, measure)
        _train(shard, tmp_path, one_replica, trainer, evaluation, selection=selection)

    if stopped_at:
        with pytest.raises(Stopped):
            train(_stop_at(stopped_at, one_replica))
    train()
    train()  # has ended: does not train
    assert [row["step"] for row in metrics.read_metrics(str(tmp_path))] == [2, 4, 6, 8]
    assert os.listdir(tmp_path / "best") and _checkpoints(tmp_path)[-1] == 8
    reason = "the last 2 evaluations were not better than that of step 4 (0.7500)."
    assert capsys.readouterr().err.count(f"Training ends early: {reason}") == 2
    assert checkpoints.latest(str(tmp_path)) == f"{tmp_path}/best/ckpt-4"
    with one_replica.scope():
        best = LinearTrainer()
    checkpoints.restore(best.weights, f"{tmp_path}/best/ckpt-4")
    for variable, value in zip(best.variables, weights[4], strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert int(best.checkpoint.step.numpy()) == 4


def test_the_best_weights_are_saved_after_a_kill_between_both_checkpoints(
    shard, tmp_path, one_replica, monkeypatch
):
    selection, evaluation = Selection("x"), Evaluation(5, lambda: {"x": 1.0})
    monkeypatch.setattr(Selector, "keep", lambda self, step: step and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _train(shard, tmp_path, one_replica, evaluation=evaluation, selection=selection)
    monkeypatch.undo()
    assert _checkpoints(tmp_path) == [5] and not (tmp_path / "best").exists()
    _train(shard, tmp_path, one_replica, evaluation=evaluation, selection=selection)
    assert checkpoints.latest(str(tmp_path)) == f"{tmp_path}/best/ckpt-5"
    _train(shard, tmp_path, one_replica, evaluation=evaluation)  # nothing is selected any more
    assert checkpoints.latest(str(tmp_path)) == f"{tmp_path}/checkpoints/ckpt-12"


def test_checkpoints_by_the_clock(shard, tmp_path, one_replica):
    _train(shard, tmp_path, one_replica, save_every_minutes=1e-9, keep_checkpoints=20)
    assert _checkpoints(tmp_path) == list(range(1, 13))


def test_what_a_kill_left_half_written_is_removed(shard, tmp_path, one_replica):
    left = tmp_path / f"metrics.jsonl.tmp-{'0a' * 16}"
    left.write_text('{"step": 2')
    (tmp_path / "notes.tmp-old").write_text("of somebody")
    _train(shard, tmp_path, one_replica)
    assert not left.exists() and (tmp_path / "notes.tmp-old").exists()


def test_a_finished_run_is_left_alone(shard, tmp_path, one_replica):
    _train(shard, tmp_path, one_replica)
    before = (tmp_path / "metrics.jsonl").read_text()
    _train(shard, tmp_path, one_replica)
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert _checkpoints(tmp_path) == [5, 10, 12]


def test_a_profile_is_written_for_tensorboard(shard, tmp_path, one_replica):
    _train(shard, tmp_path, one_replica, profile=(3, 4))
    assert list((tmp_path / "plugins" / "profile").glob("*/*.xplane.pb"))


def test_the_state_of_a_large_run_is_small(tmp_path):
    state = loop.LoopState()
    state.positions, state.bad_records = [10**9], set(range(100))
    state.pending = [{f"figure_{number}": 1 / 3 for number in range(12)}] * 10
    assert len(state.serialize()) < 5000
    other = loop.LoopState()
    other.deserialize(state.serialize())
    assert json.loads(other.serialize()) == json.loads(state.serialize())


def test_the_input_of_one_cpu_has_no_dataset_that_tunes_itself(
    shard, tmp_path, one_replica, monkeypatch
):
    """A distributed dataset's own one does, and its end waits for a thread that sleeps."""

    def distribute(*arguments):
        raise AssertionError("a distributed dataset")

    monkeypatch.setattr(one_replica, "distribute_datasets_from_function", distribute)
    weights = _train(shard, tmp_path, one_replica)
    assert np.all(np.isfinite(weights[0])) and _checkpoints(tmp_path)[-1] == STEPS
    assert not _data(shard).batches(2, stream.WHOLE).options().autotune.enabled
