"""Does the device compute the same? Compared with float64 on the CPU, and with itself."""

import copy
import tempfile
from pathlib import Path

import torch

from predrecon import recipes
from predrecon.training.batches import mask_batch, room_for, share_of
from predrecon.training.loop import pretrain
from predrecon.training.optimizer import build_model

LIMITS = {"fp32": 1e-4, "bf16": 2e-2}  # relative, ||a - b|| / ||b||


def agreement(arm: str, corpus, device: torch.device, *, tiny: bool) -> dict:
    """Relative errors of vectors, loss and gradients of one arm on fresh random tokens.

    Returns:
        A row for the results: an error for each precision and quantity, the limits, whether all
        are within them, and whether two runs of 20 steps from one seed agree bit for bit.
    """
    shape = dict(batch_size=4, length=48 if tiny else 128)
    recipe = recipes.get("smoke" if tiny else "paper", arm=arm, **shape)
    reference = build_model(recipe, corpus, 0).double()
    ids = torch.randint(200, len(corpus.tokenizer), (4, recipe.length))
    batch = share_of(mask_batch(recipe, corpus, ids, 0, 0), 0, 1)
    wanted = _pass(reference, batch, torch.device("cpu"))
    if device.type == "cuda":  # as a step there sees it: room for masked tokens, compiled blocks
        whole = {k: v for k, v in batch.items() if k not in ("masked_at", "count")}
        batch = share_of(whole, 0, 1, room_for(recipe, 1, device))
    line = {"measure": f"{arm} agreement", "limits": LIMITS}
    within = True
    for precision, limit in LIMITS.items():
        model = copy.deepcopy(reference).float().to(device)
        if device.type == "cuda":
            model.compile_blocks()
        result = _pass(model, batch, device, bf16=precision == "bf16")
        for name, value in result.items():
            error = float((value - wanted[name]).norm() / wanted[name].norm())
            line[f"{precision} {name}"] = float(f"{error:.1e}")
            within &= error < limit
    return line | {"within limits": within, "20 steps reproducible": _reproducible(arm, corpus)}


def _pass(model, batch: dict, device: torch.device, *, bf16: bool = False) -> dict:
    """Encoder vectors, loss and all gradients, flat, in float64 on the CPU."""
    moved = {name: value.to(device) for name, value in batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        out = model(**moved)
        vectors = model.encoder.encode(moved["input_ids"])
    out.loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    flat = {"vectors": vectors.flatten(), "loss": out.loss[None], "gradients": torch.cat(gradients)}
    return {name: value.detach().double().cpu() for name, value in flat.items()}


def _reproducible(arm: str, corpus) -> bool:
    recipe = recipes.get("smoke", arm=arm, max_steps=20, validation_blocks=4)
    with tempfile.TemporaryDirectory() as folder:
        one, two = (pretrain(recipe, corpus, Path(folder) / name, seed=3) for name in "ab")
        a, b = one.model().state_dict(), two.model().state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)
