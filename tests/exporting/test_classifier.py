"""The export of a fine-tuned network and of a linear classifier, as the command writes it."""

import csv
import json
import re

import keras
import numpy as np
import pytest
import small_classifier
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf import export, predict
from cvrl_tf.evaluation.views import EvaluationViews, sample_view_pixels

NAMES = small_classifier.CLASS_NAMES


@pytest.fixture(scope="module", params=["finetune", "linear"])
def exported(request, tmp_path_factory):
    """The directory of a run, and that of its export."""
    directory = tmp_path_factory.mktemp(request.param)
    run = small_classifier.write_classifier(directory / "run", frozen=request.param == "linear")
    export.COMMAND.call(f"--model_dir={run}", f"--output_dir={directory}/export")
    return run, directory / "export"


def test_it_has_the_probabilities_that_predict_writes(exported, tmp_path):
    run, directory = exported
    shard = write_shard(tmp_path / "shard", [make_video(n) for n in range(3)])
    output = tmp_path / "p.csv"
    predict.COMMAND.call(
        f"--model_dir={run}", f"--data={shard}", f"--output={output}", "--num_clips=1"
    )
    with open(output, newline="") as file:
        rows = list(csv.reader(file))[1:]
    expected = np.array([list(map(float, row[2:])) for row in rows])
    assert expected.std(axis=0).max() > 1e-4  # the videos differ
    views = EvaluationViews(small_classifier.VIEWS.clip, 1)
    frames = [tf.constant(list(make_video(n).frames)) for n in range(3)]
    pixels = np.concatenate([sample_view_pixels(jpegs, views) for jpegs in frames])
    clips = pixels.astype("float32") / 255
    classifier = keras.models.load_model(directory / "classifier.keras", safe_mode=True)
    np.testing.assert_allclose(classifier.predict(clips, verbose=0), expected, atol=1e-5)
    served = tf.saved_model.load(str(directory / "saved_model"))
    for found in served.serve(clips), served.serving_default(pixels):
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
        assert [name.decode() for name in found["predicted"].numpy()] == [row[1] for row in rows]
        assert found["features"].shape == (3, 512)
    assert [name.decode() for name in served.class_names().numpy()] == NAMES
    empty = served.serve(clips[:0])
    assert empty["probabilities"].shape == (0, 3) and empty["predicted"].shape == (0,)
    # To fine-tune the backbone further, all of it is as without a classifier.
    assert len(served.variables) == 85 and len(served.trainable_variables) == 51


def test_its_layers_are_stock_and_it_names_its_classes(exported):
    _, directory = exported
    classifier = keras.models.load_model(directory / "classifier.keras", safe_mode=True)
    assert {type(layer).__module__.split(".")[0] for layer in classifier.layers} == {"keras"}
    assert (directory / "labels.txt").read_text().splitlines() == NAMES
    about = json.loads((directory / "export.json").read_text())
    assert about["classifier"]["class_names"] == NAMES
    assert about["classifier"]["views"] == small_classifier.VIEWS.as_json()


def test_the_card_shows_how_to_classify(exported, monkeypatch, capsys):
    run, directory = exported
    text = (directory / "README.md").read_text()
    frozen = json.loads((directory / "export.json").read_text())["provenance"]["flags"]["frozen"]
    title = "with a linear classifier" if frozen else "trained on labelled videos"
    assert text.startswith(f"# r3d_small{', ' if not frozen else ' '}{title}\n")
    assert "without its classifier" not in text and "pre-trained" not in text
    assert "| `classifier.keras` | the network and its classifier, from clips to prob" in text
    assert "`results.json`" in text and "| top1 | 0.75 |" in text
    assert "were the mean over\n2 clips x 1 crops, of 4 frames at stride 2 " in text
    (block,) = re.findall(r"### Classify\n\n```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(directory)
    exec(compile(block, "block", "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(r"^\['(dive|surf|id)', '(dive|surf|id)'\]$", printed, re.M)
    assert "[b'dive' b'surf' b'id']" in printed
