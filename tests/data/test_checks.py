import pytest
from small_records import make_video, write_shard

from cvrl_tf.data import checks
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.lookup import find_source
from cvrl_tf.data.source import Source
from cvrl_tf.errors import InputError

CLIP = ClipSpec(frames=4, stride=2, size=32)


def test_check_shards_counts(shards):
    assert len(checks.check_shards(find_source(shards, "train_data"), CLIP)) == 12


def test_check_shards_refuses_small_frames(shards):
    with pytest.raises(InputError, match=r"frames of 48x40 pixels, smaller than crop_size=64"):
        checks.check_shards(find_source(shards, "train_data"), ClipSpec(4, 2, 64))


def test_check_shards_refuses_clips_longer_than_the_videos(shards):
    with pytest.raises(InputError, match=r"longest has 20 frames.*num_frames=16 at stride=2"):
        checks.check_shards(find_source(shards, "train_data"), ClipSpec(16, 2, 32))


def test_check_shards_says_when_some_videos_are_short(tmp_path, capsys):
    paths = [
        write_shard(tmp_path / "a", [make_video(0, num_frames=20)]),
        write_shard(tmp_path / "b", [make_video(1, num_frames=5)]),
    ]
    assert len(checks.check_shards(Source("short", paths), CLIP)) == 2
    assert capsys.readouterr().err == (
        "note: the first videos of 1 of 2 shards are shorter than a clip (5 of 7 frames): their"
        " frames are taken cyclically.\n"
    )


def test_check_shards_passes_over_a_damaged_first_record(tmp_path, capsys):
    paths = [write_shard(tmp_path / name, [make_video(i) for i in range(2)]) for name in "ab"]
    content = bytearray((tmp_path / "a").read_bytes())
    content[5000] ^= 255
    (tmp_path / "a").write_bytes(content)
    assert len(checks.check_shards(Source("damaged", paths), CLIP)) == 4
    assert capsys.readouterr().err == (
        f"note: the first records of 1 of 2 shards cannot be read. {tmp_path}/a: its first record"
        " is damaged, or it is not a TFRecord file; convert it again.\n"
    )
    with pytest.raises(InputError, match="a: its first record is damaged"):
        checks.check_shards(Source("damaged", paths[:1]), CLIP)


def test_records_that_are_present_twice_are_noted(shards, tmp_path, capsys):
    checks.note_repeated(find_source(shards, "train_data").indexed())
    assert capsys.readouterr().err == ""
    for name in "ab":
        write_shard(tmp_path / name, [make_video(number, 2) for number in range(3)])
    write_shard(tmp_path / "c", [make_video(7, 2), make_video(1, 2)])
    paths = [str(tmp_path / name) for name in "abc"]
    checks.note_repeated(Source("some data", paths).indexed())
    assert capsys.readouterr().err == (
        "note: 4 of 8 records of some data have the content of another one, the first is"
        f" {paths[1]}, record 0: a batch may hold a video as its own negative; remove the copies.\n"
    )


def test_videos_with_room_for_few_clips_are_noted(tmp_path, capsys):
    paths = [
        write_shard(tmp_path / str(frames), [make_video(0, num_frames=frames)])
        for frames in (7, 9, 20)
    ]
    source = Source("short", paths)
    checks.check_shards(source, CLIP, num_clips=2)
    assert capsys.readouterr().err == (
        "note: the first videos of 1 of 3 shards have room for fewer than 2 different clips (1):"
        " some of their clips are the same frames.\n"
    )
    checks.check_shards(source, CLIP, num_clips=4)
    assert capsys.readouterr().err.startswith("note: the first videos of 2 of 3 shards have room")
    checks.check_shards(source, CLIP)
    checks.check_shards(Source("long", paths[2:]), CLIP, num_clips=14)
    assert capsys.readouterr().err == ""
