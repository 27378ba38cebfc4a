from cvrl_tf import train
from cvrl_tf.cli import augmentation, monitoring
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
    evaluation = monitoring.knn_evaluation(
        values, values.make(PretrainConfig, augmentation=augmentation.chosen(values))
    )

    def fail(*arguments):
        raise InputError("a record is damaged.")

    monkeypatch.setattr(knn, "evaluate", fail)
    assert evaluation.measure(None) == {}
    assert "note: this evaluation is omitted. a record is damaged.\n" in capsys.readouterr().err
