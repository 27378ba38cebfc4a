import builtins
import json
import os
import pathlib
import sys
import types

import pytest
import tensorflow as tf

from cvrl_tf import files
from cvrl_tf.errors import InputError


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


def test_text_is_written_only_if_it_changed(tmp_path):
    path = tmp_path / "file"
    for content in ("a", "b"):
        files.write_if_changed(str(path), content)
        assert path.read_text() == content
    before = path.stat().st_mtime_ns
    files.write_if_changed(str(path), "b")
    assert path.stat().st_mtime_ns == before


def test_names_in_a_directory(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").touch()
    assert files.names_in(str(tmp_path)) == ["a", "b"]
    assert files.names_in(str(tmp_path / "none")) == []


def test_tensorflow_io_is_not_loaded_without_need(monkeypatch):
    imported, really_import = [], builtins.__import__

    def record(name, *arguments, **options):
        imported.append(name)
        return really_import(name, *arguments, **options)

    monkeypatch.setitem(sys.modules, "tensorflow_io", types.ModuleType("tensorflow_io"))
    monkeypatch.setattr(builtins, "__import__", record)
    files.load_file_systems("records/train-*,/data/x", "gs://bucket/a-*", "relative")
    assert "tensorflow_io" not in imported
    with pytest.raises(InputError, match="path with nowhere://"):
        files.load_file_systems("nowhere://bucket/a-*")
    assert "tensorflow_io" in imported


def test_what_lacks_for_a_remote_path_is_told(monkeypatch):
    monkeypatch.setattr(tf.io.gfile, "get_registered_schemes", lambda: ["gs", "file", ""])
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    message = r"path with s3://, which needs tensorflow-io and boto3 \(import of tensorflow_io"
    with pytest.raises(InputError, match=message + r".*\[remote\]' in the clone"):
        files.load_file_systems("a,s3://bucket/train-*")


def test_a_remote_file_is_copied_and_the_copy_removed(tmp_path):
    source = tmp_path / "source"
    assert list(_copied(str(source))) == [(str(source), None)]
    content = b"x" * 20_000_000
    with tf.io.gfile.GFile("ram://files/x.mp4", "wb") as file:
        file.write(content)
    seen = []
    with files.local_copy("ram://files/x.mp4", lambda: seen.append(1)) as copy:
        assert copy.endswith(".mp4")
        with open(copy, "rb") as file:
            assert file.read() == content
    assert len(seen) == 3
    assert not tf.io.gfile.exists(copy)
    with files.local_copy("ram://files/none.mp4") as copy:
        assert copy is None


def _copied(path):
    with files.local_copy(path) as copy:
        yield copy, None


def test_matching_takes_what_exists_literally(tmp_path):
    for name in ("a [1].mp4", "a 1.mp4", ".hidden.mp4", "[v1]/x.mp4", "[v1]/y/z.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def found(pattern):
        prefix = f"{tmp_path}/"
        return [path.removeprefix(prefix) for path in files.matching(prefix + pattern)]

    assert found("a [1].mp4") == ["a [1].mp4"]
    assert found("a [0-9].mp4") == ["a 1.mp4"]
    assert found("*.mp4") == ["a 1.mp4", "a [1].mp4"]
    assert found(".h*") == [".hidden.mp4"]
    assert found("[v1]/*.mp4") == ["[v1]/x.mp4"]
    assert found("[v1]/**/*.mp4") == ["[v1]/x.mp4", "[v1]/y/z.mp4"]
    assert found("[v1]") == ["[v1]"]
    assert found("nothing*") == []


def test_matching_does_not_follow_a_link_that_leads_back(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mp4").touch()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert files.matching(f"{tmp_path}/**/*.mp4") == [
        f"{tmp_path}/a/x.mp4",
        f"{tmp_path}/b/x.mp4",
    ]
    monkeypatch.chdir(tmp_path)
    assert files.matching("**/*.mp4") == ["a/x.mp4", "b/x.mp4"]


def test_matching_of_remote_patterns(remote_directory):
    for name in ("a[1].mp4", "a1.mp4", ".hidden.mp4"):
        with tf.io.gfile.GFile(f"{remote_directory}/{name}", "w") as file:
            file.write("")
    assert files.matching(f"{remote_directory}/a[1].mp4") == [f"{remote_directory}/a[1].mp4"]
    assert files.matching(f"{remote_directory}/*") == [
        f"{remote_directory}/a1.mp4",
        f"{remote_directory}/a[1].mp4",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "is a directory: expected the name of a file to write."),
        ("folder/", "is a directory: expected the name of a file to write."),
        ("none/page.html", "cannot be written: there is no directory {0}/none; make it."),
        (
            "closed/page.html",
            "cannot be written: there is no permission to write to {0}/closed; name another"
            " directory.",
        ),
    ],
)
def test_what_cannot_be_written_is_named_before_the_work(tmp_path, monkeypatch, name, message):
    for folder in ("folder", "closed"):
        (tmp_path / folder).mkdir()
    # Not even a superuser may write there.
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, m, **_: "closed" not in str(p) and access(p, m))
    files.check_writable(str(tmp_path / "folder" / "page.html"), "--html")
    with pytest.raises(InputError) as error:
        files.check_writable(f"{tmp_path}/{name}", "--html=x")
    assert str(error.value) == f"--html=x {message.format(tmp_path)}"


@pytest.mark.parametrize("name", ["a [v1]", r"c\d", "e*f"])
def test_a_literal_path_has_no_characters_of_patterns(tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    for file in ("ckpt [1].index", "ckpt [1].data", "other"):
        (directory / file).write_text(file)
    with files.literal_path(f"{directory}/ckpt [1]") as prefix:
        assert not files.looks_like_pattern(prefix)
        assert [pathlib.Path(f"{prefix}.{end}").read_text() for end in ("index", "data")] == [
            "ckpt [1].index",
            "ckpt [1].data",
        ]
    with files.literal_path(str(directory)) as link:
        assert os.path.samefile(link, directory)
    assert not os.path.lexists(link)
    with files.literal_path(f"{directory}/later") as link:  # is made while the link is there
        (directory / "later").mkdir()
        assert os.path.isdir(link)
    with files.literal_path("runs/first") as path:
        assert path == "runs/first"


def test_a_name_with_commas_that_exists_is_one_name(tmp_path):
    (tmp_path / "a,b").write_text("")
    assert files.split_names(f"{tmp_path}/a,b") == [f"{tmp_path}/a,b"]
    assert files.split_names("a, b-*") == ["a", "b-*"]


def test_a_lock_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "lock").mkdir()
    with (
        pytest.raises(InputError, match=r"lock cannot be written \(Is a directory\): give"),
        files.locked(str(tmp_path / "lock"), "training"),
    ):
        pass


def test_patterns_of_remote_files(remote_directory):
    for name in ("a/train-0", "a/train-1", "a/.train-2", "b/train-3", "b/c/train-4", ".d/train-5"):
        tf.io.gfile.makedirs(f"{remote_directory}/{name}".rpartition("/")[0])
        files.write_atomically(f"{remote_directory}/{name}", "x")

    def found(pattern):
        matching = files.matching(f"{remote_directory}/{pattern}")
        return [path.removeprefix(f"{remote_directory}/") for path in matching]

    assert found("a/train-*") == ["a/train-0", "a/train-1"]
    assert found("*/train-[03]") == ["a/train-0", "b/train-3"]
    assert found("*/train-3") == ["b/train-3"]
    assert found("*/*/train-?") == ["b/c/train-4"]
    assert found("a/.tr*") == ["a/.train-2"]
    assert found("a/train-1") == ["a/train-1"]
    assert found("none/train-*") == found("a/test-*") == []
