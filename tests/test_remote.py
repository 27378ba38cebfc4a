"""Reading from a local S3 server: the number of requests, and what happens when they fail."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf import files, remote
from cvrl_tf.conversion.workers import Report
from cvrl_tf.data import labels, records, stream
from cvrl_tf.data.index import READS_FOR_EACH_CPU, index_records
from cvrl_tf.data.source import Source
from cvrl_tf.data.stream import Order
from cvrl_tf.errors import InputError
from cvrl_tf.inspection import indexes
from cvrl_tf.inspection.shards import InspectionJob
from tools.benchmark import local_bucket

SHARDS, RECORDS = 4, 6


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A bucket with shards and their index, and the directory that they come from."""
    directory = tmp_path_factory.mktemp("records")
    for shard in range(SHARDS):
        videos = [make_video(shard * RECORDS + number, 3) for number in range(RECORDS)]
        write_shard(directory / f"train-{shard:05d}-of-{SHARDS:05d}", videos)
    paths = sorted(map(str, directory.iterdir()))
    indexes.write({path: InspectionJob(path, 1).run(Report()).table for path in paths})
    with local_bucket.serving() as started:
        started.upload(str(directory), "with")
        for path in paths:
            with open(path, "rb") as file:
                started.put(f"without/{path.rpartition('/')[2]}", file.read())
        started.local = paths
        yield started


@pytest.fixture(autouse=True)
def in_environment(server, monkeypatch):
    """This process finds the server; the first pauses are short."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "PAUSES", (0.1, 0.2, 0.4))
    monkeypatch.setattr(remote, "_next_note", 0.0)
    remote._client.cache_clear()
    remote.check_bucket.cache_clear()
    server.control(delay=0, down=0)


def _paths(server, prefix):
    return [f"s3://data/{prefix}/{path.rpartition('/')[2]}" for path in server.local]


def test_the_start_takes_a_request_for_all_shards(server, capsys):
    paths = _paths(server, "with")
    videos = Source("x", paths).indexed()
    found = labels.read_labels(videos)
    # The names of indexes, the index, and the sizes of all shards.
    assert server.control()["all"] == 3
    plain = index_records(server.local)
    assert videos.index.fingerprint() == plain.fingerprint()
    np.testing.assert_array_equal(videos.index.offsets, plain.offsets)
    assert list(found.ids) == [f"video_{number}" for number in range(SHARDS * RECORDS)]
    for number in (3, 20):
        assert videos.index.read(tf.constant(number)) == records.serialize(make_video(number, 3))
    assert server.control()["all"] == 2
    assert videos.index.problem(5) is None
    assert capsys.readouterr().err == ""


def test_without_an_index_the_records_are_found(server, capsys):
    index = index_records(_paths(server, "without"))
    assert index.fingerprint() == index_records(server.local).fingerprint()
    assert capsys.readouterr().err.startswith(
        "note: no index lists 4 of 4 shards (first: s3://data/without/train-00000-of-00004): "
    )
    names = [path.rpartition("/")[2] for path in server.local]
    assert files.names_in("s3://data/without/") == names
    assert files.names_in("s3://data/with") == [".index", *names]
    assert files.names_in("s3://data/none") == []


def test_another_shard_of_the_same_size_gives_no_record(server, tmp_path):
    """Its size is checked at the start, each record when it is read."""
    paths = _paths(server, "swapped")
    for path, local in zip(paths, server.local, strict=True):
        with open(local, "rb") as file:
            server.put(path.removeprefix("s3://data/"), file.read())
    index_path = server.local[0].rpartition("/")[0] + "/.index/train.npz"
    with open(index_path, "rb") as file:
        server.put("swapped/.index/train.npz", file.read())
    with open(server.local[0], "rb") as file:
        content = bytearray(file.read())
    index = index_records(paths)
    place = int(index.offsets[1] + index.lengths[1] // 2)
    content[place] ^= 255
    server.put(paths[0].removeprefix("s3://data/"), bytes(content))
    with pytest.raises(tf.errors.OpError, match="corrupted record at"):
        index.read(tf.constant(1))
    assert "damaged" in index.problem(1)
    assert index.read(tf.constant(0)) == records.serialize(make_video(0, 3))


def test_many_reads_wait_at_once_in_the_same_order(server):
    index = index_records(_paths(server, "with"))
    assert index.parallel_reads >= max(16, READS_FOR_EACH_CPU)
    local = index_records(server.local)
    assert local.parallel_reads == stream.PARALLEL_CALLS
    source = Source("x", server.local)
    assert source.indexed().reading(5).index.parallel_reads == 5

    def ids(index):
        dataset = stream.read_stream(
            index, Order(3), lambda record, seed: records.parse(record), lambda parsed: parsed["id"]
        )
        return [int(position) and one.numpy() for one, position in dataset.take(60)]

    server.control(delay=0.3)
    found = ids(index)
    counts = server.control(delay=0)
    assert found == ids(local)
    assert counts["most"] >= 12


def test_a_bucket_that_goes_away_for_a_while_costs_no_record(server, capsys, monkeypatch):
    monkeypatch.setattr(remote, "PAUSES", (0.2, 0.4, 0.8, 1.6))
    index = index_records(_paths(server, "with"))
    dataset = stream.read_stream(
        index, Order(0), lambda record, seed: records.parse(record), lambda parsed: parsed["id"]
    )
    server.control(down=1)
    threading.Timer(1.5, server.control, kwargs={"down": 0}).start()
    positions = [int(position) for _, position in dataset.take(30)]
    assert positions == list(range(30))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: s3://data/with/train-0")
    assert line.endswith(" cannot be read now (HTTP status 503): trying again for half a minute")


def test_a_request_that_never_succeeds_is_named(server, capsys):
    index = index_records(_paths(server, "with"))
    server.control(down=1)
    assert "the file cannot be read: " in index.problem(3)
    assert server.control(down=0)["refused"] == 1 + len(remote.PAUSES)
    with pytest.raises(InputError, match="s3://data/none cannot be read"):
        index_records(["s3://data/none"])
    with pytest.raises(InputError, match=r"^s3://other cannot be read \(there is no such bucket\)"):
        remote.check_bucket("s3://other")


def test_an_unreachable_bucket_is_named(monkeypatch, capsys):
    monkeypatch.setenv("S3_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^s3://data cannot be read \(Could not connect"):
        remote.check_bucket("s3://data")
    assert "s3://data cannot be read now (Could not connect" in capsys.readouterr().err
