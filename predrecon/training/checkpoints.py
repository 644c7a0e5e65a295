"""Checkpoints: folders `checkpoints/step-00000500/`, complete or absent.

Each holds the weights and the optimiser's moments as safetensors and `checkpoint.json` with the
step, the seed, the recipe and the SHA-256 of both files and of itself. It is written to a temporary
folder, synced to the disk and renamed. Nothing is ever unpickled. State that is sharded over
processes (FSDP) is gathered: the files do not depend on the number of processes.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from predrecon.data.files import build_folder, remove_folder, sha256

WEIGHTS, MOMENTS, FACTS = "model.safetensors", "optimizer.safetensors", "checkpoint.json"


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged and was skipped."""


def gather_state(model, optimizer) -> tuple[dict, dict]:
    """Weights and moments, as `save` takes them. Every process must call it."""
    state = optimizer.state_dict()["state"]
    moments = {f"{i}.{k}": torch.as_tensor(v) for i, part in state.items() for k, v in part.items()}
    return gather(model.state_dict()), gather(moments)


def gather(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors, sharded ones complete on the CPU. Every process must call it."""
    return {k: t.full_tensor().cpu() if isinstance(t, DTensor) else t for k, t in tensors.items()}


def save(out_dir: Path, state: tuple[dict, dict], step: int, keep_last: int, facts: dict) -> Path:
    """Write `state`, from `gather_state`, with `facts`; then keep only the newest `keep_last`.

    Raises:
        OSError: no space or no permission; says what was needed. Older checkpoints are untouched.
    """
    folder = out_dir / "checkpoints" / f"step-{step:08d}"

    def write(part: Path):
        for name, tensors in zip((WEIGHTS, MOMENTS), state, strict=True):
            save_file(tensors, part / name)
        digests = {name: sha256(part / name) for name in (WEIGHTS, MOMENTS)}
        content = {"step": step, **facts, "sha256": digests}
        text = json.dumps(content | {"sha256_of_this": _digest(content)}, indent=1)
        (part / FACTS).write_text(text, encoding="utf-8")

    try:
        remove_folder(folder)  # a damaged one, if the run resumed from an earlier one
        build_folder(folder, write)
    except Exception as error:  # safetensors has its own name for "no space left"
        raise OSError(_what_was_needed(out_dir, state, step, error)) from error
    reached = [f for f in folders(out_dir) if step_of(f) <= step]  # later ones are damaged
    for old in reached[:-keep_last]:
        remove_folder(old)
    return folder


def load_newest(out_dir: Path, model, optimizer) -> Path | None:
    """Restore the newest intact checkpoint into model and optimiser; returns its folder, if any.

    A `CheckpointWarning` names every newer one that is damaged. It is not deleted.
    """
    for folder in reversed(folders(out_dir)):
        if fault := damage(folder):
            message = f"{folder}: {fault}. Skipped, in favour of an older checkpoint if one exists."
            warnings.warn(message, CheckpointWarning, stacklevel=2)
            continue
        _restore(model, optimizer, *(load_file(folder / name) for name in (WEIGHTS, MOMENTS)))
        return folder
    return None


def damage(folder: Path) -> str:
    """What is wrong with a checkpoint; an empty string if it is intact."""
    try:
        facts = read_facts(folder)
        own, digests, step = facts.pop("sha256_of_this"), facts["sha256"], facts["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{FACTS} is missing or damaged ({type(error).__name__})"
    if own != _digest(facts):
        return f"{FACTS} is not what was written (SHA-256 differs)"
    if step != step_of(folder):
        return f"{FACTS} is of step {step}"
    for name in (WEIGHTS, MOMENTS):
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256(folder / name) != digests.get(name):
            return f"{name} is not what was written (SHA-256 differs)"
    return ""


def read_facts(folder: Path) -> dict:
    """What `save` was given, with the step and the digests."""
    return json.loads((folder / FACTS).read_text(encoding="utf-8"))


def folders(out_dir: Path) -> list[Path]:
    """Folders of checkpoints, oldest first, intact or not."""
    return sorted((out_dir / "checkpoints").glob("step-" + "[0-9]" * 8))


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


@torch.no_grad()
def _restore(model, optimizer, weights: dict, moments: dict):
    for name, tensor in model.state_dict().items():
        tensor.copy_(_shard_like(tensor, weights[name]))
    groups = optimizer.state_dict()["param_groups"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict] = defaultdict(dict)
    for key, tensor in moments.items():
        index, name = key.split(".", 1)
        state[int(index)][name] = _shard_like(parameters[int(index)], tensor)
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _shard_like(pattern: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, spread over the processes as `pattern` is (but not a count of steps)."""
    if not isinstance(pattern, DTensor) or tensor.shape != pattern.shape:
        return tensor
    return distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements)


def _digest(facts: dict) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _what_was_needed(out_dir: Path, state: tuple[dict, dict], step: int, error: Exception) -> str:
    needed = sum(t.nbytes for tensors in state for t in tensors.values())
    free, saved = shutil.disk_usage(out_dir).free, folders(out_dir)
    last = f"The last checkpoint is {saved[-1].name}" if saved else "There is no checkpoint yet"
    rights = "" if os.access(out_dir, os.W_OK) else " The folder is not writable."
    return (
        f"The checkpoint of step {step} could not be written to {out_dir}: {error} It needs "
        f"{needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free.{rights} {last}. Free some space "
        "and start again: the run continues from there."
    )
