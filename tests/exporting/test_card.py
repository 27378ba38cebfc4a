import dataclasses
import os
import re
import subprocess
import sys

import pytest

from cvrl_tf.exporting import card, description
from cvrl_tf.training.config import SupervisedConfig
from cvrl_tf.training.origin import Origin

RUN_ALL = """
import os, sys
sys.modules["cvrl_tf"] = None
for block in sys.argv[1:]:
    exec(compile(block, block, "exec"), {})
"""


def test_the_code_of_the_card_runs_as_it_stands(export, tmp_path):
    """Runs the Python and shell blocks separately, without this package."""
    text = (export / "README.md").read_text()
    python = re.findall(r"```python\n(.*?)```", text, re.S)
    shell = re.findall(r"```sh\n(.*?)```", text, re.S)
    assert len(python) == 3 and len(shell) == 1
    for name in export.iterdir():
        (tmp_path / name.name).symlink_to(name)
    scripts = os.path.dirname(sys.executable)
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    for command in ([sys.executable, "-P", "-c", RUN_ALL, *python], ["sh", "-e", "-c", *shell]):
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
    assert {"fine_tuned.keras", "fine_tuned.weights.h5"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_the_card_says_what_it_is_and_which_figures_were_found(export, origin):
    text = (export / "README.md").read_text()
    for line in [
        "# r3d_small, pre-trained with CVRL",
        "- Checkpoint `ckpt-6`, 6 training steps.",
        f"- Training data: `{origin.config.train_data}`.",
        "- It was trained on clips of 4 frames, 3 apart in the video, of 32x32 pixels. Other",
        "| stride | 3 |",
        "| top1 | 0.75 |",
        "| loss | 0.5 |",
        "| `labels.txt` | the class names of the training data; also in `saved_model/assets/` |",
    ]:
        assert f"\n{line}\n" in f"\n{text}"


def test_the_card_of_weights_without_a_run_claims_nothing_of_one(backbone, origin):
    config = dataclasses.replace(origin.config, train_data="", init_checkpoint="theirs/ckpt-9")
    about = description.describe(backbone, dataclasses.replace(origin, config=config))
    text = card.render(about, figures={}, labelled=False)
    assert "- Weights of the authors' released implementation, from `theirs/ckpt-9`; clip" in text
    for absent in ("## Figures", "Training data", "| setting |", "labels.txt", "{{", "{%"):
        assert absent not in text


@pytest.mark.parametrize("imported", [False, True])
def test_the_card_of_published_weights_names_their_authors(backbone, origin, imported):
    config = dataclasses.replace(origin.config, train_data="", init_checkpoint="k600_800ep")
    if imported:
        given = dataclasses.replace(origin, config=config, step=0, checkpoint="runs/x/ckpt-0")
    else:
        given = Origin(config, "k600_800ep", 0, kind="official")
    about = description.describe(backbone, given)
    text = card.render(about, figures={}, labelled=False)
    name = "ckpt-0" if imported else "k600_800ep"
    for line in [
        f"- Checkpoint `{name}`.",
        "- The weights are the work of the authors of CVRL, not of this project: their checkpoint\n"
        "  `k600_800ep` (Kinetics-600, 800 epochs), published at\n"
        "  https://storage.googleapis.com/tf_model_garden/vision/cvrl/r3d_1x_k600_800ep.tar.gz.",
        "  belongs, is under the Apache License 2.0. Its page names no other licence for the"
        " weights.",
        "- Clip length, stride and size are those of its recipe.",
        "## Figures\n\nStated by the authors, not measured again: top-1 accuracy of a linear"
        " classifier on frozen features.\n\n"
        "| data set | % |\n|---|---|\n| Kinetics-400 | 68.5 |\n| Kinetics-600 | 70.4 |\n\n"
        "## Use it",
    ]:
        assert f"\n{line}\n" in text
    for absent in ("From the directory", "Training data", "training steps", "{{", "{%"):
        assert absent not in text


@pytest.mark.parametrize(("frozen", "which"), [(True, "network's"), (False, "initial")])
def test_the_card_of_what_was_trained_on_published_weights(backbone, origin, frozen, which):
    config = SupervisedConfig(
        "records/train-*",
        num_classes=5,
        frozen=frozen,
        init="official",
        init_checkpoint="k400_800ep",
    )
    about = description.describe(backbone, dataclasses.replace(origin, config=config))
    text = card.render(about, figures={}, labelled=False)
    assert f"\n- The {which} weights are the work of the authors of CVRL, not of this" in text
    assert "  `k400_800ep` (Kinetics-400, 800 epochs), published at\n" in text
    assert "Stated by the authors" not in text and "its recipe" not in text
    # A run that starts from a directory of that name is not one of the authors' weights.
    config = dataclasses.replace(config, init="run")
    about = description.describe(backbone, dataclasses.replace(origin, config=config))
    assert about["provenance"]["published"] is None


def test_the_card_of_the_published_inflated_weights_says_so(backbone, origin):
    config = dataclasses.replace(origin.config, train_data="", init_checkpoint="imagenet_inflated")
    given = Origin(config, "imagenet_inflated", 0, kind="official")
    text = card.render(description.describe(backbone, given), figures={}, labelled=False)
    assert text.startswith("# r3d_small, inflated\n\nA 3D-ResNet for video, inflated from an image")
    assert "(ImageNet, inflated from a 2-D ResNet-50), published at\n" in text
    assert "- It is meant for clips of 4 frames" in text and "| Kinetics-600 | 54.7 |" in text


def test_the_card_of_a_fine_tuned_backbone_says_so(backbone, origin):
    config = SupervisedConfig("records/train-*", num_classes=101, frozen=False, init="run")
    about = description.describe(backbone, dataclasses.replace(origin, config=config))
    text = card.render(about, figures={}, labelled=False)
    assert "trained by cvrl_tf.finetune to classify 101 classes" in text
    assert "| init | run |" in text and "pre-trained" not in text
    assert "| crop_area | 0.3,1.0 |" in text and "geometry" not in text


def test_the_card_of_an_inflated_network_says_so(backbone, origin):
    inflated = dataclasses.replace(
        origin, kind="inflated", checkpoint="x/r50.keras", step=0, model_dir=None
    )
    about = description.describe(backbone, inflated)
    assert (about["provenance"]["kind"], about["provenance"]["flags"]) == ("inflated", None)
    text = card.render(about, description.find_figures(inflated), labelled=False)
    assert text.startswith(
        "# r3d_small, inflated\n\nA 3D-ResNet for video, inflated from an image network"
    )
    assert "2021, arXiv 2008.03800), with 602,544 parameters. It turns clips into" in text
    assert "- Inflated from an image network, `x/r50.keras`: its kernels" in text
    assert "- It is meant for clips of 4 frames, 3 apart" in text
    for absent in ("pre-trained", "## Figures", "Training data", "{{", "{%"):
        assert absent not in text
