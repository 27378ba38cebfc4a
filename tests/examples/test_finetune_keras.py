import json
import pathlib
import re
import subprocess
import sys

from cvrl_tf.demo import drawing
from cvrl_tf.exporting import directory
from cvrl_tf.models import build_backbone
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.origin import Origin

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
RUN = """
import runpy, sys
sys.modules["cvrl_tf"] = None
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def test_the_example_fine_tunes_an_export_without_this_package(tmp_path):
    drawing.render_videos(str(tmp_path / "train"), videos_per_class=2, first_seed=0)
    drawing.render_videos(str(tmp_path / "test"), videos_per_class=1, first_seed=9)
    config = PretrainConfig(train_data="", backbone="r3d_small", num_frames=4, crop_size=32)
    origin = Origin(config, "ckpt-0", 0)
    directory.write(build_backbone("r3d_small"), origin, str(tmp_path / "export"))
    script = EXAMPLES / "finetune_keras.py"
    result = subprocess.run(
        [sys.executable, "-P", "-c", RUN, str(script), "export", "train", "test", "--epochs=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"top-1 \d\.\d{3} of 8 test videos", result.stdout.splitlines()[-1])
    assert (tmp_path / "fine_tuned.keras").exists()


def test_the_example_is_short_and_the_notebook_has_the_same_code():
    script = (EXAMPLES / "finetune_keras.py").read_text()
    assert len(script.splitlines()) < 80 and "import cvrl_tf" not in script
    notebook = json.loads((EXAMPLES / "finetune_keras.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = "\n".join(cells[1:])  # the first has what are flags of the script
    after_flags = script[script.index("keras.utils.set_random_seed") :]
    assert _lines(code) == _lines(after_flags)


def _lines(text):
    return [line for line in text.splitlines() if line]
