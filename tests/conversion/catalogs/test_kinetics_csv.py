import csv
import io
import os
import tempfile

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from small_videos import touch

from cvrl_tf.conversion import catalogs
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.errors import InputError

K400 = "label,youtube_id,time_start,time_end,split,is_cc\n"


def _kinetics(tmp_path, videos, label_map=None, **annotations):
    """The catalog of `videos` below tmp_path/k400, with annotation files of the given texts."""
    root = tmp_path / "k400"
    root.mkdir(exist_ok=True)
    touch(root, *videos)
    paths = {}
    for split, text in annotations.items():
        extension = "csv" if "youtube_id" in text else "txt"
        paths[split] = str(tmp_path / f"{split}.{extension}")
        (tmp_path / f"{split}.{extension}").write_bytes(text.encode())
    return catalogs.kinetics(str(root), paths, label_map)


def _found(catalog, split="train"):
    """Label name and path below k400 of each entry by id."""
    return {
        entry.video_id: (entry.label_name, entry.path.split("/k400/")[1])
        for entry in catalog.splits[split]
    }


def test_rows_are_matched_with_flat_files_and_class_folders(tmp_path):
    catalog = _kinetics(
        tmp_path,
        [
            "train/-_a_bcdef-__000010_000020.mp4",
            "train/tai chi/_____------_000001_000011.mp4",
            "val/0123456789A_000123_000133.mkv",
            "train/._0123456789A_000123_000133.mp4",
        ],
        train=K400 + "yoga,-_a_bcdef-_,10,20,train,0\ntai chi,_____------,1,11,train,1\n",
        val=K400 + '"yoga",0123456789A,123,133,val,0\n',
    )
    root = f"{tmp_path}/k400"
    assert catalog.classes == ["tai chi", "yoga"]
    assert catalog.splits == {
        "train": [
            Entry(
                "-_a_bcdef-__000010_000020",
                f"{root}/train/-_a_bcdef-__000010_000020.mp4",
                1,
                "yoga",
                10_000_000,
            ),
            Entry(
                "_____------_000001_000011",
                f"{root}/train/tai chi/_____------_000001_000011.mp4",
                0,
                "tai chi",
                1_000_000,
            ),
        ],
        "val": [
            Entry(
                "0123456789A_000123_000133",
                f"{root}/val/0123456789A_000123_000133.mkv",
                1,
                "yoga",
                123_000_000,
            )
        ],
    }
    assert catalog.notes == []


@pytest.mark.parametrize(
    "text",
    [
        "label,youtube_id,time_start,time_end,split,is_cc\na b,ID_45678901,10,20,train,0\n",
        "label,youtube_id,time_start,time_end,split\n\na b,ID_45678901,10,20,train\n\n",
        '\ufefflabel,youtube_id,time_start,time_end\r\n"a b",ID_45678901,10,20\r\n',
        '"split","time_end","youtube_id","time_start","label"\ntrain,20,ID_45678901,10,"a b"\n',
        " Label , youtube_id , time_start , time_end\na b , ID_45678901 , 10.0 , 20.0",
        "youtube_id,label\nID_45678901,a b\n",
    ],
)
def test_any_form_of_annotations_is_read(tmp_path, text):
    catalog = _kinetics(tmp_path, ["ID_45678901_000010_000020.mp4"], train=text)
    path = f"{tmp_path}/k400/ID_45678901_000010_000020.mp4"
    assert catalog.splits == {
        "train": [Entry("ID_45678901_000010_000020", path, 0, "a b", 10_000_000)]
    }


def test_rows_without_labels_are_unlabelled(tmp_path):
    catalog = _kinetics(
        tmp_path,
        ["ID_45678901_000010_000020.mp4", "ID_45678902_000010_000020.mp4"],
        train=K400 + "yoga,ID_45678901,10,20,train,0\n",
        test="youtube_id,time_start,time_end,split\nID_45678902,10,20,test\n",
    )
    assert catalog.classes == ["yoga"]
    [entry] = catalog.splits["test"]
    assert (entry.label, entry.label_name) == (None, None)
    assert catalog.notes == ["test: 1 of 1 videos have no label."]


def test_exact_times_come_before_the_id_alone(tmp_path):
    # No file has the times of the second row: it gets the nearest file that is not the first row's.
    catalog = _kinetics(
        tmp_path,
        [f"ID_45678901_{start:06d}_{start + 10:06d}.mp4" for start in (12, 20, 90)],
        train=K400 + "b,ID_45678901,14,24,train,0\na,ID_45678901,12,22,train,0\n",
    )
    assert _found(catalog) == {
        "ID_45678901_000020_000030": ("b", "ID_45678901_000020_000030.mp4"),
        "ID_45678901_000012_000022": ("a", "ID_45678901_000012_000022.mp4"),
    }
    assert [entry.start for entry in catalog.splits["train"]] == [20_000_000, 12_000_000]
    assert catalog.notes == ["skipped: 1 file without a row of train."]


def test_a_file_is_given_by_its_id_to_one_row_only(tmp_path):
    catalog = _kinetics(
        tmp_path,
        ["ID_45678901.mp4"],
        train=K400 + "a,ID_45678901,14,24,train,0\nb,ID_45678901,70,80,train,0\n",
    )
    root = f"{tmp_path}/k400"
    assert catalog.splits["train"] == [
        Entry("ID_45678901", f"{root}/ID_45678901.mp4", 0, "a", 14_000_000),
        Entry(
            "ID_45678901_000070_000080",
            f"{root}/ID_45678901_000070_000080.mp4",
            1,
            "b",
            70_000_000,
        ),
    ]
    assert catalog.notes == [
        "train: 1 of the 2 videos listed are not there"
        f" ({root}/ID_45678901_000070_000080.mp4, ...)."
    ]


def test_replacements_take_the_place_of_corrupt_files(tmp_path):
    folder = "replacement/replacement_for_corrupted_k400"
    catalog = _kinetics(
        tmp_path,
        [
            "train/ID_45678901_000010_000020.mp4",
            "train/ID_45678902_000010_000020.mp4",
            "train/ID_45678903_000010_000020.mp4",
            f"{folder}/ID_45678901_000010_000020.mp4",
            f"{folder}/ID_45678902_000011_000021.mp4",
            f"{folder}/ID_45678904_000010_000020.mp4",
        ],
        train=K400 + "".join(f"a,ID_4567890{n},10,20,train,0\n" for n in (1, 2, 3, 4)),
    )
    assert [path for _, path in _found(catalog).values()] == [
        f"{folder}/ID_45678901_000010_000020.mp4",
        f"{folder}/ID_45678902_000011_000021.mp4",
        "train/ID_45678903_000010_000020.mp4",
        f"{folder}/ID_45678904_000010_000020.mp4",
    ]
    assert catalog.notes == ["2 files are taken from the replacement folder instead."]


def test_the_same_file_in_two_folders_counts_once(tmp_path):
    names = ["train/ID_45678901_000010_000020.mp4", "videos/a/ID_45678901_000010_000020.mp4"]
    catalog = _kinetics(tmp_path, names, train=K400 + "a,ID_45678901,10,20,train,0\n")
    assert [path for _, path in _found(catalog).values()] == [names[0]]
    assert catalog.notes == []


def test_repeated_rows_and_other_files_are_counted(tmp_path):
    row = "ID_45678901,10,20,train,0\n"
    catalog = _kinetics(
        tmp_path,
        ["ID_45678901_000010_000020.mp4", "ID_45678902_000010_000020.mp4", "intro.mp4"],
        train=K400 + f"a,{row}a,{row}b,{row}",
    )
    assert _found(catalog) == {"ID_45678901_000010_000020": ("a", "ID_45678901_000010_000020.mp4")}
    assert catalog.notes == [
        "train: 2 rows come again (1 of them with another label): the first of each counts.",
        "skipped: 1 video with other names than <id>_000010_000020.mp4.",
        "skipped: 1 file without a row of train.",
    ]


def test_lists_of_paths_have_classes_in_their_folders(tmp_path):
    lines = ["train/tai chi/ID_45678901_000010_000020.mp4", "/x/yoga/ID_45678902_000010_000020.mp4"]
    catalog = _kinetics(
        tmp_path,
        [f"train/ID_4567890{n}_000010_000020.mp4" for n in (1, 2, 3)],
        train="\r\n".join(lines),
        val="val/ID_45678903_000010_000020.mp4\n",
    )
    assert list(_found(catalog).values()) == [
        ("tai chi", "train/ID_45678901_000010_000020.mp4"),
        ("yoga", "train/ID_45678902_000010_000020.mp4"),
    ]
    assert _found(catalog, "val") == {
        "ID_45678903_000010_000020": (None, "train/ID_45678903_000010_000020.mp4")
    }


def test_the_only_folder_of_a_list_of_paths_is_no_class(tmp_path):
    names = [f"k600_val/ID_4567890{n}_000010_000020.mp4" for n in (1, 2)]
    catalog = _kinetics(tmp_path, names, val="\n".join(names))
    assert catalog.classes == []
    assert [label for label, _ in _found(catalog, "val").values()] == [None, None]


@pytest.mark.parametrize(
    "name", ["ID_45678901_417_427.mp4", "ID_45678901.mp4", "ID_45678901_000417_000427.MP4"]
)
def test_names_of_other_downloaders_are_read(tmp_path, name):
    row = "a,ID_45678901,417,427,train,0\n"
    catalog = _kinetics(tmp_path, ["ID_45678902_417_427.mp4", name], train=K400 + row)
    assert [path for _, path in _found(catalog).values()] == [name]
    assert catalog.splits["train"][0].start == 417_000_000
    catalog = _kinetics(tmp_path, [], val=f"val/x/{name}\nval/y/ID_45678902_417_427.mp4\n")
    assert [path for _, path in _found(catalog, "val").values()] == [
        name,
        "ID_45678902_417_427.mp4",
    ]


def test_a_class_that_lists_spell_differently_is_refused(tmp_path):
    names = [f"ID_4567890{n}_000010_000020.mp4" for n in (1, 2, 3)]
    train = K400 + "eating cake,ID_45678901,10,20,train,0\n"
    val = f"val/eating_cake/{names[1]}\nval/yoga/{names[2]}\n"
    with pytest.raises(InputError) as caught:
        _kinetics(tmp_path, names, train=train, val=val)
    assert str(caught.value) == (
        "Found the classes 'eating cake' and 'eating_cake', which differ only in case, spaces or"
        " underscores: give a class the same name in all folders and lists, or, if these are two"
        " classes, label_map with both."
    )


def test_a_label_of_two_lines_is_refused(tmp_path):
    row = '"eating\ncake",ID_45678901,10,20,train,0\n'
    with pytest.raises(InputError, match=r"The class name 'eating\\ncake' holds a line break"):
        _kinetics(tmp_path, ["ID_45678901_000010_000020.mp4"], train=K400 + row)


@pytest.mark.parametrize("youtube_id", ["../abc/defg", "abc/defghij", "abcdef.ghij", "abcdefghiéj"])
def test_an_id_of_other_characters_is_refused(tmp_path, youtube_id):
    (tmp_path / "abc").mkdir()
    touch(tmp_path, "abc/defg_000010_000020.mp4")
    rows = f"a,ID_45678901,10,20,train,0\na,{youtube_id},10,20,train,0\n"
    with pytest.raises(InputError) as caught:
        _kinetics(tmp_path, ["ID_45678901_000010_000020.mp4"], train=K400 + rows)
    assert str(caught.value) == (
        f"{tmp_path}/train.csv, line 3: found 'a,{youtube_id},10,20,train,0', expected"
        " label,youtube_id,time_start,time_end,split,is_cc with an id of 11 letters, digits, _ or"
        " -."
    )


def test_labels_of_a_label_map_are_the_same_for_one_split_alone(tmp_path):
    names = [f"ID_4567890{n}_000010_000020.mp4" for n in (1, 2, 3)]
    train = K400 + "zumba,ID_45678901,10,20,train,0\nyoga,ID_45678902,10,20,train,0\n"
    val = K400 + "zumba,ID_45678903,10,20,val,0\n"
    both = _kinetics(tmp_path, names, train=train, val=val)
    alone = _kinetics(tmp_path, names, val=val)
    mapped = _kinetics(tmp_path, names, both.classes, val=val)
    assert alone.classes == ["zumba"]
    assert mapped.classes == both.classes == ["yoga", "zumba"]
    assert mapped.splits["val"] == both.splits["val"]
    with pytest.raises(
        InputError,
        match=r"1 classes .* the 2 of label_map \(first: 'yoga', which it has as 'Yoga'\)",
    ):
        _kinetics(tmp_path, names, ["zumba", "Yoga"], train=train)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,youtube_ids\n", r"has the columns 'id,youtube_ids', expected .* youtube_id"),
        (K400, r"train.csv lists no videos"),
        (K400 + "a,ID_45678901,10,20,train,0\na,short,1,2,train,0\n", r"line 3: found 'a,short,1"),
        (K400 + "a,ID_45678901\n", r"line 2: found 'a,ID_45678901', expected label,youtube_id,"),
        (K400 + "a,ID_45678901,ten,20,train,0\n", r"line 2: .* with times in seconds"),
        (
            K400 + "a,ID_45678901,1,2,train,0\na,ID_45678902,1,2,val,0\n",
            r"rows of several splits \(1 of train, 1 of val\): expected one file for each",
        ),
        (K400 + 'a,"' + "x" * 200_000, r"cannot be read as CSV \(field larger"),
        ("train/ID_45678901_000010_000020.mp4\nREADME.youtube_id", r"has the columns"),
        (
            "train/ID_45678901_000010_000020.mp4\nREADME.md\n",
            r"train.txt, line 2: found 'README.md",
        ),
    ],
)
def test_wrong_annotations_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        _kinetics(tmp_path, ["ID_45678901_000010_000020.mp4"], train=text)


def test_a_split_without_any_video_is_left_out_with_a_note(tmp_path):
    catalog = _kinetics(
        tmp_path,
        ["ID_45678901_000010_000020.mp4"],
        train=K400 + "a,ID_45678901,10,20,train,0\n",
        test="youtube_id,time_start,time_end\nID_45678902,1,2\n",
    )
    assert list(catalog.splits) == ["train"]
    path = f"{tmp_path}/k400/ID_45678902_000001_000002.mp4"
    assert catalog.notes == [
        f"test: none of its 1 videos is there ({path}, ...): the split is skipped."
    ]


def test_a_directory_without_any_of_the_videos_is_refused(tmp_path):
    with pytest.raises(
        InputError,
        match=r"None of the 1 videos of split 'train' .* at .*k400/ID_45678901_000010_000020.mp4,"
        r" then in all folders\): give the directory that holds the videos",
    ):
        _kinetics(
            tmp_path,
            ["ID_45678909_000010_000020.mp4"],
            train=K400 + "a,ID_45678901,10,20,train,0\n",
            test="youtube_id,time_start,time_end\nID_45678902,1,2\n",
        )


def test_annotations_of_a_directory(tmp_path):
    root = touch(tmp_path, "train.txt", "validate.csv", "test.csv", "kinetics600_holdout_test.csv")
    assert catalogs.find_annotations(root) == {
        "train": f"{root}/train.txt",
        "val": f"{root}/validate.csv",
        "test": f"{root}/test.csv",
    }
    touch(tmp_path, "train.csv")
    with pytest.raises(
        InputError, match=r"holds train.csv and train.txt: name .*=train=.*train.csv"
    ):
        catalogs.find_annotations(root)
    with pytest.raises(InputError, match=r"holds none of train.csv, val.csv"):
        catalogs.find_annotations(touch(tmp_path / "other", "k400.csv"))
    with pytest.raises(
        InputError, match=r"test.csv is a file: say of which split, .*=train=/.*csv"
    ):
        catalogs.find_annotations(f"{root}/test.csv")
    with pytest.raises(InputError, match=r"annotations=.*nowhere does not exist"):
        catalogs.find_annotations(f"{root}/nowhere")


def test_annotations_by_split():
    assert catalogs.find_annotations("train=a/t.csv, val=v.txt") == {
        "train": "a/t.csv",
        "val": "v.txt",
    }
    for wrong in "train=a.csv,val", "train=", "train=a,train=b":
        with pytest.raises(InputError, match=r"expected split=FILE, each split once"):
            catalogs.find_annotations(wrong)


IDS = st.text("_-0aZ", min_size=11, max_size=11).filter(lambda name: not name.startswith("._"))
LABELS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1) | (
    st.sampled_from(['a "b", c', "it's", "café, crème", "a b", '""'])
)
TIMES = st.tuples(st.integers(0, 999_999), st.integers(0, 999_999))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(IDS, st.tuples(LABELS, TIMES), min_size=1, max_size=6), st.randoms())
def test_every_row_finds_its_file_and_label(videos, random):
    columns = ["label", "youtube_id", "time_start", "time_end", "split"]
    random.shuffle(columns)
    text = io.StringIO()
    writer = csv.DictWriter(
        text, columns, quoting=random.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
    )
    writer.writeheader()
    expected = {}
    with tempfile.TemporaryDirectory() as directory:
        for youtube_id, (label, (start, end)) in videos.items():
            stem = f"{youtube_id}_{start:06d}_{end:06d}"
            folder = random.choice(["", "folder"])
            os.makedirs(os.path.join(directory, folder), exist_ok=True)
            path = os.path.join(directory, folder, f"{stem}.mp4")
            with open(path, "w"):
                pass
            row = [label, "train", end, start, youtube_id]
            writer.writerow(dict(zip(sorted(columns), row, strict=True)))
            expected[stem] = (path, label, 1_000_000 * start)
        annotations = os.path.join(directory, "train.csv")
        with open(annotations, "w", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())
        catalog = catalogs.kinetics(directory, {"train": annotations})
    assert catalog.classes == sorted({label for label, _ in videos.values()})
    entries = catalog.splits["train"]
    assert {entry.video_id: (entry.path, entry.label_name, entry.start) for entry in entries} == (
        expected
    )
    assert all(catalog.classes[entry.label] == entry.label_name for entry in entries)


def test_remote_directories_are_searched(remote_directory):
    name = "ID_45678901_000010_000020.mp4"
    for path, text in [
        (f"train/a/{name}", ""),
        (f"replacement/{name}", ""),
        ("annotations/train.csv", K400 + "a,ID_45678901,10,20,train,0\n"),
    ]:
        tf.io.gfile.makedirs(f"{remote_directory}/{path.rpartition('/')[0]}")
        with tf.io.gfile.GFile(f"{remote_directory}/{path}", "w") as file:
            file.write(text)
    annotations = catalogs.find_annotations(f"{remote_directory}/annotations")
    catalog = catalogs.kinetics(remote_directory, annotations)
    assert catalog.splits["train"] == [
        Entry(name[:-4], f"{remote_directory}/replacement/{name}", 0, "a", 10_000_000)
    ]
