import shlex

import pytest
from small_records import make_video, write_shard

from cvrl_tf import knn_eval, train
from cvrl_tf.cli import augmentation
from cvrl_tf.data.augment import Augmentation
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import knn
from cvrl_tf.training.config import PretrainConfig


def test_an_evaluation_that_fails_does_not_end_the_run(shards, monkeypatch, capsys):
    """A record of its data is damaged, which training itself skips."""
    (values,) = train.COMMAND.parse(
        f"--train_data={shards}",
        f"--eval_data={shards}",
        "--allow_overlap",
        "--num_frames=4",
        "--crop_size=32",
    )
    evaluation = train._knn_evaluation(
        values, values.make(PretrainConfig, augmentation=augmentation.chosen(values))
    )

    def fail(*arguments):
        raise InputError("a record is damaged.")

    monkeypatch.setattr(knn, "evaluate", fail)
    assert evaluation.measure(None) == {}
    assert "note: this evaluation is omitted. a record is damaged.\n" in capsys.readouterr().err


def test_the_recipe_for_small_data_is_sized_to_them(shards, tmp_path):
    flags, *_ = train.COMMAND.parse(
        "--flagfile=flags/small", f"--train_data={shards}", f"--model_dir={tmp_path}/run"
    )
    train._derive_sizes(flags, parts=1)
    config = flags.make(PretrainConfig, augmentation=Augmentation())
    assert (config.backbone, config.batch_size) == ("r3d_small", 8)
    assert config.peak_learning_rate == pytest.approx(0.64 * 8 / 1024)
    config.check(num_videos=12, num_replicas=1)
    assert flags.max_batch_size == 64


def test_the_printed_commands_run_as_printed(tmp_path, capsys):
    records = tmp_path / "it's mine"
    records.mkdir()
    for split, first in (("train", 0), ("test", 6)):
        videos = [make_video(first + number, label=number % 2) for number in range(6)]
        write_shard(records / f"{split}-00000-of-00001", videos)
    (records / "labels.txt").write_text("class_0\nclass_1\n")
    train.COMMAND.call(
        f"--train_data={records}/train-*",
        f"--model_dir={records}/run",
        *("--num_frames=4", "--crop_size=32", "--backbone=r3d_small"),
        *("--batch_size=2", "--steps=1", "--warmup_epochs=0"),
    )
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["watch"].strip() == f"tensorboard --logdir={shlex.quote(f'{records}/run')}"
    assert shlex.split(lines["classify"]) == [
        *("python", "-m", "cvrl_tf.finetune", f"--model_dir={records}/run"),
        f"--output_dir={records}/run_finetuned",
        f"--train_data={records}/train-*",
        f"--test_data={records}/test-*",
    ]
    _, _, module, *arguments = shlex.split(lines["evaluate"])
    assert module == "cvrl_tf.knn_eval" and arguments[-1] == "--num_neighbors=5"
    knn_eval.COMMAND.call(*arguments)
    assert "knn_5_top1" in capsys.readouterr().out


def test_without_labels_or_test_videos_the_features_are_next(shards, tmp_path):
    (line,) = train.next_commands("runs/first one", shards, "")
    assert line == (
        "features: python -m cvrl_tf.extract_features --model_dir='runs/first one'"
        f" --data={shlex.quote(shards)} --output='runs/first one/features.npz'"
    )
