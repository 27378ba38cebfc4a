import os
import subprocess
import sys

import numpy as np
import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.models import build_backbone
from cvrl_tf.models.saved_model import export_saved_model

STRANGER = """
import sys
import numpy as np, tensorflow as tf
backbone = tf.saved_model.load(sys.argv[1])
clips = np.load(sys.argv[2])
features = backbone.serve(clips)
by_signature = backbone.signatures["serve"](clips=tf.constant(clips))
by_signature, = by_signature.values()
np.testing.assert_array_equal(features, by_signature)
assert backbone.serve(clips[:1, :2, :32, :48]).shape == (1, 512)
assert not [name for name in sys.modules if name.startswith("cvrl_tf")]
np.save(sys.argv[3], features)
"""


def test_a_process_without_this_package_gets_the_same_features(tmp_path):
    backbone = build_backbone("r3d_small", seed=3)
    rng = np.random.default_rng(0)
    clips = rng.uniform(0, 1, (2, 4, 64, 64, 3)).astype("float32")
    backbone(clips, training=True)  # moving statistics that are not the initial ones
    export_saved_model(backbone, str(tmp_path / "export"))
    np.save(tmp_path / "clips.npy", clips)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    paths = [str(tmp_path / name) for name in ("export", "clips.npy", "features.npy")]
    subprocess.run(
        [sys.executable, "-c", STRANGER, *paths], check=True, cwd=tmp_path, env=environment
    )
    expected = backbone(clips, training=False)
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), expected, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clips.npy",
        "export",
        "features.npy",
    ]


def test_an_existing_directory_is_refused_and_kept(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match=r"--output_dir=.* exists: name a new directory"):
        export_saved_model(build_backbone("r3d_small"), str(tmp_path))
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export_saved_model(build_backbone("r3d_small"), str(tmp_path / "file" / "export"))
