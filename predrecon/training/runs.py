"""Where runs live on disk, and "train it if it is not there yet"."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from predrecon.data import paths
from predrecon.data.corpus import Corpus
from predrecon.data.documents import digest
from predrecon.recipes import Recipe
from predrecon.training.pretraining import pretrain
from predrecon.training.run_folder import BOOKKEEPING, Run


def folder(recipe: Recipe, corpus: Corpus, seed: int | str) -> Path:
    """The run's folder: readable first, unique by a digest of what the weights depend on.

    The text counts, not what it was called: a path and its absolute form are one run. Fields that
    have the recipe's default are left out, so that a new field leaves old runs where they are.
    """
    left_out = (*BOOKKEEPING, "corpus", "tokenizer")
    plain = {f.name: f.default for f in dataclasses.fields(recipe)}
    fields = dataclasses.asdict(recipe).items()
    fields = {k: v for k, v in fields if k not in left_out and v != plain[k]}
    facts = json.dumps([fields, corpus.fingerprint], sort_keys=True)
    name = f"{recipe.preset}-{Path(recipe.corpus).stem}"
    return paths.runs_dir() / f"{name}-{recipe.arm}-seed{seed}-{digest(facts)[:8]}"


def ensure(
    recipe: Recipe, corpus: Corpus, *, seed: int = 0, on_log: Callable[[dict], None] | None = None
) -> Run:
    """The finished run of this recipe, corpus and seed: loaded, resumed or trained.

    A second process that asks for the same run waits for the first and loads its result.
    """
    out_dir = folder(recipe, corpus, seed)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1  # they train it together
    with (
        contextlib.nullcontext()
        if several
        else FileLock(out_dir.with_name(f".{out_dir.name}.lock"))
    ):
        return pretrain(recipe, corpus, out_dir, seed=seed, on_log=on_log, may_differ=BOOKKEEPING)


def on_disk(recipe: Recipe, corpus: Corpus) -> list[Run]:
    """The finished runs of this recipe and corpus, by seed, whatever seeds there are."""
    pattern = folder(recipe, corpus, "*")
    whole = (
        path for path in pattern.parent.glob(pattern.name) if (path / "metrics.json").is_file()
    )
    return sorted(map(Run, whole), key=lambda run: run.facts["seed"])


def ensure_arms(
    recipe: Recipe, arms: list[str], corpus: Corpus, *, seed: int = 0
) -> dict[str, Run]:
    """`{arm: run}` for the given arms of one recipe."""
    return {arm: ensure(dataclasses.replace(recipe, arm=arm), corpus, seed=seed) for arm in arms}


def every_seed(
    recipe: Recipe, arms: list[str], corpus: Corpus, *, seed: int = 0
) -> dict[str, list[Run]]:
    """`{arm: runs}`: that of `seed`, trained if need be, and all other seeds that are on disk."""
    ensure_arms(recipe, arms, corpus, seed=seed)
    return {arm: on_disk(dataclasses.replace(recipe, arm=arm), corpus) for arm in arms}
