"""Where things are on disk. Four folders, each set by one environment variable.

| folder  | variable            | default                                                     |
|---------|---------------------|-------------------------------------------------------------|
| data    | `PREDRECON_DATA`    | none: local copies of Wikipedia, GLUE and the tokenizer     |
| cache   | `PREDRECON_CACHE`   | `~/.cache/predrecon`: what can be rebuilt (packed tokens)   |
| runs    | `PREDRECON_RUNS`    | `runs/` of the checkout: trained models                     |
| figures | `PREDRECON_FIGURES` | `figures/` of the checkout: pictures and their numbers      |
"""

import os
from pathlib import Path

VARIABLES = ("PREDRECON_DATA", "PREDRECON_CACHE", "PREDRECON_RUNS", "PREDRECON_FIGURES")


def data_dir(folder: str | Path | None = None) -> Path | None:
    """The local data folder, `folder` or `PREDRECON_DATA`; None if neither is set."""
    value = folder or os.environ.get("PREDRECON_DATA")
    if not value:
        return None
    path = Path(value).expanduser().resolve()
    if not path.is_dir():
        name = "data_dir" if folder else "PREDRECON_DATA"
        raise NotADirectoryError(
            f"{name}={str(value)!r} is not a folder (looked at {path}). "
            "Correct it, or leave it out to use the embedded corpus and the hub."
        )
    return path


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _from_variable("PREDRECON_CACHE", Path(base).expanduser() / "predrecon")


def runs_dir() -> Path:
    return _from_variable("PREDRECON_RUNS", _checkout() / "runs")


def figures_dir() -> Path:
    return _from_variable("PREDRECON_FIGURES", _checkout() / "figures")


def _from_variable(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().resolve()


def _checkout() -> Path:
    """The project's folder when run from a checkout, else the working folder."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()
