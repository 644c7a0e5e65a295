"""How a run ends: with a finished model, or with numbers that are none."""

import json
from pathlib import Path

from predrecon import checkpoints, run_folder
from predrecon.corpus import Corpus
from predrecon.files import write_text
from predrecon.model import PredictReconstruct
from predrecon.recipes import Recipe


def write_finished(out_dir: Path, model: PredictReconstruct, corpus: Corpus, metrics: dict):
    """The model, its tokenizer, and last metrics.json, which makes the run whole."""
    corpus.tokenizer.save_pretrained(out_dir)
    with run_folder.quiet_transformers():
        model.save_pretrained(out_dir)
    write_text(out_dir / "metrics.json", json.dumps(metrics, indent=1))


def diverged(out_dir: Path, recipe: Recipe, step: int, what: str) -> FloatingPointError:
    """The error to raise when a loss or a weight is NaN or infinite."""
    good = [f for f in checkpoints.found(out_dir) if not checkpoints.check(f)]
    last = f"The last good checkpoint is {good[-1]}" if good else "There is no checkpoint yet"
    return FloatingPointError(
        f"{what}, seen at step {step}. {last}. Try a lower lr (now {recipe.lr}), more warmup_steps "
        f"(now {recipe.warmup_steps}) or precision='fp32', in another folder."
    )
