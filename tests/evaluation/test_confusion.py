import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.evaluation import confusion


def _pixels(content):
    return tf.io.decode_png(content, channels=3).numpy().astype(int)


def test_shares_are_colours():
    """A larger share has a darker blue; counts the pixels of each."""
    pixels = _pixels(confusion.draw(np.array([[4, 0], [0, 9]]), ["a", "b"], "title"))
    wrong = _pixels(confusion.draw(np.array([[1, 3], [0, 9]]), ["a", "b"], "title"))
    dark_blue = np.array([8, 48, 107])  # the end of the colour map: a share of 1
    cells = [np.count_nonzero(np.all(image == dark_blue, axis=-1)) for image in (pixels, wrong)]
    assert 1.8 < cells[0] / cells[1] < 2.2


@pytest.mark.parametrize("num_classes", [5, 400])
def test_pictures_stay_of_a_size_to_look_at(num_classes, tmp_path):
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 3, (num_classes, num_classes))
    names = [f"class {label} of a name that is rather long" for label in range(num_classes)]
    confusion.write(str(tmp_path / "confusion.png"), matrix, names)
    height, width, _ = _pixels((tmp_path / "confusion.png").read_bytes()).shape
    assert 400 < height < 2000 and 400 < width < 2600


def test_the_worst_pairs_are_listed():
    matrix = np.diag([5, 6, 7])
    matrix[2, 0], matrix[0, 1] = 3, 1
    assert confusion._worst_pairs(matrix, ["a", "b", "c"]).splitlines() == [
        "taken most often for another class:",
        "",
        "3 of 10  c [2] as a [0]",
        "1 of 6  a [0] as b [1]",
    ]
