"""Versions of packages in this environment, those that are there.

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
measure.tell(found)
