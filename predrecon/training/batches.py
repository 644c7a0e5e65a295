"""Batches and masks of a step, as functions of (seed, step), drawn on the device that trains.

All CPUs draw the same masks, and so do all GPUs of one model: one process, eight processes and a
resumed run see the same. On a GPU shapes are fixed before anything is drawn, so nothing waits.
"""

import math

import torch

from predrecon.data.corpus import Blocks, Corpus
from predrecon.masking import IGNORE, block_masks, token_masks
from predrecon.recipes import Recipe
from predrecon.seeding import torch_generator


def draw_batch(
    recipe: Recipe, corpus: Corpus, blocks: Blocks, seed: int, step: int, device="cpu"
) -> dict:
    """Everything the model's forward takes at a step, on the device; see `mask_batch`."""
    rows = blocks.order(seed, step, recipe.batch_size)
    return mask_batch(recipe, corpus, blocks.batch(rows, device), seed, step)


def mask_batch(recipe: Recipe, corpus: Corpus, input_ids: torch.Tensor, seed: int, step: int):
    """`input_ids`, `masked_ids`, `labels [B, L]`; hybrid: `context [B, C]`, `targets [B, K, T]`."""
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
        masks = block_masks(
            len(input_ids),
            recipe.length,
            context_scale=recipe.context_scale,
            target_scale=recipe.target_scale,
            num_targets=recipe.num_targets,
            min_context=recipe.min_context,
            leak=recipe.leak,
            generator=torch_generator(seed, "block masks", step),
            device=device,
            wait=device.type == "cpu",
        )
        batch |= {"context": masks.context, "targets": masks.targets}
    return batch


def share_of(batch: dict, rank: int, world: int, room: int | None = None) -> dict:
    """The rows of process `rank` of `world`.

    Adds `masked_at [M]`, the positions of the labels in the flattened rows, and `count`: the masked
    tokens of the whole batch over `world`, so that the mean of all processes' losses is the loss
    of the whole batch. M is `room` (from `room_for`; positions without a label follow those with
    one), by default the number of labels, which waits for a GPU.
    """
    count = (batch["labels"] != IGNORE).sum() / world
    rows = len(batch["labels"]) // world
    part = {name: tensor[rank * rows : (rank + 1) * rows] for name, tensor in batch.items()}
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
