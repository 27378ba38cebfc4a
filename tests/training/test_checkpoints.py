import resource
import signal

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.training import checkpoints
from cvrl_tf.training.checkpoints import LoopState, RunCheckpoints


def _checkpoint(value=0.0):
    return tf.train.Checkpoint(
        weight=tf.Variable(tf.fill([1000], value)),
        step=tf.Variable(0, dtype=tf.int64),
        loop=LoopState(),
    )


def _save_steps(directory, *steps, keep=3):
    checkpoint = _checkpoint()
    saved = RunCheckpoints(checkpoint, str(directory), keep)
    for step in steps:
        checkpoint.weight.assign(tf.fill([1000], float(step)))
        checkpoint.step.assign(step)
        checkpoint.loop.positions = [step, step + 1]
        checkpoint.loop.bad_records = {step, 1}
        checkpoint.loop.pending = [{"loss": 0.1 + step}]
        saved.save(step)
    return saved


def _restored(directory):
    checkpoint = _checkpoint(-1.0)
    RunCheckpoints(checkpoint, str(directory), 3).restore()
    return checkpoint


def test_all_of_the_state_comes_back(tmp_path):
    _save_steps(tmp_path, 5)
    checkpoint = _restored(tmp_path)
    np.testing.assert_array_equal(checkpoint.weight.numpy(), 5.0)
    assert int(checkpoint.step.numpy()) == 5
    assert checkpoint.loop.positions == [5, 6]
    assert checkpoint.loop.bad_records == {1, 5}
    assert checkpoint.loop.pending == [{"loss": 5.1}]


def test_nothing_there_changes_nothing(tmp_path):
    checkpoint = _restored(tmp_path)
    np.testing.assert_array_equal(checkpoint.weight.numpy(), -1.0)
    assert checkpoint.loop.positions == []


def test_so_many_are_kept(tmp_path):
    _save_steps(tmp_path, 1, 2, 3, 4, keep=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.index"))
    assert names == ["ckpt-3.index", "ckpt-4.index"]


DAMAGES = {
    "data cut off": lambda d: (d / "ckpt-2.data-00000-of-00001").write_bytes(b"short"),
    "data changed": lambda d: _flip(d / "ckpt-2.data-00000-of-00001", 2000),
    "data gone": lambda d: (d / "ckpt-2.data-00000-of-00001").unlink(),
    "index cut off": lambda d: (d / "ckpt-2.index").write_bytes(b"short"),
    "index empty": lambda d: (d / "ckpt-2.index").write_bytes(b""),
}


def _flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path, damage, capsys):
    _save_steps(tmp_path, 1, 2)
    DAMAGES[damage](tmp_path / "checkpoints")
    checkpoint = _restored(tmp_path)
    np.testing.assert_array_equal(checkpoint.weight.numpy(), 1.0)
    assert checkpoint.loop.positions == [1, 2]
    error = capsys.readouterr().err
    assert f"note: The checkpoint {tmp_path}/checkpoints/ckpt-2 is damaged (" in error
    assert error.endswith(f"Resuming from the one before, {tmp_path}/checkpoints/ckpt-1.\n")


def test_if_all_are_damaged_that_is_an_error(tmp_path):
    _save_steps(tmp_path, 2)
    DAMAGES["data gone"](tmp_path / "checkpoints")
    with pytest.raises(InputError, match="ckpt-2 is damaged"):
        _restored(tmp_path)


def test_another_network_is_an_error_and_no_reason_to_go_back(tmp_path):
    _save_steps(tmp_path, 1, 2)
    checkpoint = _checkpoint()
    checkpoint.further = tf.Variable(1.0)
    with pytest.raises(InputError, match="ckpt-2 is of another network .*give the flags"):
        RunCheckpoints(checkpoint, str(tmp_path), 3).restore()


def test_what_a_killed_process_left_is_removed(tmp_path):
    saved = _save_steps(tmp_path, 1)
    directory = tmp_path / "checkpoints"
    before = sorted(path.name for path in directory.iterdir())
    (directory / "ckpt-2_temp").mkdir()
    (directory / "ckpt-2_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"x")
    (directory / "ckpt-2.index.tempstate123").write_bytes(b"x")
    (directory / "checkpoint.tmp0123abcd").write_bytes(b"x")
    saved.remove_temporaries()
    assert sorted(path.name for path in directory.iterdir()) == before
    np.testing.assert_array_equal(_restored(tmp_path).weight.numpy(), 1.0)


def test_a_full_disk_is_told_and_leaves_the_one_before(tmp_path):
    saved = _save_steps(tmp_path, 1)
    before = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
    try:
        with pytest.raises(
            InputError, match=r"checkpoint of step 2 cannot be written .*the last one is .*ckpt-1\."
        ):
            saved.save(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == before
    np.testing.assert_array_equal(_restored(tmp_path).weight.numpy(), 1.0)
    saved.save(2)  # there is space again
    assert saved.latest == f"{tmp_path}/checkpoints/ckpt-2"


@pytest.mark.parametrize("name", ["a [v1]", r"c\d", "e*f"])
def test_directories_with_characters_of_patterns(tmp_path, name):
    """Saving, removing the oldest, finding and restoring, as in any other directory."""
    directory = tmp_path / name / "run"
    directory.mkdir(parents=True)
    _save_steps(directory, 1, 2, 3, keep=2)
    files = sorted(path.name for path in (directory / "checkpoints").iterdir())
    assert files == ["checkpoint"] + [
        f"ckpt-{step}.{end}" for step in (2, 3) for end in ("data-00000-of-00001", "index")
    ]
    prefix = f"{directory}/checkpoints/ckpt-3"
    assert checkpoints.latest(str(directory)) == prefix
    assert checkpoints.holds(prefix, "weight") and not checkpoints.holds(prefix, "head")
    np.testing.assert_array_equal(_restored(directory).weight.numpy(), 3.0)
    again = RunCheckpoints(_checkpoint(), str(directory), 2)
    assert again.latest == prefix
    DAMAGES["data gone"](directory / "checkpoints")
    (directory / "checkpoints" / "ckpt-3.index").write_bytes(b"")
    with pytest.raises(InputError) as error:
        again.restore()
    assert "cvrl_" not in str(error.value)  # the link
    assert str(error.value).startswith(
        f"The checkpoint {directory}/checkpoints/ckpt-2 is damaged ("
    )


def test_no_checkpoint_is_the_latest_of_an_empty_directory(tmp_path):
    assert checkpoints.latest(str(tmp_path)) is None
