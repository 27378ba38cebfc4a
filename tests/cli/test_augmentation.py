"""The flags of the augmentation, and what comes of them."""

import dataclasses

import pytest

from cvrl_tf import finetune, linear_eval, train
from cvrl_tf.cli import augmentation
from cvrl_tf.data.augment import PRESETS, Augmentation, Geometry
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.errors import InputError
from cvrl_tf.training.config import PretrainConfig


def _chosen(*arguments):
    (flags,) = train.COMMAND.parse(*arguments)
    return augmentation.chosen(flags)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_chosen_by_name(preset):
    assert _chosen(f"--augmentation={preset}") == PRESETS[preset]
    assert _chosen() == PRESETS["released"]


def test_single_values_replace_those_of_the_preset():
    assert _chosen(
        "--augmentation=paper",
        "--crop_area=0.2,0.766",
        "--flip_probability=0",
        "--color_strength=0.5",
        "--blur_probability=1.0,0.1",
        "--noconsistent",
    ) == Augmentation(
        crop_area=(0.2, 0.766),
        flip_probability=0.0,
        color_strength=0.5,
        blur_probability=(1.0, 0.1),
        solarize_probability=(0.0, 0.0),
        consistent=False,
    )


def test_every_value_has_a_flag():
    values = dataclasses.asdict(PRESETS["none"])
    written = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in values.items()
    ]
    assert len(written) == 15 and _chosen(*written) == PRESETS["none"]


def test_the_flagfile_of_a_run_repeats_its_augmentation(tmp_path):
    (flags,) = train.COMMAND.parse("--augmentation=strong", "--blur_sigma=0.2,1", "--norandom_crop")
    (tmp_path / "flags.txt").write_text(flags.flagfile())
    again = _chosen(f"--flagfile={tmp_path / 'flags.txt'}")
    expected = dataclasses.replace(PRESETS["strong"], blur_sigma=(0.2, 1.0), random_crop=False)
    assert again == augmentation.chosen(flags) == expected


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--flip_probability=1.5", "--flip_probability=1.5: expected a number from 0 to 1;"),
        ("--crop_area=0.2", "--crop_area=0.2: expected two numbers with a comma between them"),
        ("--crop_area=0.2,1.1", "--crop_area=0.2,1.1: expected a number from 0.01 to 1;"),
        ("--blur_sigma=nan,1", "--blur_sigma=nan,1: expected a number of at least 0.01;"),
        ("--blur_sigma=1,", "--blur_sigma=1,: expected a number of at least 0.01;"),
        ("--crop_area=0.8,0.2", "crop_area=0.8,0.2: expected a range, the smaller number first"),
        ("--augmentation=weak", "value should be one of <released|paper|none|inconsistent|strong>"),
    ],
)
def test_values_that_cannot_be_are_named(argument, message):
    with pytest.raises(InputError) as caught:
        _chosen(argument)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [finetune.COMMAND, linear_eval.COMMAND])
def test_supervised_training_takes_crop_and_flip(command):
    (flags,) = command.parse("--flip_probability=0", "--crop_area=0.08,1")
    assert flags.make(Geometry) == Geometry(crop_area=(0.08, 1.0), flip_probability=0.0)
    (flags,) = command.parse()
    assert flags.make(Geometry) == Geometry()


def test_clips_per_video():
    (flags,) = train.COMMAND.parse("--clips_per_video=4", "--train_data=x")
    assert flags.make(PretrainConfig, augmentation=PRESETS["paper"]).views == ViewsSpec(
        ClipSpec(16, 2, 224), augmentation=PRESETS["paper"], number=4
    )
    with pytest.raises(InputError, match="--clips_per_video=1: expected an integer from 2 to "):
        train.COMMAND.parse("--clips_per_video=1")
