import os
import re

import av
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf import files, train
from cvrl_tf.data.lookup import find_source
from cvrl_tf.demo import drawing
from cvrl_tf.demo import run as demo
from cvrl_tf.training import metrics, run_config

LAST_LINE = re.compile(r"knn_top1 random_init=(\d\.\d\d) pretrained=(\d\.\d\d)")


@pytest.mark.parametrize("class_name", drawing.CLASSES)
def test_videos_move_and_differ_within_a_class(class_name):
    first, again, other = (list(drawing.render_video(class_name, seed)) for seed in (0, 0, 1))
    assert len(first) == drawing.FRAMES
    assert first[0].shape == (drawing.PIXELS, drawing.PIXELS, 3) and first[0].dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[0].astype(int) - other[0]).mean() > 10
    # Noise alone changes a pixel by some 6 levels; a shape that moves away by its contrast.
    assert max(np.abs(first[0].astype(int) - frame).max() for frame in first[1:]) > 50


def test_rendered_files_are_videos_in_class_folders(tmp_path):
    drawing.render_videos(str(tmp_path / "train"), videos_per_class=1, first_seed=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train"]
    for class_name in drawing.CLASSES:
        path = tmp_path / "train" / class_name / f"{class_name}_004.mp4"
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        expected = list(drawing.render_video(class_name, 4))
        assert len(decoded) == len(expected)
        # Chroma is halved and compressed; luma stays.
        luma = [
            np.mean(np.asarray(frames, float) @ [0.299, 0.587, 0.114], axis=(1, 2))
            for frames in (decoded, expected)
        ]
        np.testing.assert_allclose(*luma, atol=4)


def test_rendered_files_are_the_same_every_time(tmp_path):
    contents = []
    for repetition in range(3):
        directory = tmp_path / str(repetition)
        drawing.render_videos(str(directory), videos_per_class=2, first_seed=0)
        contents.append({path.name: path.read_bytes() for path in directory.rglob("*.mp4")})
    assert len(contents[0]) == 2 * len(drawing.CLASSES)
    assert contents[0] == contents[1] == contents[2]


def test_the_whole_way_on_few_videos(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "VIDEOS_PER_CLASS", {"train": 2, "test": 1})
    directory = str(tmp_path / "demo")
    command = [
        f"--model_dir={directory}",
        "--num_frames=4",
        "--crop_size=32",
        "--batch_size=8",
        "--epochs=2",
        "--warmup_epochs=0.5",
    ]
    train.COMMAND.call(*command)
    output = capsys.readouterr().out
    match = LAST_LINE.fullmatch(output.splitlines()[-1])
    evaluations = os.path.join(directory, "model", "evaluations")
    top1 = [
        files.read_json(os.path.join(evaluations, name, "results.json"))["figures"]["knn_5_top1"]
        for name in ("knn_random", "knn_ckpt-4")
    ]
    assert [float(value) for value in match.groups()] == [
        round(figure["value"], 2) for figure in top1
    ]
    model_dir = os.path.join(directory, "model")
    config = run_config.load_config(model_dir)
    assert (config.backbone, config.learning_rate, config.num_frames) == ("r3d_small", 0.03, 4)
    assert config.train_data == os.path.join(directory, "records", "train-*")
    flagfile = files.read_text(os.path.join(model_dir, "flags.txt"))
    assert f"--model_dir={model_dir}\n" in flagfile and "--save_every_steps=100\n" in flagfile
    assert len(find_source(config.train_data, "x").indexed()) == 16
    assert metrics.read_metrics(model_dir)[-1]["step"] == 4
    exported = tf.saved_model.load(os.path.join(directory, "export", "saved_model"))
    assert exported.serve(tf.zeros([1, 4, 32, 32, 3]))["features"].shape == (1, 512)
    card = files.read_text(os.path.join(directory, "export", "README.md"))
    assert f"| knn_5_top1 | {top1[1]['value']:.4g} |" in card
    labels = files.read_text(os.path.join(directory, "export", "labels.txt"))
    assert labels.split() == sorted(drawing.CLASSES)
    # Again: everything is there, and the answer is the same.
    train.COMMAND.call(*command)
    assert capsys.readouterr().out == output
