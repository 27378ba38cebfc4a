import os

import pytest
import tensorflow as tf
from small_videos import touch

from cvrl_tf.conversion import catalogs
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.errors import InputError


def test_folder_labels_classes_in_sorted_order(tmp_path):
    root = touch(tmp_path, "swim/b.mp4", "swim/a.AVI", "Dive/c d'é\".mkv", "jump/.hidden.mp4")
    catalog = catalogs.folder(root)
    entries, classes = catalog.splits["train"], catalog.classes
    assert classes == ["Dive", "jump", "swim"]
    assert entries == [
        Entry("Dive/c d'é\"", f"{root}/Dive/c d'é\".mkv", 0, "Dive"),
        Entry("swim/a", f"{root}/swim/a.AVI", 2, "swim"),
        Entry("swim/b", f"{root}/swim/b.mp4", 2, "swim"),
    ]


def test_folder_leaves_out_what_is_no_video(tmp_path):
    root = touch(
        tmp_path, "a/x.mp4", "a/._x.mp4", "a/notes.txt", "a/x.mp4.part", ".git/y.mp4", "z.mp4"
    )
    (tmp_path / "a" / "directory.mp4").mkdir()
    catalog = catalogs.folder(root)
    entries, classes = catalog.splits["train"], catalog.classes
    assert classes == ["a"]
    assert [entry.video_id for entry in entries] == ["a/x"]
    assert catalog.notes == [
        "1 videos outside of the class folders are left out.",
        "2 names without a video's extension are left out.",
    ]


def test_folder_keeps_a_link_to_nowhere(tmp_path):
    root = touch(tmp_path, "a/x.mp4")
    os.symlink("nowhere.mp4", tmp_path / "a" / "y.mp4")
    assert [entry.video_id for entry in catalogs.folder(root).splits["train"]] == ["a/x", "a/y"]


def test_folder_ids_keep_the_extension_where_they_would_collide(tmp_path):
    root = touch(tmp_path, "a/x.mp4", "a/x.avi", "a/x.mp4.avi", "b/x.mp4")
    ids = [entry.video_id for entry in catalogs.folder(root).splits["train"]]
    assert ids == ["a/x.avi", "a/x.mp4", "a/x.mp4.avi", "b/x"]


def test_folder_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"--video_dir=.*nowhere does not exist"):
        catalogs.folder(str(tmp_path / "nowhere"))
    touch(tmp_path, "x.mp4", "y.mp4")
    with pytest.raises(InputError, match=r"not a directory"):
        catalogs.folder(str(tmp_path / "x.mp4"))
    with pytest.raises(InputError, match=r"no class folders \(2 videos directly in it\)"):
        catalogs.folder(str(tmp_path))
    touch(tmp_path, "a/x.txt")
    with pytest.raises(InputError, match=r"1 folders \(a, ...\) but no videos in them.*\.mp4"):
        catalogs.folder(str(tmp_path))


def test_folder_refuses_names_that_are_not_utf8(tmp_path):
    (tmp_path / "a").mkdir()
    with open(os.path.join(os.fsencode(tmp_path), b"a", b"caf\xe9.mp4"), "wb"):
        pass
    with pytest.raises(InputError, match="not UTF-8: rename"):
        catalogs.folder(str(tmp_path))


def test_folder_counts_the_videos_of_deeper_folders(tmp_path):
    root = touch(tmp_path, "a/x.mp4", "a/b/y.mp4", "a/b/c/z.mp4")
    catalog = catalogs.folder(root, "val")
    assert [entry.video_id for entry in catalog.splits["val"]] == ["a/x"]
    assert catalog.notes == [
        "2 videos in folders below the class folders are left out (a/b/y.mp4, ...)."
    ]


def test_folder_says_when_all_videos_are_deeper(tmp_path):
    root = touch(tmp_path, "train/dive/x.mp4", "val/dive/y.mp4")
    with pytest.raises(
        InputError, match=r"2 videos are deeper, such as train/dive/x.mp4: give the"
    ):
        catalogs.folder(root)


def test_folder_ends_at_a_link_that_leads_back(tmp_path):
    root = touch(tmp_path, "a/x.mp4")
    os.symlink(tmp_path, tmp_path / "a" / "back")
    os.symlink(tmp_path / "a", tmp_path / "b")
    catalog = catalogs.folder(root)
    assert [entry.video_id for entry in catalog.splits["train"]] == ["a/x", "b/x"]


def test_folder_takes_labels_from_a_label_map(tmp_path):
    root = touch(tmp_path / "videos", "a/x.mp4", "b/y.mp4")
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfb\r\nunseen class\r\na\r\n")
    label_map = catalogs.read_label_map(str(tmp_path / "labels.txt"))
    catalog = catalogs.folder(root, label_map=label_map)
    assert catalog.classes == ["b", "unseen class", "a"]
    assert [(entry.label, entry.label_name) for entry in catalog.splits["train"]] == [
        (2, "a"),
        (0, "b"),
    ]
    with pytest.raises(InputError, match=r"1 classes .* the 1 of --label_map \(first: 'b'\)"):
        catalogs.folder(root, label_map=["a"])


def test_a_label_map_names_each_class_once(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("a\nb\na\n")
    with pytest.raises(InputError, match=r"the class 'a' more than once"):
        catalogs.read_label_map(str(path))
    path.write_text("\n")
    with pytest.raises(InputError, match=r"holds no class"):
        catalogs.read_label_map(str(path))
    with pytest.raises(InputError, match=r"There is no file .*nowhere.txt"):
        catalogs.read_label_map(str(tmp_path / "nowhere.txt"))


def test_files_are_unlabelled_with_ids_from_the_fixed_part_of_the_pattern(tmp_path):
    root = touch(tmp_path, "v/b/y.MOV", "v/a.mp4", "v/b/c d/x.mp4", "v/note.txt", "v/._a.mp4")
    catalog = catalogs.files(f"{root}/v/**/*", "pool")
    assert catalog.classes == []
    assert catalog.splits == {
        "pool": [
            Entry("a", f"{root}/v/a.mp4", None, None),
            Entry("b/c d/x", f"{root}/v/b/c d/x.mp4", None, None),
            Entry("b/y", f"{root}/v/b/y.MOV", None, None),
        ]
    }
    # The folders and the text.
    assert catalog.notes == ["3 names without a video's extension are left out."]
    assert _ids(f"{root}/*/*.mp4") == ["v/a"]
    assert _ids(f"{root}/v/b/y.MOV") == ["y"]


def _ids(pattern):
    return [entry.video_id for entry in catalogs.files(pattern).splits["train"]]


def test_files_of_a_relative_pattern(tmp_path, monkeypatch):
    touch(tmp_path, "v/a.mp4", "b.mp4")
    monkeypatch.chdir(tmp_path)
    assert _ids("v/*.mp4") == ["a"]
    assert _ids("*.mp4") == ["b"]
    assert _ids("**/*.mp4") == ["b", "v/a"]
    assert catalogs.files("**/a.mp4").splits["train"][0].path == "v/a.mp4"


def test_files_keep_the_extension_where_ids_would_collide(tmp_path):
    root = touch(tmp_path, "a/x.mp4", "a/x.avi", "b/x.mp4")
    assert _ids(f"{root}/**/*.*") == ["a/x.avi", "a/x.mp4", "b/x"]


def test_files_of_a_list(tmp_path):
    root = touch(tmp_path, "v/a.mp4", "other/b.unknown", "v/\u00e9 '1'.mp4")
    lines = ["./v/a.mp4", "", "v/\u00e9 '1'.mp4", f"{root}/other/b.unknown", "v/gone.mp4"]
    (tmp_path / "list.txt").write_text("\r\n".join(lines), encoding="utf-8-sig")
    entries = catalogs.files(f"{root}/list.txt").splits["train"]
    absolute = f"{root}/other/b".lstrip("/")
    assert {entry.video_id: entry.path for entry in entries} == {
        "v/a": f"{root}/v/a.mp4",
        "v/gone": f"{root}/v/gone.mp4",
        "v/\u00e9 '1'": f"{root}/v/\u00e9 '1'.mp4",
        absolute: f"{root}/other/b.unknown",
    }
    assert [entry.video_id for entry in entries] == sorted(entry.video_id for entry in entries)


def test_a_list_that_is_not_utf8_is_refused(tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.txt").write_bytes(b"a.mp4\ncaf\xe9.mp4\n")
    with pytest.raises(InputError, match=r"caf\\udce9.mp4' is not UTF-8: rename it, in lists as"):
        catalogs.files(str(tmp_path / "list.txt"))


def test_files_say_what_is_wrong(tmp_path):
    root = touch(tmp_path, "v/a.pdf", "v/b.pdf")
    with pytest.raises(InputError, match=r"matches no video \(2 other files\): .*quoted"):
        catalogs.files(f"{root}/v/*")
    path = tmp_path / "list.txt"
    with pytest.raises(InputError, match=r"There is no file .*list.txt: expected --files"):
        catalogs.files(str(path))
    path.write_text("x.mp4\n./x.mp4\n")
    with pytest.raises(InputError, match=r"list.txt, line 2 names ./x.mp4 a second time"):
        catalogs.files(str(path))
    path.write_text("x.mp4\ny.mp4\n")
    with pytest.raises(InputError, match=r"None of the 2 files .* looked for at .*/x.mp4\): paths"):
        catalogs.files(str(path))
    path.write_text("\n")
    with pytest.raises(InputError, match=r"names no file"):
        catalogs.files(str(path))


def test_remote_directories(remote_directory):
    for path in "dive/a.mp4", "dive/deeper/b.mp4", "swim/c.mp4", "readme.txt":
        tf.io.gfile.makedirs(f"{remote_directory}/{path}".rpartition("/")[0])
        with tf.io.gfile.GFile(f"{remote_directory}/{path}", "w") as file:
            file.write("")
    catalog = catalogs.folder(remote_directory)
    assert catalog.splits["train"] == [
        Entry("dive/a", f"{remote_directory}/dive/a.mp4", 0, "dive"),
        Entry("swim/c", f"{remote_directory}/swim/c.mp4", 1, "swim"),
    ]
    assert len(catalog.notes) == 2
    assert _ids(f"{remote_directory}/*/*.mp4") == ["dive/a", "swim/c"]
    with pytest.raises(InputError, match=r"\*\* is for local paths; give one \* for each folder"):
        catalogs.files(f"{remote_directory}/**/*.mp4")
