import dataclasses
import json

import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.training import run_directory
from cvrl_tf.training.run_directory import PretrainConfig

CONFIG = PretrainConfig(train_data="records/train-*", backbone="r3d_small", batch_size=4)


def test_steps_of_the_released_schedule():
    config = PretrainConfig(train_data="")
    assert config.steps(200, 366_016) == 71_488
    assert config.steps(5, 366_016) == 1_787


def test_prepare_writes_configuration_and_flags(tmp_path):
    directory = str(tmp_path / "run")
    run_directory.prepare(directory, CONFIG, "--batch_size=4\n")
    assert (tmp_path / "run" / "flags.txt").read_text() == "--batch_size=4\n"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch_size"] == 4
    assert run_directory.load_config(directory) == CONFIG
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "flags.txt",
    ]


def test_prepare_accepts_the_same_configuration_again(tmp_path):
    run_directory.prepare(str(tmp_path), CONFIG, "--first\n")
    run_directory.prepare(str(tmp_path), CONFIG, "--second\n")
    assert (tmp_path / "flags.txt").read_text() == "--first\n"


def test_prepare_names_what_differs_and_changes_nothing(tmp_path):
    run_directory.prepare(str(tmp_path), CONFIG)
    other = dataclasses.replace(CONFIG, batch_size=8, temperature=0.2)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(
        InputError, match=r"holds a run with batch_size=4 \(now 8\), temperature=0.1 \(now 0.2\)"
    ):
        run_directory.prepare(str(tmp_path), other)
    assert (tmp_path / "config.json").read_bytes() == before


def test_prepare_refuses_the_directory_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and is not a run of cvrl_tf"):
        run_directory.prepare(str(tmp_path), CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_prepare_refuses_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a run of cvrl_tf"):
        run_directory.prepare(str(tmp_path / "file"), CONFIG)


def test_load_config_needs_a_run(tmp_path):
    with pytest.raises(InputError, match=r"holds no config.json: expected a directory that"):
        run_directory.load_config(str(tmp_path))


def test_load_config_names_a_damaged_file(tmp_path):
    (tmp_path / "config.json").write_text('{"train_data": ')
    with pytest.raises(InputError, match="config.json is damaged"):
        run_directory.load_config(str(tmp_path))
    (tmp_path / "config.json").write_text('{"depth": 50}')
    with pytest.raises(InputError, match="is not of this version: .*depth"):
        run_directory.load_config(str(tmp_path))


def test_load_backbone_without_a_checkpoint(tmp_path):
    run_directory.prepare(str(tmp_path), CONFIG)
    with pytest.raises(InputError, match="holds no checkpoint"):
        run_directory.load_backbone(str(tmp_path))
    _, step = run_directory.load_backbone(str(tmp_path), pretrained=False)
    assert step == 0
