import functools

import commands
import pytest
from small_records import make_video, write_shard

_run = functools.partial(commands.run, "cvrl_tf.inspect_tfrecords", COLUMNS="70")


def test_good_records_with_a_page(tmp_path):
    write_shard(tmp_path / "train-00000-of-00001", [make_video(n, 4 + n) for n in range(3)])
    done = _run(tmp_path, f"--html={tmp_path}/page.html", fresh=True)
    assert done.returncode == 0, done.stderr
    size = f"{(tmp_path / 'train-00000-of-00001').stat().st_size / 1e6:.1f}"
    assert done.stdout.splitlines() == [
        "split  shards  videos  classes  frames   MB  frames a video  seconds a video  fps",
        f"train       1       3        1      15  {size}       4 / 5 / 6              0.2   25",
        "Three figures are the smallest, the median and the largest.",
        "",
        "split  frame size  videos    share",
        "train       48x40       3  100.0 %",
        "",
        f"page: {tmp_path}/page.html",
        "",
        "no problems in 3 videos of 1 shard",
    ]
    assert "inspecting: 1/1 shards after " in done.stderr
    assert "video_2" in (tmp_path / "page.html").read_text()


def test_bad_records_are_listed_with_status_1(tmp_path):
    path = write_shard(tmp_path / "train-00000-of-00001", [make_video(0, 4), make_video(0, 4)])
    (tmp_path / "failures.csv").write_text(
        "split,video_id,kept\ntrain,x,no\ntrain,y,yes\ntrain,z,yes\n"
    )
    done = _run(f"{tmp_path}/train-*", "--workers=1")
    assert done.returncode == 1
    assert (
        f"\n{path}, record 1 (video_0): the id is also that of record 0 of {path}\n" in done.stdout
    )
    assert "\n1 video failed to convert, 2 damaged but kept: see failures.csv\n" in (done.stdout)
    assert done.stdout.endswith("\n1 problem in 2 videos of 1 shard\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing/*"], "nothing/* matches no file: expected TFRecord files"),
        (["setup.cfg", "--html=no/such/page.html"], "--html=no/such/page.html cannot be written"),
    ],
)
def test_wrong_arguments_give_one_sentence(arguments, message):
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_help_explains_the_pattern():
    done = _run("--help")
    assert done.returncode == 0
    assert "\nPATTERN\n      The shards: a directory of them" in done.stdout
    for name in ("frames_per_video", "workers", "html", "seed"):
        assert f"\n  --{name}=" in done.stdout
