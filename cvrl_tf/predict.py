"""Predicts the classes of new videos with a trained classifier; writes a table.

  python -m cvrl_tf.predict --model_dir=runs/finetuned \\
      --files='videos/**/*.mp4' --output=predictions.csv --html=predictions.html

--model_dir is a run of cvrl_tf.finetune, or the directory of a result of cvrl_tf.linear_eval, such
as runs/first/evaluations/linear_fast_ckpt-500. A row of the table is a video: its id, the predicted
class, and the probability of each class, the mean over the views that the run was tested with. The
same command resumes after any stop; unfinished predictions are kept in OUTPUT.partial. A video that
cannot be decoded is skipped and listed in OUTPUT.failures.csv.
"""

import numpy as np

from cvrl_tf import files
from cvrl_tf.cli import videos as video_flags
from cvrl_tf.cli import views as view_flags
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import classifier as classifiers
from cvrl_tf.evaluation import extraction, prediction_page
from cvrl_tf.evaluation.feature_store import StoredFeatures
from cvrl_tf.evaluation.predictions import Predictions
from cvrl_tf.training.strategy import local_strategy

FLAGS = {
    "Classifier": (
        Flag(
            "model_dir",
            "",
            "Required. Directory of a run of cvrl_tf.finetune, or of a result of"
            " cvrl_tf.linear_eval. Its newest checkpoint is used, or the best one that a"
            " fine-tuning with validation videos has kept. Or one checkpoint in it:"
            " DIR/checkpoints/ckpt-500.",
        ),
    ),
    "Videos": video_flags.FLAGS,
    video_flags.DECODING_HEADING: video_flags.DECODING,
    "Views (by default those of the test of the run)": view_flags.OF_CLASSIFIER,
    "Output": (
        Flag("output", "", "Required. Table to make, with a name that ends in .csv."),
        Flag(
            "html",
            "",
            "File for a page that plays videos with their predictions; open it in a browser. Shows"
            f" up to {prediction_page.SHOWN} videos, which are read a second time for it.",
        ),
    ),
}


def main(flags: Values) -> None:
    """Predicts as the flags say."""
    for name in ("model_dir", "output"):
        if not flags[name].value:
            raise InputError(f"--{name} is missing; --help shows an example.")
    video_flags.check_given(flags)
    extraction.check_output(flags.output, [".csv"])
    if flags.html:
        files.check_writable(flags.html, f"--html={flags.html}")
    with local_strategy().scope():
        classifier = classifiers.load(flags.model_dir)
    views = view_flags.of_classifier(flags, classifier.views)
    videos = video_flags.find(flags, views.clip)
    predicted: list[Predictions] = []

    def write(path: str, stored: StoredFeatures) -> None:
        probabilities = np.mean(stored.values, axis=1)
        predictions = Predictions(stored.ids, probabilities, classifier.class_names)
        files.write_atomically(path, predictions.as_csv())
        if flags.html:
            page = prediction_page.render(classifier, predictions, videos, views)
            files.write_atomically(flags.html, page)
        predicted.append(predictions)

    stored = extraction.extract(classifier.network(views), videos, flags.output, write)
    print(f"classifier: {classifier.title} ({classifier.origin.checkpoint})")
    print(f"views: {views}")
    print(f"predicted: {predicted[0].summary()}")
    print(f"written: {', '.join(filter(None, (flags.output, flags.html)))}")
    video_flags.print_failures(stored.failures, flags.output)


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
