import os

import pytest
import tensorflow as tf
from permissions import nobody
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
        "skipped: 1 video outside of the class folders.",
        "skipped: 2 names without a video's extension.",
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
    with pytest.raises(InputError, match=r"video_dir=.*nowhere does not exist"):
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
        "skipped: 2 videos in folders below the class folders (a/b/y.mp4, ...)."
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
    with pytest.raises(InputError, match=r"1 classes .* the 1 of label_map \(first: 'b'\)"):
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
    assert catalog.notes == ["skipped: 1 name without a video's extension."]  # the text
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
    with pytest.raises(
        InputError, match=r"no video \(2 other names, such as .*/v/a.pdf\): .*quoted"
    ):
        catalogs.files(f"{root}/v/*")
    with pytest.raises(InputError, match=r"/v/\*.mp4 matches no file: expected a video, a pattern"):
        catalogs.files(f"{root}/v/*.mp4")
    with pytest.raises(InputError, match=r"/v/x.mp4 does not exist: expected a video, a pattern"):
        catalogs.files(f"{root}/v/x.mp4")
    path = tmp_path / "list.txt"
    with pytest.raises(InputError, match=r"There is no file .*list.txt: expected files="):
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


def test_links_that_lead_to_themselves_are_videos_that_fail(tmp_path):
    root = touch(tmp_path, "a/x.mp4")
    os.symlink("loop.mp4", tmp_path / "a" / "loop.mp4")
    os.symlink("loop", tmp_path / "a" / "loop")
    os.symlink("top", tmp_path / "top")
    catalog = catalogs.folder(root)
    assert [entry.video_id for entry in catalog.splits["train"]] == ["a/loop", "a/x"]
    assert catalog.classes == ["a"]
    assert catalog.notes == ["skipped: 2 names without a video's extension."]


@pytest.mark.parametrize("name", ["ban\nana", "ban\u2028ana", "banana\n", "ban\rana", "ban\x85ana"])
def test_a_class_name_of_two_lines_is_refused(tmp_path, name):
    root = touch(tmp_path, f"{name}/x.mp4", "apple/x.mp4")
    with pytest.raises(InputError) as caught:
        catalogs.folder(root)
    assert str(caught.value) == (
        f"The class name {name!a} holds a line break: rename it, in lists as well; labels.txt has"
        " one class on each line."
    )


@pytest.mark.parametrize("other", ["Eating cake", "eating_cake", "eating  cake", "eating cake "])
def test_class_names_that_differ_in_spelling_only_are_refused(tmp_path, other):
    root = touch(tmp_path, "eating cake/x.mp4", f"{other}/y.mp4")
    with pytest.raises(InputError) as caught:
        catalogs.folder(root)
    first, second = sorted(["eating cake", other])
    assert str(caught.value) == (
        f"Found the classes '{first}' and '{second}', which differ only in case, spaces or"
        " underscores: give a class the same name in all folders and lists, or, if these are two"
        " classes, label_map with both."
    )
    both = ["eating cake", other]
    assert catalogs.folder(root, label_map=both).classes == both
    with pytest.raises(InputError) as caught:
        catalogs.folder(root, label_map=["eating cake"])
    assert str(caught.value) == (
        "1 classes of the data are not among the 1 of label_map (first:"
        f" '{other}', which it has as 'eating cake'): add them, spelled the same, or give no"
        " label_map."
    )


def test_folder_skips_the_output_directory(tmp_path):
    root = touch(tmp_path, "a/x.mp4", "records/train-00000-of-00001", "b/records/labels.txt")
    os.symlink(tmp_path, tmp_path.parent / f"{tmp_path.name}_link")
    link = f"{tmp_path.parent}/{tmp_path.name}_link"
    for output in (f"{root}/records", f"{root}/records/", f"{root}/./records", f"{link}/records"):
        catalog = catalogs.folder(root, output_dir=output)
        assert catalog.classes == ["a", "b"]
    # A folder that holds nothing else is there for the output.
    assert catalogs.folder(root, output_dir=f"{root}/b/records").classes == ["a", "records"]
    touch(tmp_path, "b/y.mp4")
    assert catalogs.folder(root, output_dir=f"{root}/b/records").classes == ["a", "b", "records"]
    assert catalogs.folder(root, output_dir=root).classes == ["a", "b", "records"]


def test_a_file_whose_name_is_a_pattern_is_taken_literally(tmp_path):
    root = touch(
        tmp_path, "My clip [dQw4w9WgXcQ].mp4", "My clip d.mp4", "My [v1]/a.mp4", "list [1].txt"
    )
    assert _ids(f"{root}/My clip [dQw4w9WgXcQ].mp4") == ["My clip [dQw4w9WgXcQ]"]
    assert _ids(f"{root}/My clip [d].mp4") == ["My clip d"]
    assert _ids(f"{root}/My [v1]/*.mp4") == ["a"]
    (tmp_path / "list [1].txt").write_text("My [v1]/a.mp4\n")
    assert _ids(f"{root}/list [1].txt") == ["My [v1]/a"]
    with pytest.raises(InputError, match=r"matches no file: .* \[ and \] hold alternatives"):
        catalogs.files(f"{root}/My clip [none].mp4")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_list_in_utf16_is_refused_in_one_sentence(tmp_path, encoding):
    touch(tmp_path, "a.mp4")
    path = tmp_path / "list.txt"
    path.write_text("a.mp4\n", encoding=encoding)
    for read in (catalogs.files, catalogs.read_label_map):
        with pytest.raises(InputError) as caught:
            read(str(path))
        assert str(caught.value) == (
            f"{path} is not UTF-8 text (UTF-16, by its bytes): save it as UTF-8."
        )


def test_a_directory_in_the_place_of_a_list_is_named(tmp_path):
    (tmp_path / "list.txt").mkdir()
    with pytest.raises(InputError, match=r"^.*list.txt is a directory: expected files=... to be"):
        catalogs.files(str(tmp_path / "list.txt"))
    with pytest.raises(InputError, match=r"^.*list.txt is a directory: expected label_map to"):
        catalogs.read_label_map(str(tmp_path / "list.txt"))


def test_what_may_not_be_read_is_named(tmp_path_factory):
    with nobody() as directory:
        touch(directory, "videos/a/x.mp4", "videos/b/y.mp4", "list.txt")
        (directory / "videos" / "b").chmod(0)
        (directory / "list.txt").chmod(0)
        with pytest.raises(InputError) as caught:
            catalogs.folder(f"{directory}/videos")
        assert str(caught.value) == (
            f"{directory}/videos/b cannot be read (Permission denied): give yourself permission, or"
            " move it elsewhere."
        )
        with pytest.raises(InputError) as caught:
            catalogs.files(f"{directory}/list.txt")
        assert str(caught.value) == (
            f"{directory}/list.txt cannot be read (Permission denied): give yourself permission, or"
            " move it elsewhere."
        )
