"""Where runs live on disk, and "train it if it is not there yet"."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from predrecon import recipes
from predrecon.data import paths
from predrecon.data.corpus import Corpus
from predrecon.data.documents import EMBEDDED, HUB_CORPORA, digest
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


def tag(recipe: Recipe, seed: int) -> str:
    """Names a comparison's figures: preset and corpus, then whatever differs from the preset."""
    plain = dataclasses.asdict(recipes.get(recipe.preset))
    apart = {k: v for k, v in dataclasses.asdict(recipe).items() if v != plain[k]}
    parts = [f"{k}={v}" for k, v in apart.items() if k not in ("arm", "corpus")]
    parts += [f"seed={seed}"] if seed else []
    corpus = Path(recipe.corpus).stem
    if recipe.corpus not in (EMBEDDED, *HUB_CORPORA):  # two files may have one name
        corpus += "-" + digest(str(Path(recipe.corpus).expanduser().resolve()))[:4]
    name = "-".join([recipe.preset, corpus, *parts])
    return "".join(c if c.isalnum() or c in "-_=." else "_" for c in name)


def caption(recipe: Recipe, *seeds: int) -> str:
    """What a figure's numbers cost, for the line under its title."""
    length = f"{recipe.epochs:g} epochs"
    if recipe.max_steps:
        tokens = recipe.max_steps * recipe.batch_size * recipe.length
        length = f"{recipe.max_steps:,} steps, {tokens / 1e6:.3g} M tokens an arm"
    named = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds)) or '–'}"
    return f"preset {recipe.preset}, {Path(recipe.corpus).stem}, {length}, {named}"


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


def every_seed(
    recipe: Recipe, arms: list[str], corpus: Corpus, *, seed: int = 0
) -> dict[str, list[Run]]:
    """`{arm: runs}`: that of `seed`, trained if need be, and all other seeds that are on disk."""
    ensure_arms(recipe, arms, corpus, seed=seed)
    return {arm: on_disk(dataclasses.replace(recipe, arm=arm), corpus) for arm in arms}
