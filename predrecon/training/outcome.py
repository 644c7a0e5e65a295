"""What a run leaves behind: encoders on its way, a finished model, or numbers that are none."""

import json
from pathlib import Path

from predrecon.data.corpus import Corpus
from predrecon.data.files import build_folder, remove_folder, write_text
from predrecon.model import PredictReconstruct
from predrecon.recipes import Recipe
from predrecon.training import checkpoints, run_folder


def snapshot_steps(recipe: Recipe, total: int) -> set[int]:
    """After which steps an encoder is kept: evenly spaced, the last one at the end."""
    return {round(total * k / recipe.snapshots) for k in range(1, recipe.snapshots + 1)} - {0}


def write_snapshot(out_dir: Path, model: PredictReconstruct, metrics: dict):
    """`snapshots/step-.../`: the encoder, for `AutoModel.from_pretrained`, and its losses."""

    def write(part: Path):
        with run_folder.quiet_transformers():
            model.encoder.save_pretrained(part)
        (part / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")

    folder = run_folder.snapshot_folder(out_dir, metrics["step"])
    remove_folder(folder)
    build_folder(folder, write)


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
