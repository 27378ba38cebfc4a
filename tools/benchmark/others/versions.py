"""Versions of those packages that are installed in this environment.

Settings: `packages`, names of distributions.
"""

import importlib.metadata
import platform

import measure

found = {"python": platform.python_version()}
for name in measure.settings()["packages"]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        continue
measure.print_figures(found)
