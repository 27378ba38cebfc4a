import dataclasses
import json

import pytest

from cvrl_tf.data import augment
from cvrl_tf.errors import InputError
from cvrl_tf.settings import about
from cvrl_tf.training import config as configurations
from cvrl_tf.training.config import NetworkConfig, PretrainConfig, RunConfig, SupervisedConfig

CONFIGS = [
    NetworkConfig(backbone="r3d_small", width_multiplier=2, init_checkpoint="theirs/ckpt-9"),
    PretrainConfig("records/train-*", batch_size=8, interval="uniform"),
    PretrainConfig("records/train-*", augmentation=augment.PRESETS["strong"]),
    SupervisedConfig("records/train-*", num_classes=5, frozen=True, init="run", dropout=0.5),
    SupervisedConfig(
        "x", num_classes=5, frozen=False, geometry=augment.Geometry(flip_probability=0.0)
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_comes_back_from_json(config):
    values = configurations.to_json(config)
    assert (
        values["kind"]
        == {
            NetworkConfig: "network",
            PretrainConfig: "pretrain",
            SupervisedConfig: "supervised",
        }[type(config)]
    )
    assert configurations.from_json(json.loads(json.dumps(values))) == config


@pytest.mark.parametrize("preset", ["released", "paper"])
def test_earlier_versions_wrote_the_name_of_a_preset(preset):
    expected = PretrainConfig("x", augmentation=augment.PRESETS[preset])
    assert configurations.from_json({"train_data": "x", "augmentation": preset}) == expected


def test_config_json_holds_the_values_of_the_augmentation():
    values = configurations.to_json(PretrainConfig("x", augmentation=augment.PRESETS["strong"]))
    assert values["augmentation"]["crop_area"] == (0.2, 0.766)
    assert values["augmentation"]["blur_probability"] == (1.0, 0.1)


def test_values_have_the_names_of_their_flags():
    supervised = configurations.values_by_name(CONFIGS[-1])
    assert (supervised["flip_probability"], supervised["crop_area"]) == (0.0, (0.3, 1.0))
    assert not {"geometry", "augmentation", "blur_sigma"} & supervised.keys()
    assert configurations.values_by_name(CONFIGS[2])["crop_area"] == (0.2, 0.766)


@pytest.mark.parametrize("config", CONFIGS[1:])
def test_configurations_of_earlier_versions_have_no_kind(config):
    values = dataclasses.asdict(config) | {"shuffle_buffer": 1024}
    values.pop("accumulate", None)  # which they did not have
    assert configurations.from_json(values) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "video"}, "kind=video, expected network, pretrain, supervised"),
        ({"train_data": "x", "depth": 50}, "unexpected keyword argument 'depth'"),
        (
            {"train_data": "x", "augmentation": "weak"},
            "augmentation=weak, expected released, paper, none, inconsistent, strong",
        ),
        (
            {"train_data": "x", "augmentation": {"zoom": 2}},
            "unexpected keyword argument 'zoom'",
        ),
        (
            {"train_data": "x", "augmentation": {"flip_probability": 2}},
            "flip_probability=2: expected numbers from 0 to 1",
        ),
        ({"kind": "supervised", "train_data": "x"}, "missing 2 required keyword-only arguments"),
    ],
)
def test_what_is_no_configuration_is_named(values, message):
    with pytest.raises(InputError, match=message):
        configurations.from_json(values)


def test_every_setting_of_training_has_help_that_ends_in_a_period():
    skipped = ("num_classes", "frozen", "train_ids", "init", *configurations.NESTED)
    for cls in (PretrainConfig, SupervisedConfig, augment.Augmentation):
        for field in dataclasses.fields(cls):
            if field.name not in skipped:
                assert about(cls, field.name).help.endswith("."), field.name


def test_shared_fields_are_declared_once():
    shared = {field.name for field in dataclasses.fields(RunConfig)}
    assert len(shared) == 15
    for cls in (PretrainConfig, SupervisedConfig):
        assert shared <= {field.name for field in dataclasses.fields(cls)}
        assert issubclass(cls, RunConfig)


def test_steps_are_the_nearest_number():
    config = SupervisedConfig("x", num_classes=2, frozen=False, batch_size=8)
    assert [config.steps_of(epochs, 10) for epochs in (0, 0.39, 0.4, 2)] == [0, 0, 1, 3]
    assert PretrainConfig("x", batch_size=8, epochs=2).total_steps(10) == 3
    assert PretrainConfig("x", batch_size=8, epochs=2, steps=7).total_steps(10) == 7
