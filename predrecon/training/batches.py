"""Batches and masks of a step, as functions of (seed, step), drawn on the device that trains.

All CPUs draw the same masks, and so do all GPUs of one type: one process, eight processes and a
resumed run see the same. On a GPU shapes are fixed before masks are drawn, so the host never waits.
"""

import functools
import math

import torch
import torch.nn.functional as F

from predrecon.data.corpus import Blocks, Corpus
from predrecon.masking import (
    IGNORE,
    UNITS,
    BlockMasks,
    block_masks,
    boundaries,
    token_masks,
    unit_masks,
)
from predrecon.recipes import Recipe
from predrecon.seeding import torch_generator

DIRECTIONS = 64  # unit vectors that sigreg projects onto, drawn anew every step
_SIZES = ("context_scale", "target_scale", "num_targets", "min_context")


def draw_batch(
    recipe: Recipe, corpus: Corpus, blocks: Blocks, seed: int, step: int, device="cpu"
) -> dict:
    """Everything the model's forward takes at a step, on the device; see `mask_batch`."""
    rows = blocks.order(seed, step, recipe.batch_size)
    return mask_batch(recipe, corpus, blocks.batch(rows, device), seed, step)


def mask_batch(recipe: Recipe, corpus: Corpus, input_ids: torch.Tensor, seed: int, step: int):
    """`input_ids`, `masked_ids`, `labels [B, L]`; hybrid: `context [B, C]`, `targets [B, K, T]`.

    With sigreg also `directions [D, S]`.
    """
    tokenizer, device = corpus.tokenizer, input_ids.device
    masked, labels = token_masks(
        input_ids,
        mask_token_id=tokenizer.mask_token_id,
        vocab_size=len(tokenizer),
        special_ids=tokenizer.all_special_ids,
        probability=recipe.mlm_probability,
        generator=torch_generator(seed, "token masks", step),
    )
    batch = {"input_ids": input_ids, "masked_ids": masked, "labels": labels}
    if recipe.arm == "hybrid":
        masks = jepa_masks(recipe, corpus, input_ids, torch_generator(seed, "block masks", step))
        batch |= {"context": masks.context, "targets": masks.targets}
    if recipe.latent_loss == "sigreg":
        generator = torch_generator(seed, "directions", step)
        directions = torch.randn(recipe.hidden_size, DIRECTIONS, generator=generator)
        batch["directions"] = F.normalize(directions, dim=0).to(device, non_blocking=True)
    return batch


def jepa_masks(recipe: Recipe, corpus: Corpus, input_ids: torch.Tensor, generator) -> BlockMasks:
    """Context and targets of `input_ids [B, L]`, by the recipe's `mask`."""
    device, sizes = input_ids.device, {name: getattr(recipe, name) for name in _SIZES}
    if recipe.mask == "block":
        return block_masks(
            len(input_ids),
            recipe.length,
            leak=recipe.leak,
            generator=generator,
            device=device,
            wait=device.type == "cpu",
            **sizes,
        )
    starts, ends = _boundaries(corpus.tokenizer, device)
    on_device = generator
    if device.type != "cpu":
        on_device = torch.Generator(device).manual_seed(generator.initial_seed())
    units = UNITS[recipe.mask](input_ids, starts, ends, on_device)
    return unit_masks(units, generator=generator, **sizes)


@functools.lru_cache(maxsize=4)
def _boundaries(tokenizer, device):
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    return [x.to(device) for x in boundaries(tokens, tokenizer.all_special_tokens)]


def share_of(batch: dict, rank: int, world: int, room: int | None = None) -> dict:
    """The rows of process `rank` of `world`.

    Adds `masked_at [M]`, the positions of the labels in the flattened rows, and `count`: the masked
    tokens of the whole batch over `world`, so that the mean of all processes' losses is the loss
    of the whole batch. M is `room` (from `room_for`; positions without a label follow those with
    one). By default M is the number of labels; this waits for a GPU.
    """
    count = (batch["labels"] != IGNORE).sum() / world
    rows = len(batch["labels"]) // world
    part = {
        name: tensor if name == "directions" else tensor[rank * rows : (rank + 1) * rows]
        for name, tensor in batch.items()
    }
    masked = part["labels"].flatten() != IGNORE
    if room is None:
        places = masked.nonzero().squeeze(1)
    else:
        places = masked.int().argsort(descending=True, stable=True)[:room]
    return part | {"masked_at": places, "count": count}


def room_for(recipe: Recipe, world: int, device: torch.device) -> int | None:
    """Places for a process's masked tokens on a GPU; None on a CPU, which counts them first.

    Eight standard deviations above the mean: a batch with more is drawn once in 10^15.
    """
    if device.type == "cpu":
        return None
    tokens, p = recipe.batch_size // world * recipe.length, recipe.mlm_probability
    most = tokens * p + 8 * math.sqrt(tokens * p * (1 - p))
    return min(tokens, 64 * math.ceil(most / 64))
