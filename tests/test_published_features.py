"""Every way to the published weights gives the golden features, with a local server alone.

The weights are those of the authors' reference checkpoint and the features their implementation's,
where `CVRL_TF_REFERENCE` names that folder; and made weights of a small network, with the features
of `official_network`, which has no layers of the package.
"""

import csv
import dataclasses
import io
import os
import pathlib
import socket

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from archive_server import authors_archive, serve
from official_network import before_the_pass, random_weights, stage_outputs, write_checkpoint
from small_records import write_shard

from cvrl_tf import (
    export,
    extract_features,
    finetune,
    import_checkpoint,
    knn_eval,
    linear_eval,
    predict,
    train,
)
from cvrl_tf.data import records
from cvrl_tf.evaluation import classifier, knn
from cvrl_tf.models import build_backbone, load_pretrained, official
from cvrl_tf.models.published import PUBLISHED, Published
from cvrl_tf.training import weights

pytestmark = pytest.mark.slow
REFERENCE = os.environ.get("CVRL_TF_REFERENCE", "")
NAME, FILE = "k400_800ep", "r3d_1x_k400_800ep.tar.gz"
TOLERANCE = 1e-5  # of the largest value
# Two clips have few activations in the last stages, and rounding errors of their statistics grow.
TRAINING_TOLERANCE = 1e-4
ENLARGED = 8  # a pixel of a clip is a block of the JPEG, which stores it without loss
CLIP = ["--num_frames=16", "--stride=1", "--crop_size=64"]
ONE_VIEW = [*CLIP, "--num_clips=1", "--num_crops=1"]


@dataclasses.dataclass(frozen=True)
class Golden:
    """Weights, and what the network computes with them.

    Attributes:
      backbone: name of the network.
      weights: {key: value} of the checkpoint.
      pixels: (2, 16, 64, 64, 3) uint8, two clips.
      features: (2, D) of the clips in inference mode.
      training: (2, D) in training mode.
    """

    backbone: str
    weights: dict
    pixels: np.ndarray
    features: np.ndarray
    training: np.ndarray

    @property
    def clips(self):
        return self.pixels.astype("float32") / 255

    @property
    def normalized(self):
        return self.features / np.linalg.norm(self.features, axis=1, keepdims=True)


def _made():
    keys = official.backbone_keys(build_backbone("r3d_small"))
    values = random_weights({key: tuple(variable.shape) for key, variable in keys.items()})
    pixels = np.random.default_rng(1).integers(0, 256, (2, 16, 64, 64, 3)).astype("uint8")
    clips = pixels.astype("float32") / 255
    features, training = (
        np.mean(stage_outputs(values, clips, mode)[-1], axis=(1, 2, 3)) for mode in (False, True)
    )
    return Golden("r3d_small", values, pixels, features, training)


def _authors():
    reader = tf.train.load_checkpoint(f"{REFERENCE}/official_backbone/r3d_1x_backbone-1")
    keys = official.backbone_keys(build_backbone("r3d_50"))
    values = {key: reader.get_tensor(key) for key in keys}
    with np.load(f"{REFERENCE}/official_forward.npz") as found:
        pixels, features, training = (found[x] for x in ("clip", "pooled", "pooled_training"))
    values = before_the_pass(values, pixels.astype("float32") / 255)
    return Golden("r3d_50", values, pixels, features, training)


@pytest.fixture(
    scope="module",
    params=[
        "made",
        pytest.param(
            "authors",
            marks=pytest.mark.skipif(not REFERENCE, reason="CVRL_TF_REFERENCE is not set"),
        ),
    ],
)
def golden(request):
    return {"made": _made, "authors": _authors}[request.param]()


@pytest.fixture(scope="module", autouse=True)
def server(golden, tmp_path_factory):
    """A mirror of the archive of the weights, an empty cache, and no other network."""
    directory = tmp_path_factory.mktemp("server")
    prefix = write_checkpoint(directory / "made", golden.weights)
    published = Published(FILE, "Kinetics-400", 800, {}, backbone=golden.backbone)
    connect = socket.socket.connect

    def connect_locally(self, address):
        assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", address
        return connect(self, address)

    with (
        pytest.MonkeyPatch.context() as patch,
        serve({f"/cvrl/{FILE}": authors_archive(prefix, "r3d_1x_k400_800ep")}) as archives,
    ):
        patch.setitem(PUBLISHED, NAME, published)
        patch.setenv("CVRL_TF_CACHE", str(directory / "cache"))
        patch.setenv("CVRL_TF_MIRROR", f"{archives.url}/cvrl")
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(socket.socket, "connect", connect_locally)
        yield archives
        assert len(archives.requests) == 1  # one download for everything


@pytest.fixture(scope="module")
def data(golden, tmp_path_factory):
    """The clips as records of two classes. Their frames are decoded and resized to exactly them."""
    videos = []
    for label, pixels in enumerate(golden.pixels):
        frames = []
        for frame in pixels.repeat(ENLARGED, axis=1).repeat(ENLARGED, axis=2):
            file = io.BytesIO()
            # Every 8x8 block has one colour. RGB is stored, since YCbCr would be rounded.
            PIL.Image.fromarray(frame).save(file, "JPEG", quality=100, subsampling=0, keep_rgb=True)
            frames.append(file.getvalue())
        video = records.Video(
            video_id=f"clip_{label}",
            frames=frames,
            timestamps=[40_000 * t for t in range(len(frames))],
            frame_rate=25.0,
            height=ENLARGED * pixels.shape[1],
            width=ENLARGED * pixels.shape[2],
            path=f"/videos/clip_{label}.mp4",
            label=label,
        )
        videos.append(video)
    return write_shard(tmp_path_factory.mktemp("records") / "all-00000-of-00001", videos)


@pytest.fixture(scope="module")
def imported(server, tmp_path_factory):  # again for each of the servers
    """The directory of an import."""
    output = str(tmp_path_factory.mktemp("imported") / "run")
    import_checkpoint.COMMAND.call(f"--official={NAME}", f"--output={output}")
    return output


def _assert_golden(found, expected, tolerance=TOLERANCE):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def _probabilities(path):
    """Of the two classes, from a predictions.csv."""
    with open(path, newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    return np.array(
        [[float(rows[f"clip_{n}"][f"label {label}"]) for label in (0, 1)] for n in (0, 1)]
    )


def _assert_trained_from(golden, directory):
    """A run of one step with a learning rate of 0 has the weights, apart from statistics."""
    backbone, step = weights.load_backbone(str(directory))
    assert step == 1
    for key, variable in official.backbone_keys(backbone).items():
        if "/moving_" not in key:
            np.testing.assert_array_equal(variable.numpy(), golden.weights[key])
    statistics = {
        key: (variable, variable.numpy())
        for key, variable in official.backbone_keys(backbone).items()
        if "/moving_" in key
    }
    _assert_golden(backbone(golden.clips, training=True), golden.training, TRAINING_TOLERANCE)
    for key, (variable, _) in statistics.items():
        variable.assign(golden.weights[key])
    _assert_golden(backbone(golden.clips, training=False), golden.features)
    return {key: value for key, (_, value) in statistics.items()}


def test_three_lines(golden):
    backbone = load_pretrained(NAME)
    _assert_golden(backbone(golden.clips), golden.features)
    _assert_golden(backbone(golden.clips, training=True), golden.training, TRAINING_TOLERANCE)


@pytest.mark.parametrize("way", ["official", "model_dir"])
def test_extract_features(golden, data, imported, tmp_path, way):
    output = tmp_path / "features.npz"
    value = {"official": NAME, "model_dir": imported}[way]
    extract_features.COMMAND.call(
        f"--{way}={value}", f"--data={data}", f"--output={output}", *ONE_VIEW
    )
    with np.load(output) as found:
        assert list(found["ids"]) == ["clip_0", "clip_1"]
        _assert_golden(found["features"][:, 0], golden.features)


def test_knn_eval(golden, data, tmp_path, monkeypatch):
    found = []
    evaluate = knn.evaluate
    monkeypatch.setattr(knn, "evaluate", lambda *args: found.append(evaluate(*args)) or found[0])
    knn_eval.COMMAND.call(
        *(f"--official={NAME}", f"--train_data={data}", f"--test_data={data}", "--allow_overlap"),
        *(f"--output_dir={tmp_path}", "--num_neighbors=2", *ONE_VIEW),
    )
    for features in found[0].train, found[0].test:
        _assert_golden(features.values, golden.normalized)
    # Each neighbour votes exp(cosine / 0.07).
    votes = np.exp(golden.normalized @ golden.normalized.T / 0.07)
    shares = votes / votes.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(_probabilities(tmp_path / "predictions.csv"), shares, atol=1e-4)


@pytest.mark.parametrize("mode", ["sgd", "fast", "fast_sgd"])
def test_linear_eval_and_predict(golden, data, tmp_path, mode):
    output = tmp_path / "linear"
    linear_eval.COMMAND.call(
        *(f"--official={NAME}", f"--train_data={data}", f"--test_data={data}", "--allow_overlap"),
        *(f"--output_dir={output}", f"--mode={mode}", "--epochs=1", "--warmup_epochs=0"),
        *("--batch_size=2", *ONE_VIEW),
    )
    kernel, bias = (x.numpy() for x in classifier.load(str(output)).head.weights)
    logits = golden.normalized @ kernel + bias
    expected = tf.nn.softmax(logits).numpy()
    # An error of the features by the tolerance, in all directions at once.
    error = TOLERANCE * np.abs(golden.normalized).max() * np.abs(kernel).sum(axis=0).max()
    predict.COMMAND.call(
        f"--model_dir={output}", f"--data={data}", f"--output={tmp_path / 'new.csv'}"
    )
    np.testing.assert_allclose(_probabilities(tmp_path / "new.csv"), expected, atol=error)
    # The fast modes keep features as float16.
    stored = 1 if mode == "sgd" else 2**-11 / TOLERANCE
    found = _probabilities(output / "predictions.csv")
    np.testing.assert_allclose(found, expected, atol=stored * error)


def test_finetune(golden, data, tmp_path):
    finetune.COMMAND.call(
        *(f"--official={NAME}", f"--train_data={data}", f"--test_data={data}", "--allow_overlap"),
        *(f"--output_dir={tmp_path}", "--batch_size=2", "--epochs=1", "--warmup_epochs=0"),
        *("--learning_rate=0", "--crop_area=1,1", "--flip_probability=0", *ONE_VIEW),
    )
    statistics = _assert_trained_from(golden, tmp_path)
    # Its only step was on both clips: statistics moved from those of the weights towards theirs.
    moments = {}
    stage_outputs(golden.weights, golden.clips, training=True, moments=moments)
    assert statistics.keys() == moments.keys()
    for key, found in statistics.items():
        moved = 0.9 * golden.weights[key] + 0.1 * moments[key][0]
        _assert_golden(found, moved, TRAINING_TOLERANCE)


def test_train_from_an_import(golden, data, imported, tmp_path):
    train.COMMAND.call(
        *(f"--init_checkpoint={imported}", f"--train_data={data}", f"--model_dir={tmp_path}"),
        *(f"--backbone={golden.backbone}", "--batch_size=2", "--steps=1", "--warmup_epochs=0"),
        *("--learning_rate=0", "--augmentation=none", "--interval=zero", *CLIP),
    )
    _assert_trained_from(golden, tmp_path)


def test_export(golden, tmp_path):
    output = tmp_path / "export"
    export.COMMAND.call(f"--official={NAME}", f"--output_dir={output}")
    backbone = keras.models.load_model(output / "backbone.keras")
    _assert_golden(backbone(golden.clips), golden.features)
    saved = tf.saved_model.load(str(output / "saved_model"))
    _assert_golden(saved.serve(golden.clips)["features"], golden.features)
    card = pathlib.Path(output / "README.md").read_text()
    assert "weights are the work of the authors" in card
