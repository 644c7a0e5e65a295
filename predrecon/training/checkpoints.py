"""Checkpoints: folders `checkpoints/step-00000500/` that are whole or are not there.

Each holds the weights and the optimiser's moments as safetensors and `checkpoint.json` with the
step, the seed, the recipe and the SHA-256 of both files and of itself. It is written aside, synced
to the disk and renamed. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from predrecon.data.files import build_folder, remove_folder
from predrecon.training.sharding import gathered, spread

WEIGHTS, MOMENTS, FACTS = "model.safetensors", "optimizer.safetensors", "checkpoint.json"


class CheckpointWarning(UserWarning):
    """A checkpoint was damaged and has been passed over."""


def state(model, optimizer) -> tuple[dict, dict]:
    """Weights and moments, whole, as `save` takes them. Every process has to call it."""
    return gathered(model.state_dict()), gathered(_moments(optimizer))


def save(out_dir: Path, state: tuple[dict, dict], step: int, keep_last: int, facts: dict) -> Path:
    """Write the checkpoint of a step, then delete all but the newest `keep_last`.

    Args:
        out_dir: the run's folder.
        state: from `state`.
        facts: what `recipe.json` holds; kept beside the weights.

    Raises:
        OSError: no space or no permission; says what was needed. Older checkpoints are untouched.
    """
    folder = out_dir / "checkpoints" / f"step-{step:08d}"

    def write(part: Path):
        for name, tensors in zip((WEIGHTS, MOMENTS), state, strict=True):
            save_file(tensors, part / name)
        digests = {name: _digest(part / name) for name in (WEIGHTS, MOMENTS)}
        told = {"step": step, **facts, "sha256": digests}
        text = json.dumps(told | {"sha256_of_this": _digest_of(told)}, indent=1)
        (part / FACTS).write_text(text, encoding="utf-8")

    try:
        remove_folder(folder)  # a damaged one, that the run has gone back behind
        build_folder(folder, write)
    except Exception as error:  # safetensors has its own name for "no space left"
        raise OSError(_what_was_needed(out_dir, state, step, error)) from error
    reached = [f for f in found(out_dir) if step_of(f) <= step]  # later ones are damaged
    for old in reached[:-keep_last]:
        remove_folder(old)
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
        _restore(model, optimizer, *(load_file(folder / name) for name in (WEIGHTS, MOMENTS)))
        return folder
    return None


def check(folder: Path) -> str:
    """What is wrong with a checkpoint; an empty string if it is whole."""
    try:
        told = read_facts(folder)
        own, digests, step = told.pop("sha256_of_this"), told["sha256"], told["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{FACTS} is missing or damaged ({type(error).__name__})"
    if own != _digest_of(told):
        return f"{FACTS} is not what was written (SHA-256 differs)"
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
    return sorted((out_dir / "checkpoints").glob("step-" + "[0-9]" * 8))


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _moments(optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as flat tensors, `"<parameter>.<name>"`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{k}": torch.as_tensor(v) for i, part in state.items() for k, v in part.items()}


@torch.no_grad()
def _restore(model, optimizer, weights: dict, moments: dict):
    for name, tensor in model.state_dict().items():
        tensor.copy_(spread(weights[name], tensor))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict] = {}
    for key, tensor in moments.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        same = tensor.shape == parameter.shape  # not the count of steps
        state.setdefault(int(index), {})[name] = spread(tensor, parameter) if same else tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest_of(told: dict) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _what_was_needed(out_dir: Path, state: tuple[dict, dict], step: int, error: Exception) -> str:
    needed = sum(t.nbytes for tensors in state for t in tensors.values())
    free = shutil.disk_usage(out_dir).free
    kept = found(out_dir)
    left = f"The last checkpoint is {kept[-1].name}" if kept else "There is no checkpoint yet"
    rights = "" if os.access(out_dir, os.W_OK) else " The folder is not writable."
    return (
        f"The checkpoint of step {step} could not be written to {out_dir}: {error} It needs "
        f"{needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free.{rights} {left}. Make room and "
        "start again: the run goes on from there."
    )
