"""Where runs live on disk, and "train it if it is not there yet"."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from predrecon import paths, recipes
from predrecon.corpus import Corpus
from predrecon.recipes import Recipe
from predrecon.run_folder import BOOKKEEPING, Run
from predrecon.training import pretrain


def folder(recipe: Recipe, corpus: Corpus, seed: int) -> Path:
    """The run's folder: readable first, unique by a digest of what the weights depend on."""
    fields = {k: v for k, v in dataclasses.asdict(recipe).items() if k not in BOOKKEEPING}
    facts = json.dumps([fields, corpus.fingerprint], sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:8]
    name = f"{recipe.preset}-{Path(recipe.corpus).stem}"
    return paths.runs_dir() / f"{name}-{recipe.arm}-seed{seed}-{digest}"


def tag(recipe: Recipe, seed: int) -> str:
    """Names a comparison's figures: preset and corpus, then whatever differs from the preset."""
    plain = dataclasses.asdict(recipes.get(recipe.preset))
    apart = {k: v for k, v in dataclasses.asdict(recipe).items() if v != plain[k]}
    parts = [f"{k}={v}" for k, v in apart.items() if k not in ("arm", "corpus")]
    parts += [f"seed={seed}"] if seed else []
    name = "-".join([recipe.preset, Path(recipe.corpus).stem, *parts])
    return "".join(c if c.isalnum() or c in "-_=." else "_" for c in name)


def ensure(
    recipe: Recipe, corpus: Corpus, *, seed: int = 0, on_log: Callable[[dict], None] | None = None
) -> Run:
    """The finished run of this recipe, corpus and seed: loaded, resumed or trained.

    A second process that asks for the same run waits for the first and loads its result.
    """
    out_dir = folder(recipe, corpus, seed)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out_dir.with_name(f".{out_dir.name}.lock")):
        return pretrain(recipe, corpus, out_dir, seed=seed, on_log=on_log, may_differ=BOOKKEEPING)


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
