"""Frames, crop, batch size, learning rate and warm-up where no flag gives them."""

import pytest

from cvrl_tf import finetune, linear_eval, train
from cvrl_tf.cli import sizes, supervised
from cvrl_tf.data.augment import Augmentation
from cvrl_tf.errors import InputError
from cvrl_tf.training import run_config, weights
from cvrl_tf.training.config import PretrainConfig, SupervisedConfig, fitting_batch_size


@pytest.mark.parametrize(
    ("num_videos", "parts", "expected"),
    [(1, 1, 1), (5, 1, 4), (12, 1, 8), (106, 1, 16), (294, 1, 64), (300, 6, 48), (10**6, 1, 128)],
)
def test_the_batch_size_fits_the_number_of_videos(num_videos, parts, expected):
    assert fitting_batch_size(num_videos, parts, largest=128) == expected


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on clips of 4 frames of 32 pixels at stride 3, with one checkpoint."""
    directory = str(tmp_path_factory.mktemp("runs") / "first")
    config = PretrainConfig(
        train_data="x", num_frames=4, stride=3, crop_size=32, backbone="r3d_small"
    )
    run_config.prepare(directory, config)
    weights.save_imported(directory, config.build_backbone(), None, step=1)
    return directory


def _prepare(module, recipe, directory, *arguments):
    flags, *_ = module.COMMAND.parse(*arguments, "--allow_overlap")
    evaluation = supervised.prepare(flags, recipe, lambda origin: directory)
    return evaluation.config(frozen=False), evaluation.test_views.clip.size


def test_sizes_are_those_of_the_run_and_of_the_data(run, shards, tmp_path, capsys):
    data = f"--train_data={shards}", f"--test_data={shards}", f"--model_dir={run}"
    config, tested = _prepare(finetune, supervised.FINE_TUNING, str(tmp_path), *data)
    assert (config.num_frames, config.stride, config.crop_size, tested) == (4, 3, 32, 32)
    assert (config.batch_size, config.learning_rate) == (8, pytest.approx(0.16 * 8 / 128))
    assert config.warmup_epochs == 5.0  # of 50 epochs
    short = _prepare(finetune, supervised.FINE_TUNING, str(tmp_path), *data, "--epochs=3")[0]
    assert short.warmup_epochs == pytest.approx(0.3)
    config, _ = _prepare(linear_eval, supervised.LINEAR, str(tmp_path), *data)
    assert (config.batch_size, config.learning_rate) == (8, 32.0)
    assert "multiple" not in capsys.readouterr().err

    given = "--crop_size=40", "--num_frames=5", "--batch_size=6", "--test_crop_size=36"
    config, tested = _prepare(finetune, supervised.FINE_TUNING, str(tmp_path), *data, *given)
    assert (config.num_frames, config.stride, config.crop_size, tested) == (5, 3, 40, 36)
    # A learning rate is proportional to a batch size that is derived, not to one that is given.
    assert (config.batch_size, config.learning_rate) == (6, 0.16)
    notes = capsys.readouterr().err
    assert "note: a crop of 36 pixels is not a multiple of 32: " in notes
    assert "note: a crop of 40 pixels is not a multiple of 32: " in notes
    assert "; 32 and 64 are multiples." in notes


def test_a_run_that_is_resumed_keeps_its_sizes(run, shards, tmp_path):
    """As those of earlier versions, whose defaults were others."""
    earlier = SupervisedConfig(
        train_data=shards,
        num_classes=2,
        frozen=False,
        num_frames=6,
        crop_size=36,
        batch_size=5,
        learning_rate=0.16,
        epochs=20.0,
        backbone="r3d_small",
    )
    run_config.prepare(str(tmp_path / "run"), earlier)
    data = f"--train_data={shards}", f"--test_data={shards}", f"--model_dir={run}"
    directory = str(tmp_path / "run")
    config, _ = _prepare(finetune, supervised.FINE_TUNING, directory, *data, "--epochs=20")
    for name in (*sizes.CLIP, *sizes.SCHEDULE):
        assert getattr(config, name) == getattr(earlier, name), name


def test_without_a_run_they_are_those_of_the_papers_fine_tuning(shards):
    flags, *_ = finetune.COMMAND.parse()
    sizes.follow(flags, SupervisedConfig, sizes.CLIP)
    assert (flags.num_frames, flags.stride, flags.crop_size) == (32, 2, 224)


@pytest.mark.parametrize(
    ("arguments", "batch_size", "learning_rate"),
    [
        ([], 8, 0.32 * 8 / 1024),
        (["--scale_learning_rate"], 8, 0.32),  # the configuration scales it
        (["--batch_size=4"], 4, 0.32),
        (["--accumulate=3"], 6, 0.32 * 6 / 1024),
    ],
)
def test_pre_training_on_few_videos(shards, tmp_path, arguments, batch_size, learning_rate):
    flags, *_ = train.COMMAND.parse(
        f"--train_data={shards}", f"--model_dir={tmp_path}/run", *arguments
    )
    sizes.derive_schedule(flags, flags.accumulate)
    assert flags.batch_size == batch_size
    assert flags.learning_rate == pytest.approx(learning_rate)
    assert f"--batch_size={batch_size}\n" in flags.flagfile()


@pytest.mark.parametrize(
    ("arguments", "warmup_epochs"),
    [
        ([], 5.0),  # of 200 epochs
        (["--epochs=3"], 0.3),
        (["--steps=18"], 1.2),  # 18 steps of 8 of 12 videos: 12 epochs
        (["--steps=18", "--batch_size=4"], 0.6),
        (["--epochs=3", "--warmup_epochs=2"], 2.0),
        (["--flagfile=flags/small", "--steps=0", "--epochs=3"], 0.3),
    ],
)
def test_a_short_run_has_a_short_warm_up(shards, tmp_path, arguments, warmup_epochs):
    flags, *_ = train.COMMAND.parse(
        f"--train_data={shards}", f"--model_dir={tmp_path}/run", *arguments
    )
    sizes.derive_schedule(flags, parts=1)
    assert flags.warmup_epochs == pytest.approx(warmup_epochs)
    assert f"--warmup_epochs={flags.warmup_epochs}\n" in flags.flagfile()
    flags.make(PretrainConfig, augmentation=Augmentation()).check(num_videos=12, num_replicas=1)


def test_a_warm_up_that_is_given_is_checked(shards, tmp_path):
    data = f"--train_data={shards}", f"--test_data={shards}", "--allow_overlap"
    for command, *flags in (
        (train.COMMAND, data[0], f"--model_dir={tmp_path}/run", "--num_frames=4", "--crop_size=32"),
        (
            linear_eval.COMMAND,
            *data,
            *("--mode=fast_sgd", "--backbone=r3d_small", "--crop_size=32", "--num_frames=4"),
            f"--output_dir={tmp_path}/run",
        ),
    ):
        with pytest.raises(
            InputError, match="^warmup_epochs=5.0 is 8 steps, not fewer than the 5 "
        ):
            command.call(*flags, "--epochs=3", "--warmup_epochs=5")
    assert not list(tmp_path.iterdir())


def test_steps_and_epochs_are_not_both_used(shards, tmp_path, capsys):
    data = f"--train_data={shards}", f"--model_dir={tmp_path}/run"
    for arguments, noted in (
        (["--flagfile=flags/small", "--epochs=3"], True),
        (["--flagfile=flags/small", "--epochs=200"], False),  # as flags.txt of a run has it
        (["--epochs=3"], False),
    ):
        flags, *_ = train.COMMAND.parse(*data, *arguments)
        sizes.derive_schedule(flags, parts=1)
        note = "note: steps=1200 determines the length of the run, epochs=3 is not used: "
        assert (note in capsys.readouterr().err) == noted


def test_a_batch_of_more_videos_than_there_are():
    config = SupervisedConfig(train_data="few", num_classes=2, frozen=False, batch_size=13)
    with pytest.raises(
        InputError, match="^batch_size=13 is more than the 12 videos of few; lower batch_size.$"
    ):
        config.check(num_videos=12, num_replicas=1)


def test_the_recipe_for_small_data_is_sized_to_them(shards, tmp_path):
    flags, *_ = train.COMMAND.parse(
        "--flagfile=flags/small", f"--train_data={shards}", f"--model_dir={tmp_path}/run"
    )
    sizes.derive_schedule(flags, parts=1)
    config = flags.make(PretrainConfig, augmentation=Augmentation())
    assert (config.backbone, config.batch_size) == ("r3d_small", 8)
    assert config.peak_learning_rate == pytest.approx(0.64 * 8 / 1024)
    config.check(num_videos=12, num_replicas=1)
    assert flags.max_batch_size == 64
