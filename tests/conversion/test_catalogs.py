import os

import pytest

from cvrl_tf.conversion import catalogs
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.errors import InputError


def _touch(directory, *names):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(directory)


def test_folder_labels_classes_in_sorted_order(tmp_path):
    root = _touch(tmp_path, "swim/b.mp4", "swim/a.AVI", "Dive/c d'é\".mkv", "jump/.hidden.mp4")
    entries, classes = catalogs.folder(root)
    assert classes == ["Dive", "jump", "swim"]
    assert entries == [
        Entry("Dive/c d'é\"", f"{root}/Dive/c d'é\".mkv", 0, "Dive"),
        Entry("swim/a", f"{root}/swim/a.AVI", 2, "swim"),
        Entry("swim/b", f"{root}/swim/b.mp4", 2, "swim"),
    ]


def test_folder_leaves_out_what_is_no_video(tmp_path):
    root = _touch(
        tmp_path, "a/x.mp4", "a/._x.mp4", "a/notes.txt", "a/x.mp4.part", ".git/y.mp4", "z.mp4"
    )
    (tmp_path / "a" / "directory.mp4").mkdir()
    entries, classes = catalogs.folder(root)
    assert classes == ["a"]
    assert [entry.video_id for entry in entries] == ["a/x"]


def test_folder_keeps_a_link_to_nowhere(tmp_path):
    root = _touch(tmp_path, "a/x.mp4")
    os.symlink("nowhere.mp4", tmp_path / "a" / "y.mp4")
    assert [entry.video_id for entry in catalogs.folder(root)[0]] == ["a/x", "a/y"]


def test_folder_ids_keep_the_extension_where_they_would_collide(tmp_path):
    root = _touch(tmp_path, "a/x.mp4", "a/x.avi", "a/x.mp4.avi", "b/x.mp4")
    ids = [entry.video_id for entry in catalogs.folder(root)[0]]
    assert ids == ["a/x.avi", "a/x.mp4", "a/x.mp4.avi", "b/x"]


def test_folder_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"--video_dir=.*nowhere does not exist"):
        catalogs.folder(str(tmp_path / "nowhere"))
    _touch(tmp_path, "x.mp4", "y.mp4")
    with pytest.raises(InputError, match=r"not a directory"):
        catalogs.folder(str(tmp_path / "x.mp4"))
    with pytest.raises(InputError, match=r"no class folders \(2 videos directly in it\)"):
        catalogs.folder(str(tmp_path))
    _touch(tmp_path, "a/x.txt")
    with pytest.raises(InputError, match=r"1 folders \(a, ...\) but no videos in them.*\.mp4"):
        catalogs.folder(str(tmp_path))


def test_folder_refuses_names_that_are_not_utf8(tmp_path):
    (tmp_path / "a").mkdir()
    with open(os.path.join(os.fsencode(tmp_path), b"a", b"caf\xe9.mp4"), "wb"):
        pass
    with pytest.raises(InputError, match="not UTF-8: rename"):
        catalogs.folder(str(tmp_path))


def _lists(directory, train, test, classes="1 Dive\r\n2 Jump\r\n\r\n"):
    directory.mkdir(exist_ok=True)
    for name, text in ("classInd", classes), ("trainlist01", train), ("testlist01", test):
        (directory / f"{name}.txt").write_bytes(text.encode())
    return str(directory)


TRAIN = "Dive/v_Dive_g08_c01.avi 1\r\n\r\nJump/v_Jump_g09_c01.avi 2\r\n"
TEST = "Jump/v_Jump_g01_c02.avi\n\n"


@pytest.mark.parametrize("flat", [False, True])
def test_ucf101_reads_the_lists(tmp_path, flat):
    names = ["Dive/v_Dive_g08_c01.avi", "Jump/v_Jump_g09_c01.avi", "Jump/v_Jump_g01_c02.avi"]
    places = [name.split("/")[1] if flat else name for name in names]
    videos = _touch(tmp_path / "videos", *places)
    splits, classes = catalogs.ucf101(videos, _lists(tmp_path / "lists", TRAIN, TEST), 1)
    assert classes == ["Dive", "Jump"]
    assert splits == {
        "train": [
            Entry("v_Dive_g08_c01", f"{videos}/{places[0]}", 0, "Dive"),
            Entry("v_Jump_g09_c01", f"{videos}/{places[1]}", 1, "Jump"),
        ],
        "test": [Entry("v_Jump_g01_c02", f"{videos}/{places[2]}", 1, "Jump")],
    }


def test_ucf101_counts_and_names_missing_videos(tmp_path):
    videos = _touch(tmp_path / "videos", "Dive/v_Dive_g08_c01.avi")
    with pytest.raises(InputError, match=r"2 of the 3 videos .*first: Jump/v_Jump_g09_c01.avi, J"):
        catalogs.ucf101(videos, _lists(tmp_path / "lists", TRAIN, TEST), 1)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "Dive/a.avi 1\nDive/b.avi 2\n"}, r"trainlist01.txt, line 2: .*label 2 .* Dive"),
        ({"train": "Swim/a.avi 3\n"}, r"trainlist01.txt, line 1: found 'Swim/a.avi 3', expected"),
        ({"test": "\nv_Dive_g01.avi\n"}, r"testlist01.txt, line 2: found 'v_Dive_g01.avi'"),
        ({"test": "\n"}, r"testlist01.txt lists no videos"),
        ({"classes": "0 Dive\n1 Jump\n"}, r"classInd.txt, line 1: .*expected '1 ClassName'"),
        ({"classes": "Dive\n"}, r"classInd.txt, line 1: found 'Dive'"),
    ],
)
def test_ucf101_names_the_line_that_is_wrong(tmp_path, lists, message):
    videos = _touch(tmp_path / "videos", "a.avi", "b.avi")
    lists = {"train": "Dive/a.avi 1\n", "test": "Dive/b.avi\n"} | lists
    with pytest.raises(InputError, match=message):
        catalogs.ucf101(videos, _lists(tmp_path / "lists", **lists), 1)


def test_ucf101_says_which_file_is_not_there(tmp_path):
    videos = _touch(tmp_path / "videos", "a.avi")
    lists = _lists(tmp_path / "lists", TRAIN, TEST)
    with pytest.raises(InputError, match=r"no file .*trainlist04.txt.*ucfTrainTestlist"):
        catalogs.ucf101(videos, lists, 4)
    with pytest.raises(InputError, match=r"--annotation_dir=.*nowhere does not exist"):
        catalogs.ucf101(videos, str(tmp_path / "nowhere"), 1)
    with pytest.raises(InputError, match=r"--video_dir=.*nowhere does not exist"):
        catalogs.ucf101(str(tmp_path / "nowhere"), lists, 1)
