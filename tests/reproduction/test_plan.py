import pytest
import small_tables

from cvrl_tf.errors import InputError
from cvrl_tf.reproduction import plan
from cvrl_tf.reproduction.plan import Settings


@pytest.fixture
def made():
    return small_tables.make_plan("out")


def test_runs_come_seed_by_seed_after_what_they_need(made):
    assert list(made.runs) == [
        "base_seed0",
        "base_seed0/knn",
        "base_seed0/tuned_split1",
        "base_seed0/tuned_split2",
        "ids/data_50pct_seed0",
        "other_seed0",
        "other_seed0/knn",
        "colors/knn",
        "base_seed1",
        "base_seed1/knn",
        "base_seed1/tuned_split1",
        "base_seed1/tuned_split2",
        "ids/data_50pct_seed1",
        "other_seed1",
        "other_seed1/knn",
    ]
    assert made.runs["other_seed1"].needs == ("ids/data_50pct_seed1",)
    assert made.runs["base_seed0/tuned_split2"].needs == ("base_seed0",)


def test_commands(made):
    shell = {name: run.shell for name, run in made.runs.items()}
    assert shell["other_seed1"] == (
        "python -m cvrl_tf.train --steps=4 --batch_size=2 --eval_data='records/test-*'"
        " --interval=uniform --train_data='records/train-*'"
        " --train_ids=out/ids/data_50pct_seed1.txt --seed=1 --model_dir=out/runs/other_seed1"
    )
    assert shell["ids/data_50pct_seed1"] == (
        "mkdir -p out/ids && python -m cvrl_tf.make_subset --data='records/train-*'"
        " --fraction=0.5 --seed=1 --output=out/ids/data_50pct_seed1.txt"
    )
    assert shell["colors/knn"] == (
        "python -m cvrl_tf.knn_eval --num_clips=3 --backbone=color_histogram"
        " --train_data='records/train-*' --test_data='records/test-*' --seed=0"
        " --output_dir=out/evaluations/colors/knn"
    )
    assert shell["base_seed0/tuned_split2"] == (
        "python -m cvrl_tf.finetune --epochs=10 --model_dir=out/runs/base_seed0"
        " --train_data='ucf/split2/train-*' --test_data='ucf/split2/test-*' --seed=0"
        " --output_dir=out/evaluations/base_seed0/tuned_split2"
    )


def test_flags_of_the_user_come_after_those_of_the_row():
    made = small_tables.make_plan("out", pretrain_flags=("--steps=1",))
    run = made.runs["base_seed0"]
    assert run.shell.index("--steps=1 ") > run.shell.index("--steps=4 ")
    assert run.length.steps == 1


def test_work_is_counted(made):
    assert made.runs["base_seed0"].work == 4 * 2
    assert made.runs["other_seed0"].work == 2.0 * 4 * 2
    assert made.runs["colors/knn"].work == 0.5 * 12 + 1.0 * 4
    assert made.runs["base_seed0/tuned_split1"].work == 10 * 20 + 2.0 * 10


def test_the_plan_in_words(made):
    lines = plan.describe(made, videos_per_second=0.01).splitlines()
    assert lines[0] == "one: One table, scale desk"
    # Two seeds: 8 videos in training, 10 for k-NN, 220 for each split.
    assert lines[2] == "base: the base, 4 steps of 2 videos, about 25 hours"
    assert lines[3] == f"  {made.runs['base_seed0'].shell}"
    assert lines[-1] == "15 runs, seeds 0, 1, about 27 hours"
    assert "hours" not in plan.describe(made, None)


def test_lines_of_the_script_do_not_need_each_other(made):
    lines = plan.script(made).splitlines()
    assert lines[0] == "# one: One table, scale desk"
    assert len(lines) == 6  # two seeds of two trained backbones, and the colours
    for line in lines[1:]:
        models = {word for word in line.split() if word.startswith("--model_dir=")}
        assert len(models) <= 1
    (other,) = [line for line in lines if "/other_seed1 " in line]
    assert other.count(" && ") == 3 and other.startswith("mkdir -p out/ids && python -m cvrl_tf.ma")


def test_tables_share_runs_by_name(made):
    assert [run.name for run in made.cell(made.table.rows[2], "knn", 1)] == ["colors/knn"]
    assert [run.name for run in made.cell(made.table.rows[0], "tuned", 1)] == [
        "base_seed1/tuned_split1",
        "base_seed1/tuned_split2",
    ]
    assert made.cell(made.table.rows[1], "tuned", 1) == []


def test_missing_data_are_named():
    made = plan.make(small_tables.table(), Settings("out", {"data": "records"}))
    with pytest.raises(InputError, match=r"table one at --scale=desk needs data: give --ucf101, t"):
        made.check_data()
    with pytest.raises(InputError, match=r"give --data, --ucf101, the directories of records that"):
        plan.make(small_tables.table(), Settings("out")).check_data()
