"""Command lines around the package: `python -m tools.NAME --help`."""

import cvrl_tf  # noqa: F401 - before TensorFlow, which it quietens
