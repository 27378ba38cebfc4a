import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import class_names

FLAGS = ("train_data", "test_data")


@pytest.mark.parametrize(
    "data",
    ["", "tfds:ucf101:train", "nothing/train-*", "nowhere://bucket/train-*"],
)
def test_data_without_class_names_has_none(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert class_names.find_file(data) is None and class_names.read(data) is None


def _write(directory, *names):
    directory.mkdir()
    (directory / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    return f"{directory}/train-*"


def test_class_names_are_found_beside_the_first_data_that_has_them(tmp_path):
    data = _write(tmp_path / "a", "dive", "surf")
    assert class_names.find_file(f"nothing/train-*, {data}") == str(tmp_path / "a" / "labels.txt")
    assert class_names.read(data) == ["dive", "surf"]
    assert class_names.name_all(class_names.read(data), 3) == ["dive", "surf", "label 2"]
    assert class_names.name_all(None, 1) == ["label 0"]


def test_a_label_that_means_two_classes_is_named(tmp_path):
    one, other = _write(tmp_path / "a", "dive", "surf"), _write(tmp_path / "b", "dive", "swing")
    with pytest.raises(InputError, match=r"a/labels.txt and .*b/labels.txt\): label 1 is 'surf'"):
        class_names.check_same(one, other, FLAGS)
    class_names.check_same(one, one, FLAGS)
    class_names.check_same(one, _write(tmp_path / "c", "dive"), FLAGS)
    class_names.check_same(one, "nothing/test-*", FLAGS)
