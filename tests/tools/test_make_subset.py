import subprocess
import sys

from small_records import make_video, write_shard


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tools.make_subset", *arguments], capture_output=True, text=True
    )


def test_a_list_of_ids_is_written(tmp_path):
    videos = [make_video(index, num_frames=2, label=int(index > 2)) for index in range(8)]
    shard = write_shard(tmp_path / "train-00000-of-00001", videos)
    output = tmp_path / "ids.txt"
    result = _run(f"--data={shard}", "--fraction=0.875", f"--output={output}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{output}: 7 of 8 videos, 3 to 4 of each of 2 classes\n"
    ids = output.read_text().splitlines()
    assert len(set(ids)) == 7 and {"video_0", "video_1", "video_2"} < set(ids)
    result = _run(f"--data={shard}", "--fraction=0.5", f"--output={tmp_path}/none/ids.txt")
    assert result.returncode == 2
    assert result.stderr == (
        f"error: --output={tmp_path}/none/ids.txt cannot be written: there is no directory"
        f" {tmp_path}/none; make it.\n"
    )
