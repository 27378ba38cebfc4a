"""A small data set prepared by TensorFlow Datasets."""

import numpy as np
import tensorflow_datasets as tfds

NUM_VIDEOS = {"train": 8, "test": 4}


def frames(split: str, index: int) -> np.ndarray:
    """Video `index` of a split: (10 + index, 40, 48, 3) uint8, a coarse pattern that moves."""
    rng = np.random.default_rng([index, len(split)])
    pattern = np.kron(rng.integers(0, 255, (20 + index, 6, 3)), np.ones((8, 8, 1)))
    return np.stack([pattern[4 * t : 4 * t + 40] for t in range(10 + index)]).astype(np.uint8)


def prepare(data_dir, name: str, encoding_format: str = "jpeg", features: dict | None = None):
    """Prepares the data set `name` of version 1.0.0 in `data_dir`, in two files for training.

    Args:
      data_dir: where TFDS prepares it.
      name: of the data set.
      encoding_format: of the frames.
      features: instead of the video, label and file name.
    """

    dataset_name = name

    class SmallDataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = dataset_name
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            video = tfds.features.Video((None, 40, 48, 3), encoding_format=encoding_format)
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    features
                    or {
                        "filename": tfds.features.Text(),
                        "label": tfds.features.ClassLabel(names=["dive", "swim"]),
                        "video": video,
                    }
                ),
            )

        def _split_generators(self, _):
            return {split: self._generate_examples(split) for split in NUM_VIDEOS}

        def _generate_examples(self, split):
            for index in range(NUM_VIDEOS[split]):
                example = {
                    "filename": f"{split} {index}.avi",
                    "label": index % 2,
                    "video": frames(split, index),
                    "number": index,
                }
                yield index, {key: example[key] for key in self.info.features}

    SmallDataset(data_dir=data_dir).download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=2)
    )
