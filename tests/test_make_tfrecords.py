import functools
import json
import shlex

import commands
import numpy as np
import pytest
from small_videos import draw, write_class_folders, write_video

from cvrl_tf import train
from cvrl_tf.conversion import catalogs, convert
from cvrl_tf.conversion.workers import InProcess
from cvrl_tf.data import records

_run = functools.partial(commands.run, "cvrl_tf.make_tfrecords")


def test_folder_split_by_split(tmp_path):
    for split, counts in ("test", {"dive": 1, "swim": 0}), ("train", {"dive": 3, "swim": 2}):
        videos = write_class_folders(tmp_path / split, counts)
        done = _run(
            "--dataset=folder",
            f"--video_dir={videos}",
            f"--split={split}",
            f"--output_dir={tmp_path}/out",
            "--short_side=16",
            "--num_shards=1",
            "--workers=1",
        )
        assert done.returncode == 0, done.stderr
        assert f"converting {split}: " in done.stderr
        if split == "test":
            assert done.stdout.splitlines()[-1] == (
                f"next: convert the training videos to the same {tmp_path}/out"
            )
    assert done.stdout.splitlines() == [
        "",
        f"{tmp_path}/out: 2 classes",
        f"  test: 1 video, 4 frames, {_megabytes(tmp_path, 'test')} MB in 1 shard",
        "    without videos: swim",
        f"  train: 5 videos, 24 frames, {_megabytes(tmp_path, 'train')} MB in 1 shard",
        "next: python -m cvrl_tf.train --flagfile=flags/small"
        f" --train_data='{tmp_path}/out/train-*' --model_dir=runs/first",
    ]
    summary = records.first_record(f"{tmp_path}/out/test-00000-of-00001")
    assert (summary.height, summary.width, summary.label) == (16, 21, 0)


def _megabytes(directory, split):
    return f"{(directory / 'out' / f'{split}-00000-of-00001').stat().st_size / 1e6:.1f}"


def test_ucf101_writes_both_splits(tmp_path):
    write_video(tmp_path / "v_Dive_g08_c01.avi", draw(5, 24, 32), codec="mpeg4")
    write_video(tmp_path / "v_Dive_g01_c01.avi", draw(6, 24, 32), codec="mpeg4")
    (tmp_path / "classInd.txt").write_text("1 Dive\n")
    (tmp_path / "trainlist02.txt").write_text("Dive/v_Dive_g08_c01.avi 1\n")
    (tmp_path / "testlist02.txt").write_text("Dive/v_Dive_g01_c01.avi\n")
    done = _run(
        "--dataset=ucf101",
        f"--video_dir={tmp_path}",
        f"--annotations={tmp_path}",
        "--split_number=2",
        f"--output_dir={tmp_path}/out",
    )
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert info["dataset"] == "ucf101, split 2"
    assert {split: held["frames"] for split, held in info["splits"].items()} == {
        "train": 5,
        "test": 6,
    }


def test_kinetics_keeps_the_labels_of_an_earlier_run(tmp_path):
    for index in (1, 2, 3):
        name = f"ID_4567890{index}_000010_000020.mp4"
        write_video(tmp_path / name, draw(4 + index, 24, 32))
    header = "label,youtube_id,time_start,time_end,split,is_cc\n"
    (tmp_path / "train.csv").write_text(
        f'{header}"zumba",ID_45678901,10,20,train,0\nyoga,ID_45678902,10,20,train,0\n'
    )
    (tmp_path / "val.csv").write_text(f"{header}zumba,ID_45678903,11,21,val,0\n")
    catalog = catalogs.kinetics(str(tmp_path), {"train": str(tmp_path / "train.csv")})
    output = tmp_path / "out"
    convert.convert(catalog, str(output), InProcess())
    done = _run(
        "--dataset=kinetics",
        f"--video_dir={tmp_path}",
        f"--annotations=val={tmp_path}/val.csv",
        f"--label_map={output}/labels.txt",
        f"--output_dir={output}",
        "--workers=1",
    )
    assert done.returncode == 0, done.stderr
    assert "note: skipped: 2 files without a row of val.\n" in done.stderr
    assert (output / "labels.txt").read_text() == "yoga\nzumba\n"
    summary = records.first_record(f"{output}/val-00000-of-00001")
    assert (summary.label, summary.num_frames) == (1, 7)


def test_files_have_no_label_index(tmp_path):
    write_class_folders(tmp_path / "videos", {"dive": 1, "swim": 1})
    done = _run(
        "--dataset=files",
        f"--files={tmp_path}/videos/**/*.mp4",
        "--split=pool",
        f"--output_dir={tmp_path}/out",
        "--workers=1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == f"{tmp_path}/out: no labels"
    summary = records.first_record(f"{tmp_path}/out/pool-00000-of-00001")
    assert summary.label is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset=ucf101", "--video_dir=x", "--output_dir=y"], "--annotations is missing"),
        (
            ["--dataset=folder", "--video_dir=x", "--output_dir=y", "--split_number=1"],
            "--split_number is for --dataset=ucf101, hmdb51; found --dataset=folder: omit it",
        ),
        (["--dataset=files", "--output_dir=y"], "--files is missing: expected --dataset="),
        (
            ["--dataset=files", "--files=x", "--output_dir=y", "--label_map=z"],
            "--label_map is for --dataset=folder, kinetics; found --dataset=files: omit it",
        ),
        (
            ["--dataset=folder", "--video_dir=nowhere", "--output_dir=y"],
            "video_dir=nowhere does not exist",
        ),
    ],
)
def test_wrong_flags_give_one_sentence(flags, message):
    done = _run(*flags)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--fps=0", "flag --fps=0: expected a number of at least 0.001"),
        ("--max_seconds=-1", "flag --max_seconds=-1: expected a number of at least 0.001"),
        ("--max_failures=1.5", "Found --max_failures=1.5: expected a count such as 20 or a frac"),
        ("--max_failures=few", "Found --max_failures=few: expected a count"),
    ],
)
def test_wrong_values_give_one_sentence(flag, message, tmp_path):
    done = _run("--dataset=folder", f"--video_dir={tmp_path}", "--output_dir=y", flag)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_bad_videos_are_summed_up_and_the_same_command_goes_on(tmp_path):
    videos = write_class_folders(tmp_path / "videos", {"dive": 3})
    (tmp_path / "videos" / "dive" / "empty.mp4").touch()
    noise = list(np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8))
    half = tmp_path / "videos" / "dive" / "half.avi"
    write_video(half, noise, codec="mpeg4")
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    flags = [
        "--dataset=folder",
        f"--video_dir={videos}",
        f"--output_dir={tmp_path}/out",
        "--fps=5",
        "--max_seconds=0.9",
        "--min_frames=2",
    ]
    done = _run(*flags, "--max_failures=0.1", fresh=True)
    assert done.returncode == 2
    *_, error = done.stderr.splitlines()
    assert error == (
        "error: 1 of the 5 videos of split 'train' could not be converted (empty file: 1), more"
        f" than max_failures=0.1: {tmp_path}/out/failures.csv lists them, and the other 4 are"
        " converted. Fix them and convert into another output_dir, or run again with a higher"
        " max_failures to accept this."
    )
    done = _run(*flags, "--max_failures=1")
    assert done.returncode == 0
    assert done.stderr == f"{tmp_path}/out holds all 1 shards of split 'train': nothing to do\n"
    assert done.stdout.splitlines()[2:5] == [
        f"  train: 4 videos, 13 frames, {_megabytes(tmp_path, 'train')} MB in 1 shard",
        "    skipped, see failures.csv: empty file: 1",
        "    damaged but kept, see failures.csv: 1",
    ]


def test_help_has_examples_and_every_flag():
    done = _run("--help")
    assert done.returncode == 0
    assert done.stdout.count("  python -m cvrl_tf.make_tfrecords --dataset=") == 7
    for name in (
        "video_dir",
        "files",
        "annotations",
        "label_map",
        "tfds_name",
        "split_number",
        "split",
        "output_dir",
        "num_shards",
    ):
        assert f"\n  --{name}=" in done.stdout
    for name in ("dataset", "short_side", "quality", "fps", "max_seconds", "min_frames"):
        assert f"\n  --{name}=" in done.stdout
    for name in ("max_failures", "workers", "timeout"):
        assert f"\n  --{name}=" in done.stdout


def test_the_output_may_lie_in_the_directory_of_the_videos(tmp_path):
    videos = write_class_folders(tmp_path / "videos", {"dive": 2})
    (tmp_path / "videos" / "records").mkdir()
    for _ in range(2):
        done = _run("--dataset=folder", f"--video_dir={videos}", f"--output_dir={videos}/records")
        assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert (tmp_path / "videos" / "records" / "labels.txt").read_text() == "dive\n"


def test_names_do_not_reach_the_terminal_as_commands(tmp_path):
    videos = write_class_folders(tmp_path / "videos", {"dive": 1, "a\x1b[31mb": 0})
    (tmp_path / "videos" / "dive" / "deep\x1b]0;title\x07").mkdir()
    write_video(tmp_path / "videos" / "dive" / "deep\x1b]0;title\x07" / "x.mp4", draw(2, 24, 32))
    done = _run("--dataset=folder", f"--video_dir={videos}", f"--output_dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert "skipped: 1 video in folders below" in done.stderr
    assert "(dive/deep\\x1b]0;title\\x07/x.mp4, ...)" in done.stderr
    assert "without videos: a\\x1b[31mb" in done.stdout


def test_a_path_with_spaces_is_quoted_in_the_next_command(tmp_path):
    videos = write_class_folders(tmp_path / "videos", {"dive": 1})
    done = _run("--dataset=folder", f"--video_dir={videos}", f"--output_dir={tmp_path}/it's mine")
    assert done.returncode == 0, done.stderr
    _, line = done.stdout.rsplit("next: ", 1)
    _, _, _, *arguments = shlex.split(line)
    assert arguments[1] == f"--train_data={tmp_path}/it's mine/train-*"
    flags, *_ = train.COMMAND.parse(*arguments)  # of the recipe for small data
    assert (flags.backbone, flags.crop_size, flags.steps) == ("r3d_small", 64, 1200)
