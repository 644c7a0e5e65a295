"""Names of runs and comparisons in notebooks, figures and folders of figures."""

import dataclasses
from pathlib import Path

from predrecon import recipes
from predrecon.data import files, paths
from predrecon.data.documents import EMBEDDED_CORPUS, HUB_CORPORA, digest
from predrecon.recipes import Recipe


def tag(recipe: Recipe, seed: int) -> str:
    """Names a comparison's figures: preset and corpus, then whatever differs from the preset.

    A name that is too long for a folder ends in its digest.
    """
    preset = dataclasses.asdict(recipes.get(recipe.preset))
    changed = {k: v for k, v in dataclasses.asdict(recipe).items() if v != preset[k]}
    if changed.get("epochs", 0.5).is_integer():
        changed["epochs"] = int(changed["epochs"])  # 5, not 5.0
    parts = [f"{k}={v}" for k, v in changed.items() if k not in ("arm", "corpus")]
    parts += [f"seed={seed}"] if (seed := recipes.read("seed", seed)) else []
    corpus = Path(recipe.corpus).stem
    if recipe.corpus not in (EMBEDDED_CORPUS, *HUB_CORPORA):  # two files may have one name
        corpus += "-" + digest(str(Path(recipe.corpus).expanduser().resolve()))[:4]
    name = "-".join([recipe.preset, corpus, *parts])
    return files.fitting("".join(c if c.isalnum() or c in "-_=." else "_" for c in name), 240)


def caption(recipe: Recipe, *seeds: int) -> str:
    """What a figure's numbers cost, for the line under its title."""
    length = f"{recipe.epochs:g} epochs"
    if recipe.max_steps:
        tokens = recipe.max_steps * recipe.batch_size * recipe.length
        length = f"{recipe.max_steps:,} steps, {tokens / 1e6:.3g} M tokens an arm"
    numbers = [recipes.read("seed", seed) for seed in seeds]
    seed_list = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, numbers)) or '–'}"
    return f"preset {recipe.preset}, {Path(recipe.corpus).stem}, {length}, {seed_list}"


def short_path(folder: Path) -> str:
    """A run's folder below the folder of all runs, without anyone's home folder."""
    return f"{paths.runs_dir().name}/{folder.name}"


def contents(folder: Path) -> list[str]:
    """Names of the files and folders in a run's folder, sorted, without hidden ones."""
    return sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))


def contrast_title(contrast: str) -> str:
    """A contrast's name for readers; tables of results keep the name."""
    title = contrast.replace(" for learned", " instead of learned")
    return {"objective": "objective, equal steps"}.get(title, title.replace("FLOPs", "operations"))


def decimal(value: float, digits: int = 2) -> str:
    """A number in a sentence, with a true minus: −1,234.50."""
    return f"{value:,.{digits}f}".replace("-", "−")
