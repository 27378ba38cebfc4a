import json

import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.mean_results import COMMAND


def _result(top1, protocol="finetune", clips=10, **figures):
    return {
        "protocol": protocol,
        "views": {"clips": clips, "crops": 3},
        "train": {"name": "a", "videos": 9},
        "test": {"name": "b", "videos": 4},
        "figures": {name: {"value": value} for name, value in {"top1": top1, **figures}.items()},
    }


@pytest.fixture
def write(tmp_path):
    """Writes results as the splits of a data set; the pattern that finds them."""

    def write(*results):
        for split, result in enumerate(results, 1):
            directory = tmp_path / f"split{split}"
            directory.mkdir()
            (directory / "results.json").write_text(json.dumps(result))
        return f"{tmp_path}/split*/results.json"

    return write


def test_the_mean_over_splits_by_hand(write, capsys, tmp_path):
    pattern = write(*(_result(top1, top5=0.9) for top1 in (0.5, 0.25, 0.75)))
    COMMAND.call(pattern)
    assert capsys.readouterr().out.splitlines() == [
        *(f"({n}) {tmp_path}/split{n}/results.json: 4 test videos" for n in (1, 2, 3)),
        "",
        "figure     (1)     (2)     (3)    mean  spread",
        "top1    0.5000  0.2500  0.7500  0.5000  0.2500",
        "top5    0.9000  0.9000  0.9000  0.9000  0.0000",
    ]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([_result(0.5)], "matches 1 file, expected two or more"),
        ([_result(0.5), _result(0.5, protocol="knn")], "has protocol=knn, .* has finetune: a mean"),
        ([_result(0.5), _result(0.5, clips=1)], r"views=.*'clips': 1.*'clips': 10"),
        ([_result(0.5), _result(0.5, top5=1)], "has the figures top1, top5, .* has top1: a mean"),
        ([_result(0.5), {"step": 3}], "split2/results.json is no result of an evaluation"),
        ([_result(0.5), [3]], "split2/results.json is no result of an evaluation"),
    ],
)
def test_what_has_no_mean_is_one_sentence(write, results, message):
    with pytest.raises(InputError, match=message):
        COMMAND.call(write(*results))


def test_what_is_no_result_is_named(write, tmp_path):
    pattern = write(_result(0.5), _result(0.25))
    (tmp_path / "split2" / "results.json").write_text("{")
    with pytest.raises(InputError, match=r"split2/results.json is no JSON \(Expecting"):
        COMMAND.call(pattern)
    with pytest.raises(InputError, match=r"split2 cannot be read \(.*directory"):
        COMMAND.call(f"{tmp_path}/split1/results.json", f"{tmp_path}/split2")


def test_a_pattern_may_be_expanded_by_the_shell(write, tmp_path, capsys):
    write(_result(0.5), _result(0.25))
    COMMAND.call(*(f"{tmp_path}/split{number}/results.json" for number in (1, 2)))
    assert "top1    0.5000  0.2500  0.3750  0.1768" in capsys.readouterr().out
    assert "RESULTS ..." in COMMAND.help_text()
