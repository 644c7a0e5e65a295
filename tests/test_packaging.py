"""pyproject.toml, constraints.txt and environment.yml say the same."""

import importlib.metadata
import re
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
    """As far as the packages that are installed here tell what they need elsewhere."""
    there = {"python_version": python, "python_full_version": f"{python}.1", "extra": "",
             "sys_platform": platform, "platform_system": system}  # fmt: skip
    pins = constraints()
    missing = [n for n in direct() if n not in pins]
    pending = list(direct())
    seen = set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
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
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        if found.split("+")[0] != version:
            wrong[package] = (found, version)
    assert not wrong


def test_environment_yml_is_in_step():
    lines = conda()
    python = next(line for line in lines if line.startswith("python"))
    assert python.removeprefix("python") == PROJECT["requires-python"]
    assert "--constraint constraints.txt" in lines
    assert "--editable .[test]" in lines


def test_sources_of_the_embedded_text_are_dependencies():
    from predrecon.data.docstrings import LIBRARIES, _distribution

    assert {_distribution(n) for n in LIBRARIES} <= set(direct())


def test_house_rules():
    """No module over 300 lines; rooms import downwards only."""
    order = (
        "seeding paths progress files config objectives masking recipes docstrings sources "
        "embedded documents token_store corpus hardware layers model flops schedules batches "
        "heldout sharding checkpoints run_folder assembly interrupts outcome loop training runs "
        "grid results pooling fitted_pooling heads probes vectors metrics resampling uncertainty "
        "published tasks doc_tasks measuring length evidence probing analysis typeset tables "
        "poolers trajectories paper_map plateau masking_audit "
        "reports maps figures widgets export stills demo"
    ).split()
    for file in (ROOT / "predrecon").rglob("*.py"):
        text = file.read_text()
        assert len(text.splitlines()) <= 300, file
        room = file.relative_to(ROOT / "predrecon").parts[0].removesuffix(".py")
        if room not in order:
            continue
        for line in text.splitlines():  # top-level imports
            found = re.match(r"from predrecon(?:\.(\w+))? import (.+)", line)
            if not found:
                continue
            names = [found[1]] if found[1] else re.findall(r"\w+", found[2])
            for other in names:
                above = other in order and order.index(other) > order.index(room)
                assert not above, f"{room} imports {other}, which is above it"
