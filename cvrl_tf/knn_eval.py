"""Nearest-neighbour evaluation of a pre-trained backbone; writes results.json, predictions.csv.

  python -m cvrl_tf.knn_eval --model_dir=runs/first \\
      --train_data='records/train-*' --test_data='records/test-*' --html=neighbors.html

A video's feature is the mean over its views of the normalised features. Its nearest training videos
vote for its class: knn_K_top1 for each K of --num_neighbors. recall_at_K is the fraction of test
videos that have their class among the K nearest training videos, for K = 1, and for 5, 10, 20 and
50 if there are at least 4 K training videos. predictions.csv has the share of the votes for each
class, with the first K of --num_neighbors. Metrics have 95 % intervals over the test videos. The
paper's views are --num_frames=32 --stride=2 --crop_size=256 --num_clips=10 --num_crops=3.
"""

import time

from cvrl_tf import files
from cvrl_tf.cli import backbone as backbone_flags
from cvrl_tf.cli import data as data_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import knn, neighbor_page, probes, report
from cvrl_tf.training.config import MAX_SEED
from cvrl_tf.training.strategy import local_strategy

FLAGS = {
    "Backbone": (
        *backbone_flags.FLAGS,
        Flag("seed", 0, "Seed of the random weights of --backbone.", lower=0, upper=MAX_SEED),
    ),
    "Data": data_flags.FLAGS,
    view_flags.HEADING: view_flags.FLAGS,
    "Classifier": (
        Flag(
            "num_neighbors",
            ",".join(map(str, knn.NUM_NEIGHBORS)),
            "Number of training videos that vote, or several numbers with commas; the picture and"
            " the page show the first.",
        ),
        Flag("logistic_regression", False, "Also fit a logistic regression on the same features."),
    ),
    "Output": (
        Flag(
            "output_dir",
            "",
            "Directory for results.json, predictions.csv and confusion.png. An earlier result of"
            " the same weights, data and views in it is replaced, another one is not. By default in"
            " the directory of the run, such as evaluations/knn_ckpt-500. Required when the"
            " backbone does not come from a run directory.",
        ),
        Flag(
            "html",
            "",
            "File for a page that plays test videos beside their nearest training videos, right and"
            " wrong ones marked; open it in a browser.",
        ),
    ),
}


def main(flags: Values) -> None:
    """Evaluates as the flags say."""
    start = time.monotonic()
    neighbors = _num_neighbors(flags.num_neighbors)
    data_flags.check_given(flags)
    if flags.html:
        files.check_writable(flags.html, f"--html={flags.html}")
    with local_strategy().scope():
        backbone, origin = backbone_flags.load(flags, seed=flags.seed)
    output = flags.output_dir
    if not output:
        if origin.model_dir is None:
            raise InputError(
                "--output_dir is missing. It is required because the backbone does not come from a"
                f" run directory: {origin.description}."
            )
        ids_files = flags.train_ids, flags.test_ids
        output = report.default_directory(origin.model_dir, knn.PROTOCOL, origin.name, ids_files)
    views = view_flags.of_run(flags, origin.config)
    task = data_flags.read_task(flags, views.clip)
    probes.check_number(len(task.train.videos), max(neighbors))
    checkpoint = report.Checkpoint.of(backbone, origin)
    task.subject(knn.PROTOCOL, views, checkpoint.fingerprint).check(output)
    report.make_directory(output)
    found = knn.evaluate(backbone, task, views, neighbors, flags.logistic_regression)
    result = knn.describe(found, checkpoint, task, views, time.monotonic() - start)
    written = report.write(output, result)
    if flags.html:
        page = neighbor_page.render(result, found, task)
        files.write_atomically(flags.html, page)
        written.append(flags.html)
    report.print_result(result, written)


def _num_neighbors(text: str) -> list[int]:
    values = [value.strip() for value in text.split(",")]
    if not all(value.isdecimal() and int(value) > 0 for value in values):
        raise InputError(
            f"--num_neighbors={text}: expected a number above 0, or several with commas between"
            " them, such as 1,5,20."
        )
    return list(dict.fromkeys(map(int, values)))


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
