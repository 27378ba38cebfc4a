"""Files, headings, tests, commands and flags that the documents name exist."""

import importlib
import re
import shlex

import pytest
from commands import ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / "tests" / name / "README.md" for name in ("golden", "stored")),
]
FLAGFILES = sorted((ROOT / "flags").iterdir())


def _name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_to_files_and_headings(document):
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def _anchors(document):
    """The anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_tests_of_the_fidelity_table_exist():
    named, missing, path = 0, [], ROOT
    for row in (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8").splitlines():
        cell = row.rstrip(" |").rpartition("|")[2] if row.startswith("|") else ""
        for file, function in re.findall(r"`([\w/]+\.py)?(?:::(\w+))?`", cell):
            path = ROOT / "tests" / file if file else path
            named += 1
            if not path.is_file() or f"def {function}" not in path.read_text(encoding="utf-8"):
                missing.append(f"{file}::{function}")
    assert missing == [] and named > 30


@pytest.mark.parametrize("document", [*DOCUMENTS, *FLAGFILES], ids=_name)
def test_commands_of_the_documents_have_flags_that_exist(document, monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles are named from there
    text = document.read_text(encoding="utf-8")
    if document in FLAGFILES:
        lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    else:
        lines = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)).replace("\\\n", " ")
        lines = lines.splitlines()
    for line in lines:
        found = re.search(r"python -m ((?:cvrl_tf|tools)\.\w+)(.*)", line)
        if found:
            _parse(found[1], found[2])


def _parse(module, rest):
    """Parses the arguments of a documented command as the command itself does."""
    words = shlex.split(rest, comments=True)
    if module == "tools.benchmark":
        module += "." + words.pop(0)
    elif module == "tools.pressure":
        module += ".__main__"
    command = importlib.import_module(module).COMMAND
    names = {flag.name for group in command.groups.values() for flag in group} | {"flagfile"}
    # Values of variables of the shell are not known; a flagfile of the reader does not exist.
    unknown = [word for word in words if "$" in word or word == "--flagfile=run.flags"]
    words = [word for word in words if word not in ("--help", "--version")]  # of all commands
    assert {word[2:].partition("=")[0] for word in unknown if word.startswith("--")} <= names
    arguments = [word for word in words if word not in unknown]
    if command.argument and all(word.startswith("--") for word in arguments):
        arguments.append("one")
    command.parse(*arguments)
