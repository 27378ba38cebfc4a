import json

import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.training import metrics


def test_lines_are_appended_and_read_back(tmp_path):
    writer = metrics.MetricsWriter(str(tmp_path))
    writer.write(10, loss=2.5, learning_rate=0.1)
    writer.write(20, loss=1.5, learning_rate=0.2)
    assert metrics.read_metrics(str(tmp_path)) == [
        {"step": 10, "loss": 2.5, "learning_rate": 0.1},
        {"step": 20, "loss": 1.5, "learning_rate": 0.2},
    ]


def test_lines_after_the_restored_step_are_dropped(tmp_path):
    writer = metrics.MetricsWriter(str(tmp_path))
    for step in (10, 20, 30):
        writer.write(step, loss=float(step))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "lo')  # killed while writing
    metrics.MetricsWriter(str(tmp_path), first_step=20).write(25, loss=0.0)
    assert [row["step"] for row in metrics.read_metrics(str(tmp_path))] == [10, 20, 25]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    writer = metrics.MetricsWriter(str(tmp_path))
    writer.write(1, loss=2.0)

    def full(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.io.gfile, "GFile", full)
    message = r"Metrics cannot be written to .* \(No space left on device\): free some space"
    with pytest.raises(InputError, match=message):
        writer.write(2, loss=1.0)
    with pytest.raises(InputError, match=message):
        writer.write_pairs(2, np.zeros((1, 2, 1, 4, 4, 3), np.float32))


def test_tensorboard_events_hold_scalars_and_pictures(tmp_path):
    writer = metrics.MetricsWriter(str(tmp_path))
    writer.write(7, loss=2.5)
    writer.write_pairs(0, np.zeros((1, 2, 1, 4, 6, 3), np.float32))
    (events,) = tmp_path.glob("events.*")
    found = {}
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found[value.tag] = (event.step, tf.make_ndarray(value.tensor))
    assert found["loss"][0] == 7 and float(found["loss"][1]) == 2.5
    width, height, png = found["clip_pairs"][1]
    assert (int(width), int(height)) == (6, 10)  # two frames of 6x4, 2 pixels between
    assert tf.io.decode_png(png).shape == (10, 6, 3)
    assert (tmp_path / "clip_pairs.png").read_bytes()[1:4] == b"PNG"


def test_clip_sheet_puts_each_frame_in_its_place():
    views = np.zeros((2, 2, 3, 4, 5, 3), np.float32)
    views[1, 0, 2] = 1.0 / 255
    sheet = metrics.clip_sheet(views)
    # Rows: 4 + 2 + 4 a pair, 6 between pairs; columns: 5 + 2 + 5 + 2 + 5.
    assert sheet.shape == (10 + 6 + 10, 19, 3)
    assert (sheet[16:20, 14:19] == 1).all()
    assert (sheet == 1).sum() == 4 * 5 * 3
    assert (sheet[10:16] == 255).all()
    assert (sheet[:4, :5] == 0).all()


def test_clip_sheet_has_a_row_for_each_clip_of_a_video():
    views = np.zeros((2, 3, 1, 4, 5, 3), np.float32)
    views[1, 2, 0] = 1.0
    sheet = metrics.clip_sheet(views)
    # Rows: 4 + 2 + 4 + 2 + 4 a video, 6 between videos.
    assert sheet.shape == (16 + 6 + 16, 5, 3)
    assert (sheet[34:] == 255).all() and (sheet[28:32] == 0).all() and (sheet[16:22] == 255).all()


def test_png_is_written_as_it_is(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    metrics.write_png(str(tmp_path / "picture.png"), image)
    read = tf.io.decode_png(tf.io.read_file(str(tmp_path / "picture.png")))
    np.testing.assert_array_equal(read, image)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
