"""The backbone as a SavedModel, for processes without this package."""

import os
import shutil

import keras
import tensorflow as tf

from cvrl_tf.errors import InputError


def export_saved_model(backbone: keras.Model, output_dir: str) -> None:
    """Writes `backbone` as a SavedModel with the endpoint and signature `serve`, atomically.

    Args:
      backbone: from clips (N, T, H, W, 3) float32 in [0, 1] to features (N, D) float32. `serve`
        runs it in inference mode, for any N, T, H and W.
      output_dir: directory to make.

    Raises:
      InputError: `output_dir` exists, or cannot be written.
    """
    if tf.io.gfile.exists(output_dir):
        raise InputError(
            f"--output_dir={output_dir} exists: name a new directory, or remove it first."
        )
    temporary = f"{output_dir.rstrip('/')}.tmp-{os.getpid()}"
    archive = keras.export.ExportArchive()
    archive.track(backbone)
    archive.add_endpoint(
        "serve",
        lambda clips: backbone(clips, training=False),
        input_signature=[tf.TensorSpec([None, None, None, None, 3], tf.float32, name="clips")],
    )
    try:
        archive.write_out(temporary, verbose=False)
        tf.io.gfile.rename(temporary, output_dir)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"--output_dir={output_dir} cannot be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
