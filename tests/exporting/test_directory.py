import os

import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.exporting import directory, saved_model, verification


def test_an_export_has_what_it_says_and_nothing_beside_it(export):
    assert sorted(path.name for path in export.iterdir()) == [
        "README.md",
        "backbone.keras",
        "export.json",
        "labels.txt",
        "saved_model",
    ]
    assert list(export.parent.iterdir()) == [export]


def test_files_are_less_than_twice_the_size_of_the_weights(export, backbone):
    weights = 4 * backbone.count_params()
    saved = sum(path.stat().st_size for path in (export / "saved_model").rglob("*"))
    assert saved < 2 * weights and (export / "backbone.keras").stat().st_size < 2 * weights


def test_an_existing_directory_is_refused_and_kept(backbone, origin, tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match=r"--output_dir=.* exists: name a new directory"):
        directory.write(backbone, origin, str(tmp_path))
    assert (tmp_path / "mine").read_text() == "precious"
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_a_directory_that_cannot_be_made_is_named(backbone, origin, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        directory.write(backbone, origin, str(tmp_path / "file" / "export"))


def test_a_remote_directory_is_refused():
    with pytest.raises(InputError, match="is remote: export to a local directory"):
        directory.check("gs://bucket/export")


@pytest.mark.parametrize("error", [InputError("differs"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing(backbone, origin, tmp_path, monkeypatch, error):
    written = []

    def fail(export_dir, *_):
        written.extend(sorted(os.listdir(export_dir)))
        raise error

    monkeypatch.setattr(saved_model, "save", lambda backbone, path, *_: os.makedirs(path))
    monkeypatch.setattr(verification, "verify", fail)
    with pytest.raises(type(error)):
        directory.write(backbone, origin, str(tmp_path / "export"))
    assert "backbone.keras" in written and "saved_model" in written
    assert list(tmp_path.iterdir()) == []


def test_a_path_from_which_tensorflow_loads_no_saved_model_is_noted(tmp_path, capsys):
    directory.check(f"{tmp_path}/first")
    assert capsys.readouterr().err == ""
    directory.check(f"{tmp_path}/a [v1]/first")
    assert capsys.readouterr().err == (
        f"note: --output_dir={tmp_path}/a [v1]/first has characters of glob patterns in its path,"
        " from which TensorFlow loads no SavedModel: load backbone.keras, or move the directory.\n"
    )
