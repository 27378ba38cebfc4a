from cvrl_tf.conversion.workers import Report
from cvrl_tf.data import records, tfrecords
from cvrl_tf.inspection import indexes
from cvrl_tf.inspection.shards import InspectionJob
from tools.benchmark import storage


def test_tiny_shards_are_as_a_conversion_writes_them(tmp_path, capsys):
    directory = tmp_path / "tiny"
    storage.write_tiny(str(directory), 1203, 2)
    paths = sorted(map(str, directory.glob("train-*")))
    results = [InspectionJob(path, 0).run(Report()) for path in paths]
    assert [problem for result in results for problem in result.problems] == []
    assert [len(result.videos) for result in results] == [602, 601]
    assert indexes.check({result.path: result.table for result in results}) == []
    first = next(tfrecords.read_shard(paths[1]))
    assert records.identify(first.serialized).id == "00000000002"
    capsys.readouterr()
    figures = storage._started(f"{directory}/train-*")  # checks labels and ids
    assert figures["seconds"] > 0
    assert capsys.readouterr().err == ""
