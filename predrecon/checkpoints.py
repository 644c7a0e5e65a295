"""What a run leaves on disk: the finished run, and checkpoints while it is in progress.

A checkpoint is a folder `checkpoints/step-00000500/` with the weights as safetensors, the optimiser
state, and the step in its name; it is written aside, then renamed: never half there. Nothing in it
is unpickled on loading beyond tensors (`weights_only`).
"""

import contextlib
import csv
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_model, save_model

from predrecon.files import build_folder, write_text
from predrecon.model import Encoder, PredictReconstruct, untrained
from predrecon.recipes import Recipe


@dataclass(frozen=True)
class Run:
    """A finished pre-training run on disk: weights, tokenizer, recipe, history and metrics.

    `AutoModel.from_pretrained(run.folder)` opens its encoder.
    """

    folder: Path

    @property
    def facts(self) -> dict:
        """Seed, corpus, recipe, as written when the run began (`recipe.json`)."""
        return json.loads((self.folder / "recipe.json").read_text(encoding="utf-8"))

    @property
    def recipe(self) -> Recipe:
        fields = self.facts["recipe"]
        return Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})

    @property
    def history(self) -> pd.DataFrame:
        """One row a logged step; `step` counts finished steps, `tokens` the tokens they saw."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def metrics(self) -> dict:
        """Held-out losses in nats, steps, tokens, wall seconds (`metrics.json`)."""
        return json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))

    def model(self) -> PredictReconstruct:
        with quiet_transformers():
            return PredictReconstruct.from_pretrained(self.folder).eval()

    def encoder(self) -> Encoder:
        with quiet_transformers():
            return Encoder.from_pretrained(self.folder).eval()

    def untrained_encoder(self) -> Encoder:
        """The encoder as it was before the first step."""
        return untrained(self.encoder(), self.facts["seed"])


def save(out_dir: Path, model, optimizer, step: int, keep_last: int):
    """Write the checkpoint of a step, then delete all but the newest `keep_last`."""

    def write(part: Path):
        save_model(model, part / "model.safetensors")
        torch.save(optimizer.state_dict(), part / "optimizer.pt")

    build_folder(out_dir / "checkpoints" / f"step-{step:08d}", write)
    for old in _found(out_dir)[:-keep_last]:
        shutil.rmtree(old)


def load_newest(out_dir: Path, model, optimizer) -> tuple[int, list[dict]]:
    """Restore the newest checkpoint into model and optimiser.

    Returns:
        the step to go on from (0 without a checkpoint) and the history up to it; later rows are
        cut from history.csv, since they will be written again.
    """
    found = _found(out_dir)
    step = 0
    if found:
        device = next(model.parameters()).device
        load_model(model, found[-1] / "model.safetensors", device=str(device))
        state = torch.load(found[-1] / "optimizer.pt", map_location="cpu", weights_only=True)
        optimizer.load_state_dict(state)
        step = int(found[-1].name.removeprefix("step-"))
    return step, _cut_history(out_dir / "history.csv", step)


def append_history(out_dir: Path, row: dict):
    """Add a row to history.csv, with a header before the first."""
    file = out_dir / "history.csv"
    text = io.StringIO()
    writer = csv.DictWriter(text, row, lineterminator="\n")
    if not file.is_file() or file.stat().st_size == 0:
        writer.writeheader()
    writer.writerow(row)
    with file.open("a", encoding="utf-8") as out:
        out.write(text.getvalue())


@contextlib.contextmanager
def quiet_transformers():
    """No progress bars for files that take milliseconds."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _found(out_dir: Path) -> list[Path]:
    return sorted((out_dir / "checkpoints").glob("step-*"))


def _cut_history(file: Path, step: int) -> list[dict]:
    if not file.is_file() or file.stat().st_size == 0:
        return []
    rows = pd.read_csv(file)
    rows = rows[rows["step"] <= step]
    write_text(file, rows.to_csv(index=False) if len(rows) else "")
    return rows.to_dict("records")
