"""Checkpoints: folders `checkpoints/step-00000500/` that are whole or are not there.

Each holds the weights and the optimiser's moments as safetensors and `checkpoint.json` with the
step, the seed, the recipe and the SHA-256 of both files. It is written aside, synced to the disk
and renamed. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, load_model, save_file, save_model

from predrecon.files import build_folder

WEIGHTS, MOMENTS, FACTS = "model.safetensors", "optimizer.safetensors", "checkpoint.json"


class CheckpointWarning(UserWarning):
    """A checkpoint was damaged and has been passed over."""


def save(out_dir: Path, model, optimizer, step: int, keep_last: int, facts: dict) -> Path:
    """Write the checkpoint of a step, then delete all but the newest `keep_last`.

    Args:
        out_dir: the run's folder.
        facts: what `recipe.json` holds; kept beside the weights.

    Raises:
        OSError: no space or no permission; says what was needed. Older checkpoints are untouched.
    """
    folder = out_dir / "checkpoints" / f"step-{step:08d}"

    def write(part: Path):
        save_model(model, part / WEIGHTS)
        save_file(_moments(optimizer), part / MOMENTS)
        digests = {name: _digest(part / name) for name in (WEIGHTS, MOMENTS)}
        text = json.dumps({"step": step, **facts, "sha256": digests}, indent=1)
        (part / FACTS).write_text(text, encoding="utf-8")

    try:
        build_folder(folder, write)
    except Exception as error:  # safetensors has its own name for "no space left"
        raise OSError(_what_was_needed(out_dir, model, step, error)) from error
    for old in found(out_dir)[:-keep_last]:
        shutil.rmtree(old)
    return folder


def load_newest(out_dir: Path, model, optimizer) -> Path | None:
    """Restore the newest whole checkpoint into model and optimiser; returns its folder, if any.

    Warns:
        CheckpointWarning: for every newer one that is damaged, by name. It stays where it is.
    """
    for folder in reversed(found(out_dir)):
        if damage := check(folder):
            message = f"{folder}: {damage}. Passed over, for an older one if there is one."
            warnings.warn(message, CheckpointWarning, stacklevel=2)
            continue
        device = next(model.parameters()).device
        load_model(model, folder / WEIGHTS, device=str(device))
        _restore(optimizer, load_file(folder / MOMENTS))
        return folder
    return None


def check(folder: Path) -> str:
    """What is wrong with a checkpoint; an empty string if it is whole."""
    try:
        told = read_facts(folder)
        digests, step = told["sha256"], told["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{FACTS} is missing or damaged ({type(error).__name__})"
    if step != step_of(folder):
        return f"{FACTS} is of step {step}"
    for name in (WEIGHTS, MOMENTS):
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _digest(folder / name) != digests.get(name):
            return f"{name} is not what was written (SHA-256 differs)"
    return ""


def read_facts(folder: Path) -> dict:
    """What `save` was given, with the step and the digests."""
    return json.loads((folder / FACTS).read_text(encoding="utf-8"))


def found(out_dir: Path) -> list[Path]:
    """Folders of checkpoints, oldest first, whole or not."""
    return sorted((out_dir / "checkpoints").glob("step-*"))


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _moments(optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as flat tensors, `"<parameter>.<name>"`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{k}": torch.as_tensor(v) for i, part in state.items() for k, v in part.items()}


def _restore(optimizer, moments: dict[str, torch.Tensor]):
    whole = optimizer.state_dict()
    state: dict[int, dict] = {}
    for key, tensor in moments.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _what_was_needed(out_dir: Path, model, step: int, error: Exception) -> str:
    tensors = [*model.parameters(), *model.buffers()]
    trained = [p for p in model.parameters() if p.requires_grad]
    needed = sum(t.nbytes for t in tensors) + 2 * sum(t.nbytes for t in trained)
    free = shutil.disk_usage(out_dir).free
    kept = found(out_dir)
    left = f"The last checkpoint is {kept[-1].name}" if kept else "There is no checkpoint yet"
    rights = "" if os.access(out_dir, os.W_OK) else " The folder is not writable."
    return (
        f"The checkpoint of step {step} could not be written to {out_dir}: {error} It needs "
        f"{needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free.{rights} {left}. Make room and "
        "start again: the run goes on from there."
    )
