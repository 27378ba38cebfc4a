"""requirements.txt and setup.cfg agree."""

import configparser
import re

import pytest
from commands import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cvrl_tf import environment


def _setup():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def _parse(lines):
    texts = (re.sub(r"#.*", "", line).strip() for line in lines.splitlines())
    return [Requirement(text) for text in texts if text]


def _pinned(python):
    found = _parse((ROOT / "requirements.txt").read_text())
    kept = [line for line in found if line.marker.evaluate({"python_version": python})]
    assert len({line.name for line in kept}) == len(kept)
    return {line.name: str(line.specifier).removeprefix("==") for line in kept}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned_within_its_range(python):
    setup = _setup()
    declared = _parse(setup["options"]["install_requires"])
    if python != "3.13":  # tensorflow-io has no wheels
        declared += _parse(setup["options.extras_require"]["remote"])
    pinned = _pinned(python)
    assert pinned.keys() == {requirement.name for requirement in declared}
    for requirement in declared:
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_sets_of_versions():
    reference = _pinned("3.11")
    assert (reference["tensorflow"], reference["numpy"]) == ("2.17.1", "1.26.4")
    assert _pinned("3.12") == reference
    newest = _pinned("3.13")
    assert (newest["tensorflow"], newest["av"]) == ("2.21.0", "19.0.2")
    for python in ("3.10", "3.14"):
        assert _pinned(python) == {}


def test_versions_are_those_that_the_package_checks():
    setup = _setup()
    pythons = SpecifierSet(setup["options"]["python_requires"])
    oldest, newest = environment.OLDEST_PYTHON, environment.NEWEST_PYTHON
    assert [minor for minor in range(8, 20) if pythons.contains(f"3.{minor}.1")] == list(
        range(oldest[1], newest[1] + 1)
    )
    (tensorflow,) = [
        requirement.specifier
        for requirement in _parse(setup["options"]["install_requires"])
        if requirement.name == "tensorflow"
    ]
    oldest, newest = environment.OLDEST_TENSORFLOW, environment.NEWEST_TENSORFLOW
    assert [minor for minor in range(10, 30) if tensorflow.contains(f"2.{minor}.1")] == list(
        range(oldest[1], newest[1] + 1)
    )
