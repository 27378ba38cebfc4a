import shlex

import pytest
from small_records import make_video, write_shard

from cvrl_tf import knn_eval, train
from cvrl_tf.cli import next_commands
from cvrl_tf.data.augment import Augmentation
from cvrl_tf.training.config import PretrainConfig


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
    assert shlex.split(lines["fine-tune"]) == [
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
    config = PretrainConfig(train_data=shards)
    (line,) = next_commands.after_pretraining("runs/first one", config, "")
    assert line == (
        "features: python -m cvrl_tf.extract_features --model_dir='runs/first one'"
        f" --data={shlex.quote(shards)} --output='runs/first one/features.npz'"
    )


@pytest.mark.parametrize(
    ("splits", "eval_data", "tested", "validated"),
    [
        ("validation test", "", "test-*", "validation-*"),
        ("validation test", "validation-*", "test-*", "validation-*"),
        ("validation test", "other-*", "other-*", "validation-*"),
        ("validation", "validation-*", "validation-*", ""),
        ("val", "", "val-*", ""),
        ("", "other-*", "other-*", ""),
    ],
)
def test_a_validation_split_validates_and_a_test_split_tests(
    tmp_path, monkeypatch, splits, eval_data, tested, validated
):
    monkeypatch.chdir(tmp_path)
    for split in ("train", *splits.split()):
        write_shard(f"{split}-0", [make_video(0)])
    (tmp_path / "labels.txt").write_text("class_0\n")
    config = PretrainConfig(train_data="train-*", augmentation=Augmentation(flip_probability=0.0))
    evaluate, finetune = map(shlex.split, next_commands.after_pretraining("run", config, eval_data))
    assert f"--test_data={tested}" in evaluate and f"--test_data={tested}" in finetune
    assert [word for word in finetune if "validation_data" in word] == (
        [f"--validation_data={validated}"] if validated else []
    )
    assert "--flip_probability=0" in finetune
