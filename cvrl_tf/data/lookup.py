"""From what the user names to a source of videos."""

from cvrl_tf.data import records
from cvrl_tf.data.source import Source


def find_source(name: str, flag: str) -> Source:
    """The files that match glob patterns, or a split of a TensorFlow Datasets data set.

    Args:
      name: glob pattern(s), separated by commas, or `tfds:NAME:SPLIT` (`tfds_source`).
      flag: name of the flag that holds it, for the message.

    Raises:
      InputError: nothing matches, or see `tfds_source.find_source`.
    """
    if name.startswith("tfds:"):
        from cvrl_tf.data import tfds_source  # imports tensorflow_datasets

        return tfds_source.find_source(name, flag)
    return Source(name, records.find_shards(name, flag))
