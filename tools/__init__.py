"""Command lines around the package: `python -m tools.NAME --help`."""
