"""From class folders to splits to records."""

import csv
import os
import shutil

import numpy as np
import pytest
from small_videos import write_video

from cvrl_tf import make_tfrecords, split_videos
from cvrl_tf.conversion import workers
from cvrl_tf.data.labels import read_labels
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError


def pattern(seed, mirrored=False, trimmed=0):
    """20 frames of a coarse random pattern that moves down."""
    coarse = np.random.default_rng(seed).integers(0, 255, (40, 8, 3))
    coarse = coarse.cumsum(axis=0).astype(np.uint8)[:, :: -1 if mirrored else 1]
    shown = np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)
    return [np.ascontiguousarray(shown[2 * t : 2 * t + 48]) for t in range(trimmed, 20)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two classes: five different videos of each, twins of three of them, one damaged file."""
    directory = tmp_path_factory.mktemp("videos")
    for label, name in enumerate(("dive", "swim")):
        (directory / name).mkdir()
        for number in range(5):
            write_video(directory / name / f"{name}_g{number}_a.mp4", pattern(10 * label + number))
    shutil.copy(directory / "dive/dive_g0_a.mp4", directory / "dive/copy_g7_a.mp4")
    write_video(directory / "dive/mirror_g8_a.mp4", pattern(1, mirrored=True))
    write_video(directory / "swim/coded_g9_a.avi", pattern(12, trimmed=1), codec="mpeg4")
    (directory / "swim/broken_g4_b.mp4").write_bytes(b"no video")
    return str(directory)


def lists(directory):
    """The ids of each split."""
    return {
        name.removesuffix(".txt"): open(os.path.join(directory, name)).read().splitlines()
        for name in sorted(os.listdir(directory))
        if name.endswith(".txt")
    }


def test_splits_keep_twins_and_groups_together_and_are_converted(
    videos, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(workers, "WorkerPool", lambda *arguments: workers.InProcess())
    output, records = str(tmp_path / "splits"), str(tmp_path / "records")
    os.makedirs(output)
    (tmp_path / "splits" / "validation.txt").write_text("of an earlier split\n")
    arguments = f"--video_dir={videos}", f"--output_dir={output}", "--group_pattern=_g(.)_"
    rest = "--validation_fraction=0", "--test_fraction=0.3"
    split_videos.COMMAND.call(*arguments, *rest)
    printed = capsys.readouterr().out
    assert "3 pairs of nearly equal videos, each in one split" in printed
    assert "1 video unreadable, 0 damaged" in printed
    assert "note: every video" not in printed
    assert printed.endswith(
        f"next: python -m cvrl_tf.make_tfrecords --dataset=folder --video_dir={videos}"
        f" --annotations={output} --output_dir=records\n"
    )
    found = lists(output)
    assert list(found) == ["test", "train"]  # that of the earlier split is removed
    side = {one: name for name, ids in found.items() for one in ids}
    assert len(side) == 14 and set(found["train"]).isdisjoint(found["test"])
    with open(os.path.join(output, "twins.csv")) as file:
        pairs = {(row["first"], row["second"]): row["mirrored"] for row in csv.DictReader(file)}
    assert pairs == {
        ("dive/copy_g7_a", "dive/dive_g0_a"): "no",
        ("dive/dive_g1_a", "dive/mirror_g8_a"): "yes",
        ("swim/coded_g9_a", "swim/swim_g2_a"): "no",
    }
    assert all(side[first] == side[second] for first, second in pairs)
    for number in range(5):  # a group is in both classes
        assert side[f"dive/dive_g{number}_a"] == side[f"swim/swim_g{number}_a"]
    assert side["swim/broken_g4_b"] == side["swim/swim_g4_a"]
    assert {one.split("/")[0] for one in found["test"]} == {"dive", "swim"}
    with open(os.path.join(output, "failures.csv")) as file:
        (row,) = csv.DictReader(file)
    assert (row["video_id"], row["kept"]) == ("swim/broken_g4_b", "no")

    make_tfrecords.COMMAND.call(
        "--dataset=folder",
        f"--video_dir={videos}",
        f"--annotations={output}",
        f"--output_dir={records}",
        "--max_failures=1",
    )
    for name, ids in found.items():
        held = read_labels(find_source(f"{records}/{name}-*", "data").indexed())
        assert sorted(held.ids) == sorted(set(ids) - {"swim/broken_g4_b"})
        assert {
            one.split("/")[0]: label for one, label in zip(held.ids, held.labels, strict=True)
        } == {
            "dive": 0,
            "swim": 1,
        }


def test_files_without_labels_are_split_the_same_each_time(videos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workers, "WorkerPool", lambda *arguments: workers.InProcess())
    found = []
    for name in ("one", "two"):
        split_videos.COMMAND.call(f"--files={videos}/dive/*.mp4", f"--output_dir={tmp_path / name}")
        found.append(lists(tmp_path / name))
    assert found[0] == found[1]
    assert {name: len(ids) for name, ids in found[0].items()} == {
        "train": 5,
        "validation": 1,
        "test": 1,
    }
    printed = capsys.readouterr().out
    assert f"--dataset=files --files='{videos}/dive/*.mp4' --annotations=" in printed
    assert printed.count("note: every video is a group of its own. If several show one") == 2


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("--files={videos}/*/*.mp4",), "Expected --output_dir=... and one of --video_dir="),
        (("--video_dir={videos}", "--output_dir={videos}/splits"), "is inside --video_dir="),
        (("--video_dir={videos}/dive", "--output_dir={tmp}"), "holds no class folders"),
        (
            ("--video_dir={videos}", "--output_dir={tmp}", "--test_fraction=0.9"),
            "validation_fraction=0.15 and test_fraction=0.9: expected a sum above 0 and below 1",
        ),
        (
            ("--video_dir={videos}", "--output_dir={tmp}", "--group_pattern=_g."),
            "group_pattern=_g. has no group in parentheses",
        ),
    ],
)
def test_bad_flags_are_refused_before_any_video_is_decoded(arguments, expected, videos, tmp_path):
    filled = [one.format(videos=videos, tmp=tmp_path / "splits") for one in arguments]
    with pytest.raises(InputError, match=expected):
        split_videos.COMMAND.call(*filled)
    assert os.listdir(tmp_path) == []
