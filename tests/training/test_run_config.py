import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pytest
from small_records import make_video, write_shard

from cvrl_tf.data import augment
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.stream import ARRAY_ORDER, INDEX_ORDER, Order
from cvrl_tf.errors import InputError
from cvrl_tf.models import build_projection_head
from cvrl_tf.training import run_config, weights
from cvrl_tf.training.config import PretrainConfig

CONFIG = PretrainConfig(train_data="records/train-*", backbone="r3d_small", batch_size=4)


def test_steps_of_the_released_schedule():
    config = PretrainConfig(train_data="")
    assert config.total_steps(366_016) == 71_488
    assert config.steps_of(5, 366_016) == 1_787


def test_the_linear_scaling_rule_is_for_a_batch_of_1024():
    assert PretrainConfig("", batch_size=256).peak_learning_rate == 0.32
    scaled = PretrainConfig("", batch_size=256, scale_learning_rate=True)
    assert scaled.peak_learning_rate == pytest.approx(0.08)


def test_prepare_writes_configuration_and_flags(tmp_path):
    directory = str(tmp_path / "run")
    run_config.prepare(directory, CONFIG, flagfile="--batch_size=4\n")
    assert (tmp_path / "run" / "flags.txt").read_text() == "--batch_size=4\n"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch_size"] == 4
    assert run_config.load_config(directory) == CONFIG
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "flags.txt",
    ]


def test_prepare_accepts_the_same_configuration_again(tmp_path):
    run_config.prepare(str(tmp_path), CONFIG, flagfile="--first\n")
    run_config.prepare(str(tmp_path), CONFIG, flagfile="--second\n")
    assert (tmp_path / "flags.txt").read_text() == "--first\n"


def test_a_setting_of_earlier_versions_does_not_matter(tmp_path):
    run_config.prepare(str(tmp_path), CONFIG)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["accumulate"]  # which they did not have
    (tmp_path / "config.json").write_text(json.dumps(values | {"shuffle_buffer": 1024}))
    assert run_config.load_config(str(tmp_path)) == CONFIG
    run_config.prepare(str(tmp_path), CONFIG)


def test_prepare_names_what_differs_and_changes_nothing(tmp_path):
    run_config.prepare(str(tmp_path), CONFIG)
    other = dataclasses.replace(CONFIG, batch_size=8, temperature=0.2)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(
        InputError, match=r"holds a run with batch_size=4 \(now 8\), temperature=0.1 \(now 0.2\)"
    ):
        run_config.prepare(str(tmp_path), other)
    assert (tmp_path / "config.json").read_bytes() == before


def test_single_values_of_an_augmentation_are_named(tmp_path):
    run_config.prepare(str(tmp_path), CONFIG)
    still = augment.Augmentation(crop_area=(0.2, 0.766), flip_probability=0.0)
    with pytest.raises(
        InputError,
        match=r"holds a run with crop_area=0.3,1.0 \(now 0.2,0.766\), flip_probability=0.5"
        r" \(now 0.0\): resume",
    ):
        run_config.prepare(str(tmp_path), dataclasses.replace(CONFIG, augmentation=still))


def test_a_run_of_a_version_that_kept_the_name_of_its_augmentation_is_resumed(tmp_path):
    run_config.prepare(str(tmp_path), CONFIG)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"augmentation": "released"}))
    run_config.prepare(str(tmp_path), CONFIG)
    paper = dataclasses.replace(CONFIG, augmentation=augment.PRESETS["paper"])
    with pytest.raises(InputError, match=r"blur_probability=1.0,0.1 \(now 0.0,0.0\), solarize"):
        run_config.prepare(str(tmp_path), paper)


def test_prepare_refuses_the_directory_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and is not a run of cvrl_tf"):
        run_config.prepare(str(tmp_path), CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_prepare_goes_on_where_it_was_killed(tmp_path):
    """Killed after the flags and within the configuration, it must not refuse its own files."""
    (tmp_path / "flags.txt").write_text("--batch_size=4\n")
    (tmp_path / f"config.json.tmp-{'0a' * 16}").write_text("{")
    run_config.prepare(str(tmp_path), CONFIG, flagfile="--batch_size=4\n")
    assert run_config.load_config(str(tmp_path)) == CONFIG


def test_prepare_refuses_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a run of cvrl_tf"):
        run_config.prepare(str(tmp_path / "file"), CONFIG)


@pytest.fixture
def records(tmp_path):
    """Twelve records, and the pattern that finds them."""
    directory = tmp_path / "records"
    directory.mkdir()
    for shard in range(2):
        videos = [make_video(6 * shard + number, 2) for number in range(6)]
        write_shard(directory / f"train-{shard}", videos)
    return str(directory / "train-*")


def _train_in(model_dir, config, is_chief=True, **options):
    """The order of a run that trains on the data of its configuration."""
    videos = find_source(config.train_data, "train_data").indexed()
    with run_config.training_in(str(model_dir), config, videos, is_chief, **options) as order:
        return order


def _config_json(model_dir):
    return json.loads((model_dir / "config.json").read_text())


def test_a_new_run_keeps_its_records_and_their_order(records, tmp_path):
    run, config = tmp_path / "run", dataclasses.replace(CONFIG, train_data=records, seed=3)
    # A worker that is not the chief may come first, and finds nothing to read.
    assert _train_in(run, config, is_chief=False) == Order(3, INDEX_ORDER)
    assert not run.exists()
    assert _train_in(run, config) == Order(3, INDEX_ORDER)
    values = _config_json(run)
    fingerprint = find_source(records, "x").indexed().index.fingerprint()
    assert values["order"] == 2 and values["records"] == {"number": 12, "fingerprint": fingerprint}
    assert run_config.load_config(str(run)) == config
    for is_chief in (True, False):
        assert _train_in(run, config, is_chief) == Order(3, INDEX_ORDER)
    assert _config_json(run) == values


def test_a_run_of_an_earlier_version_keeps_its_order(records, tmp_path):
    """It has neither the order nor the records in its configuration; it gets both."""
    run, config = tmp_path / "run", dataclasses.replace(CONFIG, train_data=records, seed=3)
    _train_in(run, config, flagfile="--first\n")
    values = _config_json(run)
    old = {name: values[name] for name in values if name not in ("kind", "order", "records")}
    (run / "config.json").write_text(json.dumps(old))
    assert _train_in(run, config, is_chief=False) == Order(3, ARRAY_ORDER)
    assert _config_json(run) == old
    assert _train_in(run, config, flagfile="--second\n") == Order(3, ARRAY_ORDER)
    assert _config_json(run) == values | {"order": 1}
    assert (run / "flags.txt").read_text() == "--first\n"
    assert _train_in(run, config) == Order(3, ARRAY_ORDER)


def test_data_that_changed_are_refused(records, tmp_path, capsys):
    run, config = tmp_path / "run", dataclasses.replace(CONFIG, train_data=records)
    _train_in(run, config)
    before = _config_json(run)
    write_shard(tmp_path / "records" / "train-2", [make_video(12, 2)])
    with pytest.raises(
        InputError,
        match=r"holds a run with records: 12 with fingerprint \w{16} \(now 13 with fingerprint"
        r" \w{16}\): resume it with the same settings and data, name another directory, or give",
    ):
        _train_in(run, config)
    assert _config_json(run) == before
    assert _train_in(run, config, override=True) == Order(0, INDEX_ORDER)
    assert "note: resuming with other settings, records: 12" in capsys.readouterr().err
    assert _config_json(run)["records"]["number"] == 13
    (tmp_path / "records" / "train-2").unlink()  # what the run now lacks
    with pytest.raises(InputError, match="records: 13 with fingerprint"):
        _train_in(run, config)


def test_moved_files_of_the_same_content_are_the_same_data(records, tmp_path):
    run, config = tmp_path / "run", dataclasses.replace(CONFIG, train_data=records)
    _train_in(run, config, flagfile="--first\n")
    (tmp_path / "records").rename(tmp_path / "moved")
    moved = dataclasses.replace(config, train_data=str(tmp_path / "moved" / "train-*"))
    _train_in(run, moved, flagfile="--second\n")
    assert run_config.load_config(str(run)) == moved
    assert (run / "flags.txt").read_text() == "--second\n"
    with pytest.raises(InputError, match=r"holds a run with temperature=0.1 \(now 0.2\): resume"):
        _train_in(run, dataclasses.replace(config, train_data=moved.train_data, temperature=0.2))


def test_load_config_needs_a_run(tmp_path):
    with pytest.raises(InputError, match=r"holds no config.json: expected a directory that"):
        run_config.load_config(str(tmp_path))


def test_load_config_names_a_damaged_file(tmp_path):
    (tmp_path / "config.json").write_text('{"train_data": ')
    with pytest.raises(InputError, match="config.json is damaged"):
        run_config.load_config(str(tmp_path))
    (tmp_path / "config.json").write_text('{"depth": 50}')
    with pytest.raises(InputError, match="cannot be read by this version: .*depth"):
        run_config.load_config(str(tmp_path))


def test_load_config_names_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(InputError, match=r"config.json cannot be read \(.*\): give yourself"):
        run_config.load_config(str(tmp_path))
    (tmp_path / "config.json").rmdir()
    (tmp_path / "config.json").write_text('{"train_data": "x", "records": {"count": 3}}')
    with pytest.raises(InputError, match="config.json cannot be read by this version: .*count"):
        run_config.load_config(str(tmp_path))


def test_load_backbone_without_a_checkpoint(tmp_path):
    run_config.prepare(str(tmp_path), CONFIG)
    with pytest.raises(InputError, match="holds no checkpoint"):
        weights.load_backbone(str(tmp_path))


@pytest.fixture
def imported(tmp_path):
    """A directory with weights of seed 5, step 30, and the backbone and head that hold them."""
    config = dataclasses.replace(CONFIG, backbone="r3d_small", seed=5)
    backbone, head = config.build_backbone(), build_projection_head(512, seed=5)
    directory = str(tmp_path / "imported")
    run_config.prepare(directory, config)
    return directory, config, backbone, head


def _fresh():
    config = dataclasses.replace(CONFIG, backbone="r3d_small", seed=6)
    return config, config.build_backbone(), build_projection_head(512, seed=6)


def _equal(one, two):
    return all(
        np.array_equal(a.numpy(), b.numpy()) for a, b in zip(one.weights, two.weights, strict=True)
    )


def test_a_run_starts_from_the_weights_of_a_directory_or_checkpoint(imported):
    directory, _, backbone, head = imported
    weights.save_imported(directory, backbone, head, step=30)
    for path in (directory, f"{directory}/", f"{directory}/checkpoints/ckpt-30"):
        config, fresh_backbone, fresh_head = _fresh()
        assert not _equal(fresh_backbone, backbone) and not _equal(fresh_head, head)
        said = weights.initialize(
            {"backbone": fresh_backbone, "head": fresh_head},
            dataclasses.replace(config, init_checkpoint=path),
        )
        assert said == (f"initial weights: backbone and head of {directory}/checkpoints/ckpt-30")
        assert _equal(fresh_backbone, backbone) and _equal(fresh_head, head)
    loaded, step = weights.load_backbone(f"{directory}/checkpoints/ckpt-30.index")
    assert step == 30 and _equal(loaded, backbone)


def test_without_a_head_only_the_backbone_is_loaded_and_that_is_said(imported):
    directory, _, backbone, _ = imported
    weights.save_imported(directory, backbone, None, step=0)
    config, fresh_backbone, fresh_head = _fresh()
    before = [value.numpy() for value in fresh_head.weights]
    said = weights.initialize(
        {"backbone": fresh_backbone, "head": fresh_head},
        dataclasses.replace(config, init_checkpoint=directory),
    )
    assert said.endswith("(it has no projection head, which starts from random weights)")
    assert _equal(fresh_backbone, backbone)
    assert all(
        np.array_equal(a, b.numpy()) for a, b in zip(before, fresh_head.weights, strict=True)
    )


def test_initial_weights_that_do_not_fit_are_named(imported):
    directory, _, backbone, head = imported
    config, fresh_backbone, fresh_head = _fresh()

    def initialize(**changes):
        networks = {"backbone": fresh_backbone, "head": fresh_head}
        weights.initialize(networks, dataclasses.replace(config, **changes))

    with pytest.raises(InputError, match="holds no checkpoint"):
        initialize(init_checkpoint=directory)
    weights.save_imported(directory, backbone, head, step=30)
    with pytest.raises(InputError, match=r"has width_multiplier=1, this run width_multiplier"):
        initialize(init_checkpoint=directory, width_multiplier=2)
    with pytest.raises(InputError, match=r"has backbone=r3d_small, this run backbone=r3d_50"):
        initialize(init_checkpoint=directory, backbone="r3d_50")
    with pytest.raises(InputError, match=r"no checkpoint .*ckpt-7 .*checkpoints holds ckpt-30"):
        initialize(init_checkpoint=f"{directory}/checkpoints/ckpt-7")
    with pytest.raises(InputError, match="nowhere does not exist: expected a directory"):
        initialize(init_checkpoint="nowhere")


class _Workers:
    """Stands in for workers of which each says a text."""

    def __init__(self, *texts):
        self._texts = texts

    def texts(self, text):
        return [text, *self._texts]


def _said(config):
    """What a worker says of the configuration and data that it trains with."""
    said = []
    videos = find_source(config.train_data, "train_data").indexed()
    workers = _Workers()
    workers.texts = lambda text: said.append(text) or [text]
    run_config.check_workers(workers, config, videos)
    return said[0]


def test_workers_with_other_settings_or_records_are_named(records, tmp_path):
    config = dataclasses.replace(CONFIG, train_data=records)
    videos = find_source(records, "x").indexed()
    moved = tmp_path / "moved"
    shutil.copytree(os.path.dirname(records), moved)
    same = _said(dataclasses.replace(config, train_data=f"{moved}/train-*"))
    run_config.check_workers(_Workers(_said(config), same), config, videos)
    for other, message in (
        (dataclasses.replace(config, temperature=0.2), r"temperature=0.1 \(worker 2: 0.2\)"),
        (
            dataclasses.replace(config, train_data=records.replace("*", "0")),
            r"records: 12 with fingerprint \w+ \(worker 2: 6 with fingerprint \w+\)",
        ),
    ):
        with pytest.raises(InputError) as error:
            run_config.check_workers(_Workers(_said(config), _said(other)), config, videos)
        assert re.fullmatch(
            r"Workers train with different settings or data: worker 0 has (.*, )?"
            + message
            + r"\. Start the same command on all of them\.",
            str(error.value),
        )
