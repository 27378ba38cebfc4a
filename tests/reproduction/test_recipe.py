import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.reproduction import recipe
from cvrl_tf.reproduction.recipe import Length


def test_flags_replace_those_of_a_flagfile(tmp_path):
    path = tmp_path / "flags"
    path.write_text("# head\n--steps=10\n\n--batch_size=4\n--scale_learning_rate\n")
    found = recipe.values([f"--flagfile={path}", "--steps=20"])
    assert found == {"steps": "20", "batch_size": "4", "scale_learning_rate": ""}


@pytest.mark.parametrize(
    ("flags", "videos", "steps", "batch_size"),
    [
        (["--steps=1200", "--max_batch_size=64"], 757, 1200, 64),
        (["--steps=1200", "--max_batch_size=64"], 100, 1200, 16),
        (["--epochs=200", "--batch_size=1024"], 240_000, 46_875, 1024),
        (["--epochs=200", "--batch_size=1024"], 366_016, 71_488, 1024),
        ([], 240_000, 46_875, 1024),
    ],
)
def test_lengths_are_those_of_the_command(flags, videos, steps, batch_size):
    found = Length.of(flags, videos)
    assert found == Length(steps, batch_size)
    assert found.videos == steps * batch_size


def test_a_flagfile_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"^There is no flagfile flags/none: run the command in a"):
        recipe.values(["--flagfile=flags/none"])
