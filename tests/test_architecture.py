"""Imports between the subpackages of the package follow the picture in docs/architecture.md."""

import ast
import configparser
import graphlib
import pathlib
import re

import pytest

CHECKOUT = pathlib.Path(__file__).parents[1]
PACKAGE = CHECKOUT / "cvrl_tf"
MAX_PARAMETERS, MAX_LINES = 6, 60  # of a function, without its docstring
ENTRY, GROUND = "entry", "ground"  # nodes of the picture for modules outside of subpackages


def imports_of(package: pathlib.Path) -> dict[str, set[str]]:
    """The modules that each module of a package imports, also from other packages.

    An import inside a function counts like any other. `from package.subpackage import module` is an
    arrow to that module; so is `from package.module import name`.
    """
    modules = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path

    def imported_module(name: str) -> str:
        own = name
        while own and own not in modules:
            own = own.rpartition(".")[0]
        return own or name

    arrows = {}
    for module, path in modules.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, (
                    f"{module} has a relative import, which is not followed here"
                )
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
        arrows[module] = {imported_module(name) for name in names} - {module}
    return arrows


def console_modules() -> set[str]:
    """Modules that setup.cfg makes commands of."""
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"].split("\n")
    return {re.split("[=:]", script)[1].strip() for script in scripts if script}


def node_of(module: str, entry_points: set[str]) -> str:
    """The node of the picture that a module belongs to: its folder, ENTRY or GROUND."""
    name = module.removeprefix("cvrl_tf").strip(".").split(".")[0]
    if name and (PACKAGE / name).is_dir():
        return name
    return ENTRY if module in entry_points else GROUND


def picture() -> dict[str, set[str]]:
    """The arrows of the Mermaid block of docs/architecture.md, from each node to its targets."""
    text = (CHECKOUT / "docs/architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```mermaid\n(.*?)```", text, re.S)
    arrows: dict[str, set[str]] = {}
    for sources, targets in re.findall(r"^ *([\w &]+?) *--> *([\w &]+?) *$", block, re.M):
        for source in sources.split(" & "):
            arrows.setdefault(source, set()).update(targets.split(" & "))
    return arrows


def below(arrows: dict[str, set[str]], node: str) -> set[str]:
    """All nodes that can be reached from `node` along arrows."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        new = arrows.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def upward_arrows(
    imports: dict[str, set[str]], allowed: dict[str, set[str]], entry_points: set[str]
) -> set[tuple[str, str]]:
    """Imports between subpackages that no path of the picture allows."""
    found = set()
    for module, targets in imports.items():
        node = node_of(module, entry_points)
        for target in targets & imports.keys():
            target_node = node_of(target, entry_points)
            if target_node != node and target_node not in below(allowed, node):
                found.add((module, target))
            if node == target_node == ENTRY:  # entry points share code in cli, not with each other
                found.add((module, target))
    return found


def test_the_picture_has_no_circle_and_names_every_subpackage():
    arrows = picture()
    list(graphlib.TopologicalSorter(arrows).static_order())
    subpackages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert {ENTRY, *below(arrows, ENTRY)} == subpackages | {ENTRY, GROUND}
    assert "models" not in below(arrows, "data") and "data" not in below(arrows, "models")


def test_every_import_follows_the_picture():
    found = upward_arrows(imports_of(PACKAGE), picture(), console_modules())
    assert found == set()


def test_modules_do_not_import_each_other_in_a_circle():
    imports = imports_of(PACKAGE)
    own = {module: targets & imports.keys() for module, targets in imports.items()}
    list(graphlib.TopologicalSorter(own).static_order())  # names the circle if there is one


def test_only_entry_points_and_cli_know_flags():
    entry_points = console_modules()
    users = {
        module
        for module, targets in imports_of(PACKAGE).items()
        if any(target.startswith("absl.flags") for target in targets)
        and node_of(module, entry_points) not in {ENTRY, "cli"}
    }
    assert users == set()


def test_the_package_imports_neither_tools_nor_tests():
    outside = {"tools", "tests"}
    assert [
        (module, target)
        for module, targets in imports_of(PACKAGE).items()
        for target in targets
        if target.split(".")[0] in outside
    ] == []


@pytest.mark.parametrize(
    ("file", "line", "arrow"),
    [
        ("data/clips.py", "from cvrl_tf.models.heads import Head", ("data.clips", "models.heads")),
        ("errors.py", "def f():\n    import cvrl_tf.data.clips", ("errors", "data.clips")),
        ("models/heads.py", "from cvrl_tf import train", ("models.heads", "train")),
        ("train.py", "from cvrl_tf import export", ("train", "export")),
    ],
)
def test_an_arrow_that_the_picture_lacks_is_found(tmp_path, file, line, arrow):
    package = tmp_path / "cvrl_tf"
    for name in ("data/clips.py", "models/heads.py", "errors.py", "train.py", "export.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("from cvrl_tf import errors\n" if name != "errors.py" else "")
    entry_points = {"cvrl_tf.train", "cvrl_tf.export"}
    assert upward_arrows(imports_of(package), picture(), entry_points) == set()
    (package / file).write_text(line + "\n")
    found = upward_arrows(imports_of(package), picture(), entry_points)
    assert found == {tuple(f"cvrl_tf.{name}" for name in arrow)}


def test_functions_are_short_and_have_few_parameters():
    modules = [path for folder in (PACKAGE, CHECKOUT / "tools") for path in folder.rglob("*.py")]
    large = []
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
                parameters = len(set(names) - {"self", "cls"})
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                if parameters > MAX_PARAMETERS or lines > MAX_LINES:
                    large.append((path.name, node.name, parameters, lines))
    assert large == []
