import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_videos import touch

from cvrl_tf.conversion import catalogs
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.errors import InputError


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
    videos = touch(tmp_path / "videos", *places)
    catalog = catalogs.ucf101(videos, _lists(tmp_path / "lists", TRAIN, TEST), 1)
    assert catalog.notes == []
    assert catalog.classes == ["Dive", "Jump"]
    assert catalog.splits == {
        "train": [
            Entry("v_Dive_g08_c01", f"{videos}/{places[0]}", 0, "Dive"),
            Entry("v_Jump_g09_c01", f"{videos}/{places[1]}", 1, "Jump"),
        ],
        "test": [Entry("v_Jump_g01_c02", f"{videos}/{places[2]}", 1, "Jump")],
    }


def test_ucf101_finds_videos_in_folders_around_the_classes(tmp_path):
    names = ["v_Dive_g08_c01", "v_Jump_g09_c01", "v_Jump_g01_c02"]
    videos = touch(
        tmp_path / "videos",
        f"Dive/Dive/{names[0]}.avi",
        f"UCF-101/Jump/{names[1]}.avi",
        f"more/{names[2]}.avi",
    )
    catalog = catalogs.ucf101(videos, _lists(tmp_path / "lists", TRAIN, TEST), 1)
    found = {entry.video_id: entry.path for split in catalog.splits.values() for entry in split}
    assert found == {
        names[0]: f"{videos}/Dive/Dive/{names[0]}.avi",
        names[1]: f"{videos}/UCF-101/Jump/{names[1]}.avi",
        names[2]: f"{videos}/more/{names[2]}.avi",
    }


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["Dive/v_Dive_g08_c01.mp4", "Jump/v_Jump_g09_c01.MKV", "Jump/v_Jump_g01_c02.mp4"], 3),
        (["dive/v_Dive_g08_c01.avi", "Jump/v_jump_g09_c01.avi", "Jump/v_Jump_g01_c02.avi"], 2),
    ],
)
def test_ucf101_finds_videos_that_were_encoded_or_named_anew(tmp_path, names, note):
    videos = touch(tmp_path / "videos", *names)
    catalog = catalogs.ucf101(videos, _lists(tmp_path / "lists", TRAIN, TEST), 1)
    entries = [entry for split in catalog.splits.values() for entry in split]
    assert [entry.path for entry in entries] == [f"{videos}/{name}" for name in names]
    assert [entry.video_id for entry in entries] == [
        "v_Dive_g08_c01",
        "v_Jump_g09_c01",
        "v_Jump_g01_c02",
    ]
    (found,) = catalog.notes
    assert found.startswith(
        f"{note} videos have another extension or other letter case than in the"
    )
    assert f"{videos}/{names[0]}" in found


def test_ucf101_prefers_the_name_as_it_is_listed(tmp_path):
    videos = touch(
        tmp_path / "videos",
        *("Dive/v_Dive_g08_c01.mp4", "Dive/v_Dive_g08_c01.avi", "dive/v_Dive_g08_c01.avi"),
        *("Jump/v_Jump_g09_c01.avi", "Jump/v_Jump_g01_c02.avi"),
    )
    catalog = catalogs.ucf101(videos, _lists(tmp_path / "lists", TRAIN, TEST), 1)
    assert catalog.splits["train"][0].path == f"{videos}/Dive/v_Dive_g08_c01.avi"
    assert catalog.notes == []


@pytest.mark.parametrize("name", ["../../elsewhere.avi", "sub/elsewhere.avi", ".."])
def test_ucf101_reads_nothing_outside_of_the_directory(tmp_path, name):
    touch(tmp_path, "elsewhere.avi")
    videos = touch(tmp_path / "videos", "Dive/sub/elsewhere.avi", "Jump/v_Jump_g01_c02.avi")
    lists = _lists(tmp_path / "lists", f"Dive/{name} 1\n", TEST)
    with pytest.raises(InputError) as caught:
        catalogs.ucf101(videos, lists, 1)
    assert str(caught.value) == (
        f"{lists}/trainlist01.txt, line 1: found 'Dive/{name} 1', expected 'Class/video.avi' or"
        " 'Class/video.avi 1' with a class of classInd.txt."
    )


def test_ucf101_takes_no_video_from_another_class(tmp_path):
    videos = touch(tmp_path / "videos", "Jump/a.avi", "Dive/b.avi", "Jump/c.avi", "Dive/c.avi")
    lists = _lists(tmp_path / "lists", "Dive/a.avi 1\nDive/b.avi 1\n", "Jump/c.avi\nDive/c.avi\n")
    catalog = catalogs.ucf101(videos, lists, 1)
    assert [entry.path for entry in catalog.splits["train"]] == [
        f"{videos}/Dive/a.avi",
        f"{videos}/Dive/b.avi",
    ]
    assert [entry.path for entry in catalog.splits["test"]] == [
        f"{videos}/Jump/c.avi",
        f"{videos}/Dive/c.avi",
    ]
    assert catalog.notes == [
        f"train: 1 of the 2 videos listed are not there ({videos}/Dive/a.avi, ...)."
    ]


def test_ucf101_lists_videos_that_are_not_there(tmp_path):
    videos = touch(tmp_path / "videos", "Dive/v_Dive_g08_c01.avi", "Jump/v_Jump_g01_c02.avi")
    catalog = catalogs.ucf101(videos, _lists(tmp_path / "lists", TRAIN, TEST), 1)
    expected = f"{videos}/Jump/v_Jump_g09_c01.avi"
    assert catalog.splits["train"][1] == Entry("v_Jump_g09_c01", expected, 1, "Jump")
    assert catalog.notes == [f"train: 1 of the 2 videos listed are not there ({expected}, ...)."]


def test_a_split_without_any_video_is_refused(tmp_path):
    videos = touch(tmp_path / "videos", "Dive/v_Dive_g08_c01.avi")
    lists = _lists(tmp_path / "lists", TRAIN, TEST)
    with pytest.raises(
        InputError,
        match=r"None of the 1 videos of split 'test' is in video_dir=.* \(the first was looked"
        r" for at .*/videos/Jump/v_Jump_g01_c02.avi, then in all folders\): give the directory",
    ):
        catalogs.ucf101(videos, lists, 1)


def test_ucf101_reads_the_split_that_is_asked_for(tmp_path):
    videos = touch(tmp_path / "videos", "Dive/a.avi", "Dive/b.avi")
    lists = tmp_path / "lists"
    _lists(lists, TRAIN, TEST)
    (lists / "trainlist03.txt").write_text("Dive/b.avi 1\n")
    (lists / "testlist03.txt").write_text("Dive/a.avi\n")
    catalog = catalogs.ucf101(videos, str(lists), 3)
    assert [entry.video_id for entry in catalog.splits["train"]] == ["b"]
    assert [entry.video_id for entry in catalog.splits["test"]] == ["a"]


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
    videos = touch(tmp_path / "videos", "a.avi", "b.avi")
    lists = {"train": "Dive/a.avi 1\n", "test": "Dive/b.avi\n"} | lists
    with pytest.raises(InputError, match=message):
        catalogs.ucf101(videos, _lists(tmp_path / "lists", **lists), 1)


def test_ucf101_says_which_file_is_not_there(tmp_path):
    videos = touch(tmp_path / "videos", "a.avi")
    lists = _lists(tmp_path / "lists", TRAIN, TEST)
    with pytest.raises(InputError, match=r"no file .*trainlist04.txt.*ucfTrainTestlist"):
        catalogs.ucf101(videos, lists, 4)
    with pytest.raises(InputError, match=r"annotations=.*nowhere does not exist"):
        catalogs.ucf101(videos, str(tmp_path / "nowhere"), 1)
    with pytest.raises(InputError, match=r"video_dir=.*nowhere does not exist"):
        catalogs.ucf101(str(tmp_path / "nowhere"), lists, 1)


def _hmdb51_lists(directory, **lists):
    directory.mkdir(exist_ok=True)
    for name, text in lists.items():
        (directory / f"{name}.txt").write_bytes(text.encode())
    return str(directory)


ODD = "#20_Rhythm_'_(1)! & é_wave_u_cm_np1_ba_goo_2"


@pytest.mark.parametrize("layout", ["{1}", "{0}/{1}", "{0}/{0}/{1}"])
def test_hmdb51_reads_its_lists(tmp_path, layout):
    files = [("wave", ODD), ("wave", "two  words"), ("wave", "unused"), ("climb_stairs", "up")]
    videos = touch(tmp_path / "videos", *(f"{layout.format(*names)}.avi" for names in files))
    lists = _hmdb51_lists(
        tmp_path / "lists",
        wave_test_split1=f"{ODD}.avi 1 \r\ntwo  words.avi 2 \r\nunused.avi 0 \r\n",
        climb_stairs_test_split1="up.avi 1\n",
        wave_test_split2="unused.avi 1\n",
        readme="1 is for training",
    )
    catalog = catalogs.hmdb51(videos, lists, 1)
    assert catalog.classes == ["climb_stairs", "wave"]
    paths = [f"{videos}/{layout.format(*names)}.avi" for names in files]
    assert catalog.splits == {
        "train": [Entry("up", paths[3], 0, "climb_stairs"), Entry(ODD, paths[0], 1, "wave")],
        "test": [Entry("two  words", paths[1], 1, "wave")],
    }
    assert catalog.notes == ["skipped: 1 video marked 0 in the lists: not of this split."]


NAMES = (
    st.text("aB 12._-#'\u00e9\u2028", min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda name: name and not name.startswith("."))
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, st.sampled_from("012"), min_size=1, max_size=5))
def test_hmdb51_reads_any_file_name(tmp_path_factory, numbers):
    numbers |= {"train": "1", "test": "2"}
    directory = tmp_path_factory.mktemp("hmdb51")
    videos = touch(directory / "videos", *(f"wave/{name}.avi" for name in numbers))
    text = "".join(f"{name}.avi {number} \n" for name, number in numbers.items())
    catalog = catalogs.hmdb51(videos, _hmdb51_lists(directory / "l", wave_test_split1=text), 1)
    for split, number in ("train", "1"), ("test", "2"):
        assert {entry.video_id: entry.path for entry in catalog.splits[split]} == {
            name: f"{videos}/wave/{name}.avi" for name in numbers if numbers[name] == number
        }


def test_hmdb51_says_what_is_wrong(tmp_path):
    videos = touch(tmp_path / "videos", "a.avi", "b.avi")
    lists = _hmdb51_lists(tmp_path / "lists", wave_test_split1="a.avi 1\n\nb.avi 3\n")
    with pytest.raises(InputError, match=r"wave_test_split1.txt, line 3: found 'b.avi 3', expect"):
        catalogs.hmdb51(videos, lists, 1)
    with pytest.raises(InputError, match=r"no lists <class>_test_split2.txt \(found .*splits: 1\)"):
        catalogs.hmdb51(videos, lists, 2)
    lists = _hmdb51_lists(tmp_path / "lists", wave_test_split1="a.avi 1\nb.avi 0\n")
    with pytest.raises(InputError, match=r"lists of split 1 in .* name no test videos"):
        catalogs.hmdb51(videos, lists, 1)


def test_hmdb51_reads_nothing_outside_of_the_directory(tmp_path):
    videos = touch(tmp_path / "videos", "wave/a.avi", "b.avi")
    lists = _hmdb51_lists(tmp_path / "lists", wave_test_split1="../b.avi 1\na.avi 2\n")
    with pytest.raises(InputError, match=r"line 1: found '../b.avi 1', expected '<file>.avi' and"):
        catalogs.hmdb51(videos, lists, 1)
