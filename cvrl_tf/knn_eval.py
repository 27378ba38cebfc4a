"""Nearest-neighbour evaluation of a pre-trained backbone; writes results.json and confusion.png.

  python -m cvrl_tf.knn_eval --model_dir=runs/first \\
      --train_data='records/train-*' --test_data='records/test-*' --html=neighbors.html

A video's feature is the mean over its views of the normalised features. Its nearest training videos
vote for its class (knn_K_top1: K of them do), and are what is retrieved for it (recall_at_K: any of
the K nearest has its class). Figures have 95 % intervals over the test videos. The paper's views
are --num_frames=32 --stride=2 --crop_size=256 --num_clips=10 --num_crops=3.
"""

import time

from absl import flags

from cvrl_tf import files
from cvrl_tf.cli import application
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classification, knn, neighbor_page, probes, report

SEED = flags.DEFINE_integer("seed", 0, "Seed of the random weights of --backbone.", 0, 2**31 - 1)
NUM_NEIGHBORS = flags.DEFINE_string(
    "num_neighbors",
    ",".join(map(str, knn.NUM_NEIGHBORS)),
    "Training videos that vote, one or several numbers; the picture and the page are of the first.",
)
LOGISTIC_REGRESSION = flags.DEFINE_bool(
    "logistic_regression", False, "Also fit a logistic regression on the same features."
)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    "",
    "Directory for results.json and confusion.png; what an earlier evaluation wrote there is"
    " replaced. When empty, in the directory of the run: evaluations/knn_ckpt-500 for a checkpoint"
    " of that name. What is of no run needs it.",
)
HTML = flags.DEFINE_string(
    "html",
    "",
    "File for a page with test videos and their nearest training videos, animated, right and wrong"
    " ones marked; open it in a browser.",
)

GROUPS = {
    "Backbone": (*backbone_flags.HOLDERS, SEED),
    "Data": data_flags.GROUP,
    view_flags.HEADING: view_flags.GROUP,
    "Classifier": (NUM_NEIGHBORS, LOGISTIC_REGRESSION),
    "Output": (OUTPUT_DIR, HTML),
}


def _num_neighbors() -> list[int]:
    values = [value.strip() for value in NUM_NEIGHBORS.value.split(",")]
    if not all(value.isdecimal() and int(value) > 0 for value in values):
        raise InputError(
            f"--num_neighbors={NUM_NEIGHBORS.value}: expected a number above 0, or several with"
            " commas between them, such as 1,5,20."
        )
    return list(dict.fromkeys(map(int, values)))


def main() -> None:
    """Evaluates as the flags say."""
    start = time.monotonic()
    neighbors = _num_neighbors()
    data_flags.check_given()
    if HTML.value:
        files.check_writable(HTML.value, f"--html={HTML.value}")
    backbone, origin = backbone_flags.load(seed=SEED.value)
    if not OUTPUT_DIR.value and origin.model_dir is None:
        raise InputError(
            f"--output_dir is missing: {origin.description} is of no run in whose directory the"
            " result could go."
        )
    views = view_flags.of_run(origin.config)
    task = data_flags.read_task(views.clip)
    probes.check_number(len(task.train.videos), max(neighbors))
    output = OUTPUT_DIR.value or report.default_directory(
        origin.model_dir, "knn", origin.checkpoint
    )
    report.make_directory(output)
    found = knn.evaluate(backbone, task, views, neighbors, LOGISTIC_REGRESSION.value)
    checkpoint = report.Checkpoint.of(backbone, origin)
    result = knn.describe(found, checkpoint, task, views, time.monotonic() - start)
    figure = f"knn_{neighbors[0]}_top1"
    written = classification.write_result(output, result, task, found.predictions, figure)
    if HTML.value:
        page = neighbor_page.render(result, found, task)
        files.write_atomically(HTML.value, page)
        written.append(HTML.value)
    report.print_result(result, written)


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
