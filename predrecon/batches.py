"""Batches and masks of a step, as functions of (seed, step).

They are drawn on the CPU, whatever device trains: so a GPU, two processes and a resumed run all see
the same ones. Shapes and counts are known on the host, and the copies to a GPU do not block, so
that nothing waits for the device.
"""

import torch

from predrecon.corpus import Blocks, Corpus
from predrecon.masking import IGNORE, block_masks, token_masks
from predrecon.recipes import Recipe
from predrecon.seeding import torch_generator


def draw_batch(recipe: Recipe, corpus: Corpus, blocks: Blocks, seed: int, step: int) -> dict:
    """Everything the model's forward takes at a step, on the CPU; see `mask_batch`."""
    return mask_batch(
        recipe, corpus, blocks.batch(blocks.order(seed, step, recipe.batch_size)), seed, step
    )


def mask_batch(recipe: Recipe, corpus: Corpus, input_ids: torch.Tensor, seed: int, step: int):
    """Token masks and, for the hybrid arm, block masks for `input_ids [B, L]`.

    Returns:
        `input_ids`, `masked_ids`, `labels` `[B, L]`, and for the hybrid `context [B, C]`,
        `targets [B, K, T]`.
    """
    tokenizer = corpus.tokenizer
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
            generator=torch_generator(seed, "block masks", step),
        )
        batch |= {"context": masks.context, "targets": masks.targets}
    return batch


def share_of(batch: dict, rank: int, world: int) -> dict:
    """The rows of one of `world` processes, with what makes its loss a part of the whole's.

    Adds `masked_at [M]`, where the labels are in the flattened rows, and `count`: the masked tokens
    of the whole batch over `world`, so that the mean of all processes' losses is the loss of the
    whole batch.
    """
    total = int((batch["labels"] != IGNORE).sum())
    rows = len(batch["labels"]) // world
    part = {name: tensor[rank * rows : (rank + 1) * rows] for name, tensor in batch.items()}
    part["masked_at"] = (part["labels"].flatten() != IGNORE).nonzero().squeeze(1)
    return part | {"count": total / world}


def to_device(batch: dict, device: torch.device) -> dict:
    """Tensors on `device`; copies to a GPU run beside the computation."""
    if device.type == "cpu":
        return batch
    return {
        name: value.pin_memory().to(device, non_blocking=True) if torch.is_tensor(value) else value
        for name, value in batch.items()
    }
