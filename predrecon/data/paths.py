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

from predrecon.data.files import make_writable

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


def cache_dir(*, write: bool = False) -> Path:
    """The cache; with `write` it is made, and one that cannot be written to is an error."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _from_variable("PREDRECON_CACHE", f"{base}/predrecon", write)


def runs_dir(*, write: bool = False) -> Path:
    """The runs; `write` as in `cache_dir`."""
    return _from_variable("PREDRECON_RUNS", _checkout() / "runs", write)


def figures_dir(*, write: bool = False) -> Path:
    """The figures; `write` as in `cache_dir`."""
    return _from_variable("PREDRECON_FIGURES", _checkout() / "figures", write)


def evidence_dir() -> Path:
    """The numbers that come with the project, wherever figures are written to."""
    return _checkout() / "figures" / "data"


def _from_variable(variable: str, default: str | Path, write: bool) -> Path:
    value, remedy = os.environ.get(variable) or default, f"Set {variable} to a folder that can."
    try:
        folder = Path(value).expanduser().resolve()
    except RuntimeError:
        raise RuntimeError(f"{value}: there is no home folder. Set {variable} or HOME.") from None
    return make_writable(folder, remedy) if write else folder


def _checkout() -> Path:
    """The project's folder when run from a checkout, else the working folder."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()
