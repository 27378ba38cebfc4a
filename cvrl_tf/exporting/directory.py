"""The directory of an exported backbone, and of its classifier if it has one.

saved_model/       TensorFlow's SavedModel (`saved_model.save`)
backbone.keras     the same in stock Keras layers
classifier.keras   from clips to probabilities of classes, in stock Keras layers
README.md          the model card
export.json        what it is and where it comes from
labels.txt         class names of the classifier, or of the training data, if it has them
"""

import os
import shutil

import keras
import tensorflow as tf

from cvrl_tf import files, progress
from cvrl_tf.conversion.summary import LABELS_FILE
from cvrl_tf.errors import InputError
from cvrl_tf.evaluation import class_names
from cvrl_tf.evaluation.classifier import Classifier
from cvrl_tf.exporting import card, description, saved_model, stock, verification
from cvrl_tf.training.origin import Origin


def check(output_dir: str) -> None:
    """Checks that an export can be written to `output_dir`.

    Says so on stderr when TensorFlow cannot load a SavedModel from there.

    Raises:
      InputError: it exists, or is not on this machine.
    """
    if files.is_remote(output_dir):
        raise InputError(
            f"--output_dir={output_dir} is remote: export to a local directory, which is verified"
            " there, and copy it."
        )
    if os.path.lexists(output_dir):
        raise InputError(
            f"--output_dir={output_dir} exists: name a new directory, or remove it first."
        )
    if files.looks_like_pattern(os.path.abspath(output_dir)):
        progress.note(
            f"note: --output_dir={output_dir} has characters of glob patterns in its path, from"
            " which TensorFlow loads no SavedModel: load backbone.keras, or move the directory."
        )


def write(
    backbone: keras.Model, origin: Origin, output_dir: str, classifier: Classifier | None = None
) -> float:
    """Exports a backbone: all of it, verified in a fresh process, or nothing.

    Args:
      backbone: of `build_backbone`, float32.
      origin: of its weights.
      output_dir: local directory to make.
      classifier: with the same backbone, to be exported too.

    Returns:
      The largest difference of an exported feature, or probability, from that of the live network,
      relative to the largest one.

    Raises:
      InputError: `output_dir` exists or cannot be written, what the run has written is damaged, or
        the verification fails.
    """
    output_dir = output_dir.rstrip("/")
    check(output_dir)
    about = description.describe(backbone, origin, classifier)
    figures = description.find_figures(origin)
    names = classifier.class_names if classifier else class_names.read(origin.train_data)
    crop_size = classifier.views.clip.size if classifier else origin.config.crop_size
    temporary = f"{output_dir}.tmp-{os.getpid()}"

    def path(name: str) -> str:
        return os.path.join(temporary, name)

    try:
        os.makedirs(temporary)
        files.write_json(path("export.json"), about)
        files.write_atomically(path("README.md"), card.render(about, figures, names is not None))
        stock_backbone = stock.copy(backbone)
        stock_backbone.save(path("backbone.keras"))
        assets = {"export_json": path("export.json")}
        if names is not None:
            assets["labels"] = path(LABELS_FILE)
            files.write_atomically(assets["labels"], "".join(f"{name}\n" for name in names))
        head = None
        if classifier:
            head = saved_model.Head(stock.head_of(classifier), classifier.class_names)
            stock.join(stock_backbone, head.network).save(path("classifier.keras"))
        saved_model.save(stock_backbone, path("saved_model"), crop_size, assets, head)
        probabilities = classifier.probabilities if classifier else None
        difference = verification.verify(temporary, backbone, crop_size, probabilities)
        os.rename(temporary, output_dir)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"--output_dir={output_dir} cannot be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return difference
