"""The flagfiles of published experiments, the table in the docs and the defaults agree."""

import pathlib
import re

import pytest

from cvrl_tf import train
from cvrl_tf.data.augment import PRESETS
from cvrl_tf.training.config import PretrainConfig, SupervisedConfig

ROOT = pathlib.Path(__file__).parents[2]
# Flags that choose a preset of a setting, or that are settings of one.
OF_NESTED = {"augmentation": PRESETS.__getitem__}
TYPES = {
    name: OF_NESTED.get(name, type(value))
    for name, value in vars(PretrainConfig(train_data="")).items()
}


def _values(name, config):
    """The flags of a flagfile, with the types that they have in a configuration."""
    lines = (ROOT / "flags" / name).read_text().splitlines()
    pairs = [line.removeprefix("--").split("=", 1) for line in lines if not line.startswith("#")]
    types = TYPES | {name: type(value) for name, value in vars(config).items()} | OF_NESTED
    return {flag: types.get(flag, str)(value) for flag, value in pairs}


def _flags(name):
    return _values(name, PretrainConfig(train_data=""))


def _documented():
    table = (ROOT / "docs" / "fidelity.md").read_text().split("## Hyper-parameters")[1]
    rows = re.findall(r"^\| (\w+) \| (\S+) \|$", table.split("## ")[0], re.MULTILINE)
    return {flag: TYPES[flag](value) for flag, value in rows if flag != "flag"}


@pytest.mark.parametrize("name", ["pretrain_k600_r3d50_200ep", "pretrain_k400_r3d50_200ep"])
def test_flagfiles_have_the_released_hyper_parameters(name):
    assert _flags(name) == _documented()


RELEASED = "pretrain_k400_r3d50_200ep"


@pytest.mark.parametrize(
    ("name", "changed", "figure"),
    [
        ("k400_r3d50_sampling_b", {"interval_power": 0.5}, "63.1"),
        ("k400_r3d50_sampling_c", {"interval_power": 2.0}, "62.9"),
        ("k400_r3d50_sampling_d", {"interval": "uniform"}, "62.7"),
        ("k400_r3d50_sampling_e", {"interval": "increasing"}, "62.4"),
        ("k400_r3d50_sampling_f", {"interval": "increasing", "interval_power": 2.0}, "61.9"),
        ("k400_r3d50_no_temporal", {"interval": "zero"}, "not at hand"),
        ("k400_r3d50_no_spatial", {"augmentation": PRESETS["none"]}, "not at hand"),
        ("k400_r3d50_inconsistent", {"augmentation": PRESETS["inconsistent"]}, "not at hand"),
        ("k400_r50_frames", {"num_frames": 1, "interval": "zero"}, "46.8"),
        ("k400_r3d50_800ep", {"epochs": 800.0}, "66.1"),
        ("k600_r3d50_800ep", {"epochs": 800.0}, "70.4"),
        ("k400_r3d101_800ep", {"backbone": "r3d_101", "epochs": 800.0}, "67.6"),
        ("k600_r3d101_800ep", {"backbone": "r3d_101", "epochs": 800.0}, "71.6"),
        (
            "k600_r3d152x2_800ep",
            {"backbone": "r3d_152", "width_multiplier": 2, "epochs": 800.0},
            "72.9",
        ),
    ],
)
def test_flagfiles_of_published_rows_differ_in_what_they_say(name, changed, figure):
    assert _flags(f"pretrain_{name}") == _documented() | changed
    head = (ROOT / "flags" / f"pretrain_{name}").read_text().partition("\n--")[0]
    assert figure in head and f"--flagfile=flags/pretrain_{name} " in head
    assert "ours" in head.lower() or "our reading" in head
    for flag, value in changed.items():
        assert _flags(RELEASED)[flag] != value


def test_every_flagfile_of_pre_training_is_tested():
    tested = {RELEASED, "pretrain_k600_r3d50_200ep"}
    published = test_flagfiles_of_published_rows_differ_in_what_they_say.pytestmark[0].args[1]
    tested |= {f"pretrain_{row[0]}" for row in published}
    methods = test_flagfiles_of_the_methods_can_be_run.pytestmark[0].args[1]
    tested |= {f"pretrain_k400_r3d50_{row[0]}" for row in methods}
    there = {path.name for path in (ROOT / "flags").iterdir() if path.name.startswith("pretrain")}
    assert there == tested


@pytest.mark.parametrize(
    ("name", "other", "changed"),
    [
        ("linear_k600", "linear_k400", {}),
        ("linear_ucf101", "linear_k400", {"batch_size": 512, "learning_rate": 16.0}),
        ("linear_hmdb51", "linear_k400", {"batch_size": 512, "learning_rate": 16.0}),
        ("supervised_k600", "supervised_k400", {}),
    ],
)
def test_supervised_flagfiles_differ_in_what_they_say(name, other, changed):
    config = SupervisedConfig(train_data="", num_classes=0, frozen=False)
    assert _values(name, config) == _values(other, config) | changed


@pytest.mark.parametrize(
    ("name", "method", "num_clips", "momentum"),
    [
        ("4clips", "cvrl", 4, 0.0),
        ("moco", "moco", 2, 0.994),
        ("moco_4clips", "moco", 4, 0.994),
        ("byol", "byol", 2, 0.996),
    ],
)
def test_flagfiles_of_the_methods_can_be_run(name, method, num_clips, momentum):
    path = ROOT / "flags" / f"pretrain_k400_r3d50_{name}"
    flags, *_ = train.COMMAND.parse(f"--flagfile={path}", "--train_data=x", "--model_dir=y")
    config = flags.make(PretrainConfig)
    config.check(240_000, 64)
    assert (config.method, config.clips_per_video) == (method, num_clips)
    assert (config.momentum_encoder, config.anneal_momentum) == (momentum, momentum > 0)
    assert config.total_steps(240_000) == 46_875


def test_the_released_linear_evaluation():
    # From the authors' configuration.
    values = _values("linear_k400", SupervisedConfig(train_data="", num_classes=0, frozen=True))
    assert values == {
        "mode": "sgd",
        "num_frames": 32,
        "stride": 2,
        "crop_size": 224,
        "batch_size": 1024,
        "epochs": 100.0,
        "warmup_epochs": 5.0,
        "learning_rate": 32.0,
        "precision": "bfloat16",
        "test_crop_size": "256",
        "num_clips": "10",
        "num_crops": "3",
    }
    config = SupervisedConfig(
        train_data="", num_classes=600, frozen=True, batch_size=values["batch_size"]
    )
    assert config.steps_of(values["epochs"], 366_016) == 35_744
    assert config.steps_of(values["warmup_epochs"], 366_016) == 1_787


SUPERVISED_FILES = sorted(
    path.name
    for path in (ROOT / "flags").iterdir()
    if path.name.startswith(("finetune", "semi", "supervised", "linear"))
)
OF_COMMANDS = {"mode", "test_crop_size", "num_clips", "num_crops", "feature_clips"}


@pytest.mark.parametrize("name", SUPERVISED_FILES)
def test_supervised_flagfiles_have_flags_that_there_are_and_a_command(name):
    config = SupervisedConfig(train_data="", num_classes=0, frozen=False)
    values = _values(name, config)
    assert values.keys() <= vars(config).keys() | OF_COMMANDS
    text = (ROOT / "flags" / name).read_text()
    assert f"--flagfile=flags/{name} " in text and "# python -m cvrl_tf." in text


def test_the_released_hyper_parameters():
    # From the authors' configuration; so that table and flagfiles do not drift alike.
    assert _documented() == {
        "backbone": "r3d_50",
        "width_multiplier": 1,
        "num_frames": 16,
        "stride": 2,
        "crop_size": 224,
        "interval": "decreasing",
        "interval_power": 1.0,
        "augmentation": PRESETS["released"],
        "batch_size": 1024,
        "epochs": 200.0,
        "warmup_epochs": 5.0,
        "learning_rate": 0.32,
        "weight_decay": 1e-6,
        "temperature": 0.1,
        "precision": "bfloat16",
    }


def test_defaults_are_the_released_ones_but_for_precision():
    defaults = vars(PretrainConfig(train_data=""))
    for flag, value in _documented().items():
        if flag != "precision":  # bfloat16 is slow where the processor has no units for it
            assert defaults[flag] == value, flag


def test_every_test_that_the_docs_name_exists():
    text = (ROOT / "docs" / "fidelity.md").read_text()
    table = text.split("## The table")[1].split("## ")[0]
    path, named = None, 0
    for file, test in re.findall(r"`([\w/]*test_\w+\.py)?(?:::(\w+))?`", table):
        path = file or path  # `::test` alone is of the file named before
        if file or test:
            named += 1
            assert not test or f"def {test}(" in (ROOT / "tests" / path).read_text(), (path, test)
    assert named >= 25
