"""pyproject.toml, constraints.txt and environment.yml say the same."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name(requirement):
    return re.split(r"[<>=!~ \[;]", requirement.strip())[0].lower().replace("_", "-")


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split(";")[0].split("==") for line in lines if line and line[0] != "#"]
    return {name(pin): version.strip() for pin, version in pins}


def conda():
    """Lines of environment.yml's pip and conda sections."""
    text = (ROOT / "environment.yml").read_text()
    return [line.strip()[2:].strip() for line in text.splitlines() if line.strip().startswith("- ")]


def direct():
    return [name(r) for r in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize(("platform", "system"), [("linux", "Linux"), ("darwin", "Darwin")])
def test_every_dependency_is_pinned_with_its_closure(python, platform, system):
    """Checked as far as the packages installed here state their needs on other platforms."""
    there = {"python_version": python, "python_full_version": f"{python}.1", "extra": "",
             "sys_platform": platform, "platform_system": system}  # fmt: skip
    pins = constraints()
    missing = [n for n in direct() if n not in pins]
    pending = list(direct())
    names = set()
    while pending:
        current = pending.pop()
        if current in names:
            continue
        names.add(current)
        try:
            needed = map(Requirement, importlib.metadata.requires(current) or [])
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        for requirement in needed:
            if requirement.marker and not requirement.marker.evaluate(there):
                continue
            if name(requirement.name) not in pins:
                missing.append(f"{current} -> {requirement.name}")
            pending.append(name(requirement.name))
    assert not missing


def test_what_runs_is_what_is_pinned():
    wrong = {}
    for package, version in constraints().items():
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        if installed.split("+")[0] != version:
            wrong[package] = (installed, version)
    assert not wrong


def test_environment_yml_is_in_step():
    lines = conda()
    python = next(line for line in lines if line.startswith("python"))
    assert python.removeprefix("python") == PROJECT["requires-python"]
    assert "--constraint constraints.txt" in lines
    assert "--editable .[test]" in lines


def test_sources_of_the_embedded_text_are_dependencies():
    from predrecon.data.embedded_text import LIBRARIES

    assert set(LIBRARIES.values()) <= set(direct())


def test_what_is_imported_is_declared():
    """Every library that a file of the package imports, at its top or inside of a function."""
    optional = [name(r) for extra in PROJECT["optional-dependencies"].values() for r in extra]
    declared = {name(r) for r in PROJECT["dependencies"]} | set(optional)
    modules = {}
    for path in sorted((ROOT / "predrecon").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for module in names:
                modules.setdefault(module.split(".")[0], path.name)
    owners = importlib.metadata.packages_distributions()
    importable = set(sys.stdlib_module_names) | {"predrecon"}
    missing = {
        module: file
        for module, file in modules.items()
        if module not in importable and not {name(d) for d in owners.get(module, [])} & declared
    }
    assert not missing, f"imported and not declared: {missing}"


def test_files_beside_the_code_are_packaged():
    """Templates, scripts, styles, tables, launch files: each matches a pattern of package-data."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = config["tool"]["setuptools"]["package-data"]["predrecon"]
    folder = ROOT / "predrecon"
    beside = {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    left_out = [str(path) for path in beside if not any(path.match(p) for p in patterns)]
    assert beside and not left_out
