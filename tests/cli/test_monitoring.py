import pytest
from small_records import damage, make_video, write_shard
from tiny_backbone import tiny_backbone

from cvrl_tf import train
from cvrl_tf.cli import augmentation, monitoring
from cvrl_tf.training.config import PretrainConfig


@pytest.fixture
def split(tmp_path):
    """Shards of eight training videos and of four test videos, of two classes."""
    made = [make_video(number, num_frames=8, label=number % 2) for number in range(12)]
    return write_shard(tmp_path / "train-0", made[:8]), write_shard(tmp_path / "test-0", made[8:])


def _evaluation(train_data, test_data):
    (values,) = train.COMMAND.parse(
        f"--train_data={train_data}",
        f"--eval_data={test_data}",
        "--num_frames=4",
        "--crop_size=32",
    )
    return monitoring.knn_evaluation(
        values, values.make(PretrainConfig, augmentation=augmentation.chosen(values))
    )


def test_records_that_cannot_be_read_do_not_end_the_run(split, tmp_path, capsys):
    """They are omitted, and the figure is that of the others."""
    backbone = tiny_backbone()
    others = [
        write_shard(tmp_path / f"other-{name}", [make_video(n, 8, label=n % 2) for n in numbers])
        for name, numbers in (("train", [0, 1, 3, 4, 5, 6, 7]), ("test", [8, 9, 11]))
    ]
    expected = _evaluation(*others).measure(backbone)
    evaluation = _evaluation(*split)
    damage(split[0], 2)
    damage(split[1], 2)
    capsys.readouterr()
    assert evaluation.measure(backbone) == evaluation.measure(backbone) == expected
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("note")]
    progress = [line.split(" videos after")[0] for line in lines if " videos after" in line]
    assert progress == 2 * ["features of --train_data: 8/8", "features of --eval_data: 4/4"]
    assert [line.partition(": the record is damaged")[0] for line in said] == [
        f"note: the evaluation omits {path}, record 2" for path in split
    ]


def test_an_evaluation_without_records_is_omitted(split, capsys):
    evaluation = _evaluation(*split)
    damage(split[1], 0, 1, 2, 3)
    assert evaluation.measure(tiny_backbone()) == {}
    assert (
        f"note: this evaluation is omitted. None of the 4 records of {split[1]} can be read.\n"
        in capsys.readouterr().err
    )
