"""Structure: imports go one way, every equation has its function, importing is cheap."""

import ast
import functools
import importlib
import operator
import re
import subprocess
import sys
from pathlib import Path

import pytest

import predrecon

PACKAGE = Path(predrecon.__file__).parent
LAYERS = ("", "data", "training", "audit", "workbook")  # "": the core
ENTRY_POINTS = ("predrecon", "predrecon.__main__")  # they may import from every layer


def modules() -> dict[str, Path]:
    """Dotted name to file, for every file of the package."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("predrecon", *path.relative_to(PACKAGE).with_suffix("").parts)
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


def imports_of(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports, at its top or inside of a function."""
    imports = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            base = node.module or ""
            if node.level:
                base = f"{package}.{base}".rstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                imports.add(inner if inner in known else base)
    return {module for module in imports if module.split(".")[0] == "predrecon"}


def layer(module: str) -> int:
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 1 and parts[1] in LAYERS else 0


@functools.cache
def graph() -> dict[str, set[str]]:
    names = modules()
    return {name: imports_of(name, path, names) for name, path in names.items()}


def test_imports_are_found_anywhere_in_a_file(tmp_path):
    file = tmp_path / "room" / "module.py"
    file.parent.mkdir()
    file.write_text(
        "from predrecon import (\n    metrics,\n    pool,\n)\n"
        "def f():\n    import predrecon.audit.grid\n    from ..data import corpus\n"
        "    from . import near\n"
    )
    names = dict.fromkeys(["predrecon.metrics", "predrecon.data.corpus", "predrecon.room.near"])
    assert imports_of("predrecon.room.module", file, names) == {
        "predrecon", "predrecon.metrics", "predrecon.audit.grid", "predrecon.data.corpus",
        "predrecon.room.near",
    }  # fmt: skip


def test_every_subpackage_is_a_layer():
    subpackages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert subpackages == set(LAYERS) - {""}


def test_imports_go_one_way():
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if name not in ENTRY_POINTS and (layer(other) > layer(name) or other in ENTRY_POINTS)
    ]
    assert not wrong, wrong


def test_no_cycle_of_imports():
    remaining = {name: set(others) - {name} for name, others in graph().items()}
    while free := [name for name, others in remaining.items() if not others & set(remaining)]:
        for name in free:
            del remaining[name]
    assert not remaining, f"a cycle among {sorted(remaining)}"


def test_the_package_does_not_import_notebooks():
    """Notebooks import the package, never the other way."""
    assert not [name for name, others in graph().items() if any("notebooks" in o for o in others)]


@pytest.mark.parametrize("number", range(1, 17))
def test_every_equation_is_named_where_it_is_computed(number):
    module, _, name = predrecon.EQUATIONS[number].partition(".")
    function = operator.attrgetter(name)(importlib.import_module(f"predrecon.{module}"))
    assert re.search(rf"Eq\. (\d+, )*{number}\b", function.__doc__), f"{name}: no Eq. {number}"


def test_importing_costs_no_heavy_library_and_touches_nothing():
    heavy = "umap plotly sklearn ipywidgets anywidget datasets".split()
    code = (
        "import sys, socket, builtins, os\n"
        "def no(*a, **k): raise AssertionError('the network')\n"
        "socket.socket.connect = no\n"
        "before = set(os.listdir('.'))\n"
        "import predrecon, predrecon.workbook\n"
        f"print([m for m in {heavy!r} if m in sys.modules], set(os.listdir('.')) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[0] == "[] set()", done.stdout + done.stderr
