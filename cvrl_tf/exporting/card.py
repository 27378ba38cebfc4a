"""The model card beside an export: what it is, how it was made, how to use it."""

import os
from collections.abc import Mapping
from typing import Any

import jinja2

import cvrl_tf


def render(
    description: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]], labelled: bool
) -> str:
    """The text of README.md.

    Its Python and shell code runs in the directory of the export.

    Args:
      description: of `description.describe`.
      figures: of `description.find_figures`.
      labelled: whether the export has the class names of the training data.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cvrl_tf.exporting", ""),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = lambda x: f"{x:.4g}" if isinstance(x, float) else str(x)
    checkpoint = description["provenance"]["checkpoint"]
    return environment.get_template("card.md.jinja").render(
        **description,
        figures=figures,
        labelled=labelled,
        checkpoint_name=os.path.basename(checkpoint),
        version=cvrl_tf.__version__,
    )
