"""What a run leaves behind: snapshots on its way, the finished model at its end."""

import json
from pathlib import Path

from predrecon import run_folder
from predrecon.corpus import Corpus
from predrecon.files import build_folder, remove_folder, write_text
from predrecon.heldout import evaluate
from predrecon.model import PredictReconstruct
from predrecon.recipes import Recipe


def snapshot_steps(recipe: Recipe, total: int) -> set[int]:
    """After which steps an encoder is kept: evenly spaced, the last one at the end."""
    return {round(total * k / recipe.snapshots) for k in range(1, recipe.snapshots + 1)} - {0}


def write_snapshot(
    out_dir: Path, model: PredictReconstruct, recipe: Recipe, corpus: Corpus, step: int, cost: dict
):
    """`snapshots/step-.../`: the encoder, for `AutoModel.from_pretrained`, and its losses."""
    told = {"step": step, "tokens": step * recipe.batch_size * recipe.length} | cost
    told |= evaluate(model, recipe, corpus)

    def write(part: Path):
        with run_folder.quiet_transformers():
            model.encoder.save_pretrained(part)
        (part / "metrics.json").write_text(json.dumps(told, indent=1), encoding="utf-8")

    folder = run_folder.snapshot_folder(out_dir, step)
    remove_folder(folder)
    build_folder(folder, write)


def write_finished(
    out_dir: Path, model: PredictReconstruct, recipe: Recipe, corpus: Corpus, cost: dict
):
    """The model, its tokenizer, and metrics.json, which makes the run whole."""
    metrics = cost | evaluate(model, recipe, corpus)
    corpus.tokenizer.save_pretrained(out_dir)
    with run_folder.quiet_transformers():
        model.save_pretrained(out_dir)
    write_text(out_dir / "metrics.json", json.dumps(metrics, indent=1))
