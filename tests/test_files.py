import json

import pytest
import tensorflow as tf

from cvrl_tf import files


def test_text_and_bytes_are_written_whole(tmp_path):
    files.write_atomically(str(tmp_path / "text"), "größer\n")
    files.write_atomically(str(tmp_path / "bytes"), b"\x00\xff")
    assert (tmp_path / "text").read_text(encoding="utf-8") == "größer\n"
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes", "text"]


def test_a_failed_write_leaves_the_old_content_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def full(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "disk full")

    monkeypatch.setattr(tf.io.gfile, "rename", full)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        files.write_atomically(str(path), "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_json_comes_back(tmp_path):
    path = str(tmp_path / "values.json")
    files.write_json(path, {"top1": 0.5, "classes": ["a", "b"]})
    assert files.read_json(path) == {"top1": 0.5, "classes": ["a", "b"]}
    assert json.loads((tmp_path / "values.json").read_text())["top1"] == 0.5
