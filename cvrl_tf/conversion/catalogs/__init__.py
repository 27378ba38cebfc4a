"""Which video files a data set has, and their labels: a `Catalog` from what users download."""

from cvrl_tf.conversion.catalogs.catalog import (
    VIDEO_EXTENSIONS,
    Catalog,
    Entry,
    read_label_map,
)
from cvrl_tf.conversion.catalogs.directories import files, folder, label_by_folder
from cvrl_tf.conversion.catalogs.id_lists import split_by_lists
from cvrl_tf.conversion.catalogs.kinetics_csv import find_annotations, kinetics
from cvrl_tf.conversion.catalogs.split_lists import hmdb51, ucf101

__all__ = [
    "VIDEO_EXTENSIONS",
    "Catalog",
    "Entry",
    "files",
    "find_annotations",
    "folder",
    "hmdb51",
    "kinetics",
    "label_by_folder",
    "read_label_map",
    "split_by_lists",
    "ucf101",
]
