"""Where runs live on disk, and "train it if it is not there yet"."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from predrecon import paths
from predrecon.checkpoints import Run
from predrecon.corpus import Corpus
from predrecon.recipes import Recipe
from predrecon.training import pretrain


def folder(recipe: Recipe, corpus: Corpus, seed: int) -> Path:
    """The run's folder: readable first, unique by a digest of recipe and corpus."""
    facts = json.dumps([dataclasses.asdict(recipe), corpus.fingerprint], sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:8]
    return paths.runs_dir() / f"{tag(recipe)}-{recipe.arm}-seed{seed}-{digest}"


def tag(recipe: Recipe) -> str:
    """`preset-corpus`: names the folders of a comparison's runs and figures."""
    return f"{recipe.preset}-{Path(recipe.corpus).stem}"


def ensure(
    recipe: Recipe, corpus: Corpus, *, seed: int = 0, on_log: Callable[[dict], None] | None = None
) -> Run:
    """The finished run of this recipe, corpus and seed: loaded, resumed or trained.

    A second process that asks for the same run waits for the first and loads its result.
    """
    out_dir = folder(recipe, corpus, seed)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out_dir.with_name(f".{out_dir.name}.lock")):
        return pretrain(recipe, corpus, out_dir, seed=seed, on_log=on_log)


def shown(path: Path) -> str:
    """A run's folder as the project sees it: no part of somebody's home."""
    return f"{paths.runs_dir().name}/{path.name}"


def contents(path: Path) -> list[str]:
    """Names of the files and folders in a run's folder."""
    return [item.name for item in path.iterdir() if not item.name.startswith(".")]


def ensure_arms(
    recipe: Recipe, arms: list[str], corpus: Corpus, *, seed: int = 0
) -> dict[str, Run]:
    """`{arm: run}` for the given arms of one recipe."""
    return {arm: ensure(dataclasses.replace(recipe, arm=arm), corpus, seed=seed) for arm in arms}
