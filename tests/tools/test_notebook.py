import json
import re

from tools import notebook


def test_the_notebook_is_that_of_the_page():
    page = notebook.PAGE.read_text(encoding="utf-8")
    # After a change of the page: python -m tools.notebook
    assert notebook.NOTEBOOK.read_text(encoding="utf-8") == notebook.render(page)
    cells = json.loads(notebook.render(page))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    commands = re.findall(r"^!(.*(?:\\\n.*)*)$", "\n".join(code), re.M)
    assert commands == re.findall(r"^(python -m .*(?:\\\n.*)*)$", page, re.M)
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert [line for line in text.splitlines() if line and line not in page] == []


def test_blocks_of_a_page():
    page = (
        "# Title\n\n```sh\npython3 -m venv .venv\n```\nThen:\n```sh\n"
        "python -m a.b --c \\\n    --d\npython -m e.f\n```\n\nIn Python:\n```python\nx = 1\n```\n"
    )
    cells = json.loads(notebook.render(page))["cells"]
    assert [("".join(cell["source"]), cell["cell_type"]) for cell in cells] == [
        ("# Title\n\n```sh\npython3 -m venv .venv\n```\nThen:", "markdown"),
        (notebook.START.strip(), "code"),
        ("!python -m a.b --c \\\n    --d\n!python -m e.f", "code"),
        ("In Python:", "markdown"),
        ("x = 1", "code"),
    ]
    assert [cell["id"] for cell in cells] == [f"cell-{number}" for number in range(5)]
