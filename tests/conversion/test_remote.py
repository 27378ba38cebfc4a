"""Conversion to and from a real S3 server on this machine."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import textwrap
import time

import boto3
import pytest
from small_videos import draw, write_video

PROGRAM = """
    import json
    import sys
    import tensorflow as tf
    from cvrl_tf import files
    from cvrl_tf.cli.application import Command
    from cvrl_tf.conversion.catalogs import Catalog, Entry
    from cvrl_tf.conversion.convert import convert
    from cvrl_tf.conversion.workers import WorkerPool
    from cvrl_tf.data import lookup, records

    def main(flags):
        output = "s3://data/records"
        names = ("0.mp4", "1.mp4", "missing.mp4")
        entries = [Entry(name, f"s3://data/videos/{name}", 0, "dive") for name in names]
        catalog = Catalog("x", {"train": entries}, ["dive"])
        info = convert(catalog, output, WorkerPool(1), num_shards=2)
        again = convert(catalog, output, WorkerPool(1), num_shards=2)
        shards = lookup.find_shards(f"{output}/train-*", "train_data")
        dataset = tf.data.TFRecordDataset(shards).map(records.parse)
        frames = [len(video["frames"]) for video in dataset.as_numpy_iterator()]
        print(json.dumps([info, again, sorted(frames)]))

    if __name__ == "__main__":
        Command(main, "", {}).run()
    """


@pytest.fixture
def s3(tmp_path):
    """A client of a server with the bucket `data`, and the environment that leads there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "S3_ENDPOINT": f"http://127.0.0.1:{port}",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.1)
        client = boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=environment["S3_ENDPOINT"],
            aws_access_key_id="id",
            aws_secret_access_key="key",
        )
        client.create_bucket(Bucket="data")
        yield client, environment
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_io") is None, reason="needs the extra `remote`"
)
def test_from_s3_to_s3_and_back_with_exit_status_0(tmp_path, s3):
    client, environment = s3
    for index in range(2):
        path = write_video(tmp_path / "x.mp4", draw(4 + index, 24, 32))
        client.upload_file(path, "data", f"videos/{index}.mp4")
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, program],
        env={**environment, "PYTHONPATH": ":".join([os.getcwd(), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    info, again, frames = json.loads(done.stdout)
    assert info["splits"]["train"]["failures"] == {"missing": 1}
    assert again == info
    assert frames == [4, 5]
    assert "holds all 2 shards of split 'train': nothing to do" in done.stderr
    keys = [
        item["Key"] for item in client.list_objects(Bucket="data", Prefix="records")["Contents"]
    ]
    assert keys == [
        f"records/{name}"
        for name in (
            ".conversion/train-00000-of-00002.json",
            ".conversion/train-00001-of-00002.json",
            ".conversion/train.json",
            ".index/train.npz",
            "dataset_info.json",
            "failures.csv",
            "labels.txt",
            "train-00000-of-00002",  # the other one holds only the missing video
        )
    ]
    table = client.get_object(Bucket="data", Key="records/failures.csv")["Body"].read().decode()
    assert table.splitlines()[1] == ("train,missing.mp4,s3://data/videos/missing.mp4,missing,0,no")
