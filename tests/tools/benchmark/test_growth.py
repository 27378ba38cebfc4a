"""The benchmark of growth."""

import json

import commands
import pytest

from cvrl_tf.errors import InputError
from tools.benchmark import growth


def test_slopes_are_those_of_powers():
    """Of lines on logarithmic axes; a cost that was measured once has none."""
    rows = {
        number: {
            "start_seconds": 0.5 * number,
            "epoch_seconds": 2.0 * number**0.5,
            "neighbors_seconds": 3.0 * number**2,
            "checkpoint_mb": 11.7,
            "neighbors_mb": 200.0,
        }
        for number in (10, 100, 1000)
    }
    rows[10]["convert_seconds"] = 7.0
    for line in growth.slopes(rows).values():
        assert line == pytest.approx(
            {
                "start_seconds": 1.0,
                "epoch_seconds": 0.5,
                "neighbors_seconds": 2.0,
                "checkpoint_mb": 0.0,
                "neighbors_mb": 0.0,
            },
            abs=1e-9,
        )
    rows[100]["start_seconds"], rows[1000]["start_seconds"] = 1.0, 100.0
    assert growth.slopes(rows)["slope, last two"]["start_seconds"] == pytest.approx(2.0)
    assert growth.slopes({10: rows[10]}) == {}
    picture = growth.chart(rows)
    for name in ("convert", "start", "epoch", "k-NN", "checkpoint", "slope 1", "CPU seconds"):
        assert f">{name}<" in picture, name


@pytest.mark.parametrize("records", ["", "1000,", "5", "1e3", "-10"])
def test_other_numbers_of_records_are_refused(records):
    with pytest.raises(
        InputError, match="^--records=.*: expected numbers of at least 10 with comm"
    ):
        growth.COMMAND.call(f"--records={records}")


def test_neighbors_take_bounded_memory(tmp_path):
    figures = growth.neighbors(20, 30, str(tmp_path))
    assert set(figures) == {"neighbors_seconds", "neighbors_mb"}
    assert (tmp_path / "20_0.npy").stat().st_size == 20 * 2 * 2048 + 128
    assert 0 <= figures["neighbors_mb"] < 500


@pytest.mark.slow
def test_all_costs_are_measured(tmp_path):
    output, figure = tmp_path / "growth.json", tmp_path / "growth.svg"
    arguments = ["--records=10,20", "--max_converted=10", "--queries=5"]
    result = commands.run(
        "tools.benchmark", "growth", *arguments, f"--json={output}", f"--figure={figure}"
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(output.read_text())["results"]["rows"]
    assert "convert_seconds" in rows["10"] and "convert_seconds" not in rows["20"]
    for row in rows.values():
        assert row["start_seconds"] > 0 and row["search_seconds"] > 0 and row["epoch_seconds"] > 0
        assert 5 < row["checkpoint_mb"] < 50
    assert "slope, last two" in result.stdout and "<svg" in figure.read_text()
