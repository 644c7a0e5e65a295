"""Counting what the masks do: coverage, sizes, shares and leaks (notebook 01)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from predrecon.data.corpus import Corpus
from predrecon.masking import IGNORE, block_masks, token_masks
from predrecon.recipes import Recipe, read
from predrecon.seeding import torch_generator
from predrecon.training.batches import draw_batch


def block_table(batch: dict, samples: int) -> pd.DataFrame:
    """The context positions of the first `samples` of a batch, one row per sample."""
    return pd.DataFrame({"context": [str(row.tolist()) for row in batch["context"][:samples]]})


def roles(batch: dict, sample: int) -> tuple[list[str], list[str]]:
    """The role of each position in a row of a hybrid batch, in the JEPA and in the MLM branch.

    Returns:
        two lists of L roles: `context`, `target`, `both` (a leak) or `unused`; and `masked` or
        `context`.
    """
    context, target, masked = (table[sample] for table in _positions(batch).values())
    names = np.array([["unused", "target"], ["context", "both"]])
    jepa = names[context.astype(int), target.astype(int)]
    return jepa.tolist(), np.where(masked, "masked", "context").tolist()


@dataclass(frozen=True)
class MaskedText:
    """One text of L tokens masked in two ways, and where masks fall in texts of its length.

    Attributes:
        tokens, masked_tokens: clean and corrupted, [CLS] and [SEP] included.
        context: `[B, C]`; targets: `[B, K, T]`; the first row is the text's.
        shares: coverage by position, columns `position, branch, share`.
        cut: tokens left out because the text is too long.
    """

    tokens: list[str]
    masked_tokens: list[str]
    jepa_roles: list[str]
    mlm_roles: list[str]
    context: np.ndarray
    targets: np.ndarray
    shares: pd.DataFrame
    cut: int


def masked_text(
    text: str,
    tokenizer,
    longest: int,
    *,
    mlm_probability: float = 0.15,
    seed: int = 0,
    step: int = 0,
    batches: int = 24,
    **blocks,
) -> MaskedText:
    """Both masks of one text, drawn as training draws them for a batch of texts of its length.

    Args:
        longest: maximum number of tokens, [CLS] and [SEP] included.
        mlm_probability: as in `token_masks`; blocks: scales and numbers as in `block_masks`.
        batches: of 16 texts each, over which coverage is counted; the first is drawn from the
            streams of training's step.

    Raises:
        ValueError: no word in the text, or one too short for the scales (says which to change).
    """
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise ValueError("The text is empty: type a few words, or pick a sentence.")
    ids, cut = ids[: longest - 2], max(0, len(ids) - (longest - 2))
    sequence = [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
    masks = []
    for number in range(batches):
        stream = "" if number == 0 else f"coverage {number} "
        generator = torch_generator(seed, f"{stream}block masks", step)
        positions = block_masks(16, len(sequence), generator=generator, **blocks)
        masked_ids, labels = token_masks(
            torch.tensor([sequence] * 16),
            mask_token_id=tokenizer.mask_token_id,
            vocab_size=len(tokenizer),
            special_ids=tokenizer.all_special_ids,
            probability=mlm_probability,
            generator=torch_generator(seed, f"{stream}token masks", step),
        )
        batch = {"context": positions.context, "targets": positions.targets}
        masks.append(batch | {"masked_ids": masked_ids, "labels": labels})
    first = masks[0]
    both = (sequence, first["masked_ids"][0].tolist())
    tokens = map(tokenizer.convert_ids_to_tokens, both)
    blocks = first["context"].numpy(), first["targets"].numpy()
    return MaskedText(*tokens, *roles(first, sample=0), *blocks, _shares_by_position(masks), cut)


def coverage_shares(
    recipe: Recipe, corpus: Corpus, seed: int, *, batches: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Coverage by position, and block sizes by batch, over real batches of a recipe.

    Returns:
        `position, branch, share`; and one row per batch with the number of `context` and `target`
        positions, and of `leaked` ones, which are both.
    """
    masks = _draw(recipe, corpus, seed, batches)
    sizes = []
    for batch in masks:
        context, target, _ = _positions(batch).values()
        size = {"context": batch["context"].shape[-1], "target": batch["targets"].shape[-1]}
        sizes.append(size | {"leaked": int((context & target).sum())})
    return _shares_by_position(masks), pd.DataFrame(sizes)


def token_fates(recipe: Recipe, corpus: Corpus, seed: int, *, batches: int) -> pd.DataFrame:
    """Shares of chosen tokens that became [MASK] or another token, or were kept: `fate, ...`."""
    counts = np.zeros(3)
    for batch in _draw(recipe, corpus, seed, batches):
        chosen = batch["labels"] != IGNORE
        masked, original = batch["masked_ids"][chosen], batch["input_ids"][chosen]
        hidden, same = masked == corpus.tokenizer.mask_token_id, masked == original
        counts += [int(hidden.sum()), int((~hidden & ~same).sum()), int(same.sum())]
    fate = ["[MASK]", "random token", "kept"]
    table = {"fate": fate, "expected": [0.8, 0.1, 0.1], "drawn": counts / counts.sum()}
    return pd.DataFrame(table | {"n": int(counts.sum())})


def leak_without_removal(
    *, length: int, samples: int, seed: int, context_scale=(0.65, 0.85), target_scale=(0.10, 0.25)
) -> dict[str, float]:
    """What block masks would leak if targets stayed in the context.

    Returns:
        `tokens`: share of target positions visible in the context; `blocks`: share of target
        blocks that are visible as a whole.
    """
    rng, scales = np.random.default_rng(read("seed", seed)), (context_scale, target_scale)
    size_c, size_t = ((rng.uniform(*s, samples) * length).astype(int) for s in scales)
    start_c, start_t = (rng.integers(0, length - size + 1) for size in (size_c, size_t))
    ends = np.minimum(start_c + size_c, start_t + size_t)
    shared = np.maximum(0, ends - np.maximum(start_c, start_t))
    return {"tokens": shared.sum() / size_t.sum(), "blocks": (shared == size_t).mean()}


def _draw(recipe: Recipe, corpus: Corpus, seed: int, batches: int) -> list[dict]:
    blocks = corpus.blocks("train", recipe.length)
    return [draw_batch(recipe, corpus, blocks, seed, step) for step in range(batches)]


def _positions(batch: dict) -> dict[str, np.ndarray]:
    """Which positions `[B, L]` of a batch are context, target, and masked."""
    masked = (batch["labels"] != IGNORE).numpy()
    tables = {"context": np.zeros_like(masked), "target": np.zeros_like(masked)}
    for table, name in zip(tables.values(), ("context", "targets"), strict=True):
        np.put_along_axis(table, batch[name].flatten(1).numpy(), True, axis=1)
    return tables | {"masked": masked}


def _shares_by_position(batches: list[dict]) -> pd.DataFrame:
    """How often each branch covers each position: `position, branch, share`."""
    positions = [_positions(batch) for batch in batches]
    shares = {
        branch: np.concatenate([tables[branch] for tables in positions]).mean(axis=0)
        for branch in positions[0]
    }
    wide = pd.DataFrame(shares).rename_axis("position").reset_index()
    return wide.melt("position", var_name="branch", value_name="share")
