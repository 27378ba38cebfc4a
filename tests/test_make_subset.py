import pytest
from permissions import nobody
from small_records import make_video, write_shard

from cvrl_tf.errors import InputError
from cvrl_tf.make_subset import COMMAND


@pytest.fixture
def shard(tmp_path):
    """Eight videos of two classes."""
    videos = [make_video(index, num_frames=2, label=int(index > 2)) for index in range(8)]
    return write_shard(tmp_path / "train-00000-of-00001", videos)


def test_a_list_of_ids_is_written(shard, tmp_path, capsys):
    output = tmp_path / "ids.txt"
    COMMAND.call(f"--data={shard}", "--fraction=0.875", f"--output={output}")
    assert capsys.readouterr().out == f"{output}: 7 of 8 videos, 3 to 4 of each of 2 classes\n"
    ids = output.read_text().splitlines()
    assert len(set(ids)) == 7 and {"video_0", "video_1", "video_2"} < set(ids)


def test_an_output_that_cannot_be_written_is_named_before_the_work(tmp_path):
    flags = ("--data=no_data", "--fraction=0.5")
    with pytest.raises(InputError) as caught:
        COMMAND.call(*flags, f"--output={tmp_path}/none/ids.txt")
    assert str(caught.value) == (
        f"--output={tmp_path}/none/ids.txt cannot be written: there is no directory"
        f" {tmp_path}/none; make it."
    )
    with pytest.raises(InputError, match="is a directory: expected the name of a file to write"):
        COMMAND.call(*flags, f"--output={tmp_path}")
    with nobody() as directory:
        directory.chmod(0o500)
        with pytest.raises(InputError, match="there is no permission to write to"):
            COMMAND.call(*flags, f"--output={directory}/ids.txt")


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match=r"^--fraction is missing; --help shows an example\.$"):
        COMMAND.call("--data=x", "--output=y")
