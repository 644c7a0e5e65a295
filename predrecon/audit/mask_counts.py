"""Counting what the masks do: coverage, sizes, shares and leaks (notebook 01)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from predrecon.data.corpus import Corpus
from predrecon.masking import IGNORE, block_masks, token_masks
from predrecon.recipes import Recipe
from predrecon.seeding import torch_generator
from predrecon.training.batches import draw_batch


def roles(batch: dict, sample: int) -> tuple[list[str], list[str]]:
    """What each position of a sample is to the JEPA branch and to the MLM branch.

    Args:
        batch: `batches.draw_batch`'s, of the hybrid arm.
        sample: row of the batch.

    Returns:
        two lists of L roles: `context`, `target`, `both` (a leak) or `unused`; and `masked` or
        `context`.
    """
    length = batch["input_ids"].shape[1]
    context = set(batch["context"][sample].tolist())
    target = set(batch["targets"][sample].flatten().tolist())
    names = {(True, False): "context", (False, True): "target", (True, True): "both"}
    jepa = [names.get((p in context, p in target), "unused") for p in range(length)]
    chosen = batch["labels"][sample] != IGNORE
    return jepa, ["masked" if c else "context" for c in chosen.tolist()]


@dataclass(frozen=True)
class MaskedText:
    """One text in both disguises, and where blocks of its length fall.

    Attributes:
        tokens, masked_tokens: L tokens, clean and corrupted, [CLS] and [SEP] included.
        jepa_roles, mlm_roles: L roles, see `roles`.
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
        text: any text.
        tokenizer: with [CLS], [SEP] and [MASK].
        longest: tokens kept, [CLS] and [SEP] included.
        mlm_probability: as in `token_masks`; blocks: scales and numbers as in `block_masks`.
        seed, step: of the masks.
        batches: of 16 texts each, over which coverage is counted; the first is drawn from the
            streams of training's step.

    Raises:
        ValueError: no word in the text, or one too short for the scales (says which to change).
    """
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise ValueError("The text is empty: type a few words, or pick a sentence.")
    whole = [tokenizer.cls_token_id, *ids[: longest - 2], tokenizer.sep_token_id]
    rows = torch.tensor([whole] * 16)
    counts = {branch: np.zeros(len(whole)) for branch in ("context", "target", "masked")}
    for number in range(batches):
        stream = "" if number == 0 else f"coverage {number} "
        generator = torch_generator(seed, f"{stream}block masks", step)
        masks = block_masks(16, len(whole), generator=generator, **blocks)
        masked, labels = token_masks(
            rows,
            mask_token_id=tokenizer.mask_token_id,
            vocab_size=len(tokenizer),
            special_ids=tokenizer.all_special_ids,
            probability=mlm_probability,
            generator=torch_generator(seed, f"{stream}token masks", step),
        )
        counts["context"] += _grid(masks.context, len(whole)).sum(0)
        counts["target"] += _grid(masks.targets, len(whole)).sum(0)
        counts["masked"] += (labels != IGNORE).numpy().sum(0)
        if number == 0:
            first = {"context": masks.context, "targets": masks.targets, "labels": labels}
            first |= {"input_ids": rows, "masked_ids": masked}
    jepa, mlm = roles(first, sample=0)
    return MaskedText(
        tokenizer.convert_ids_to_tokens(whole),
        tokenizer.convert_ids_to_tokens(first["masked_ids"][0].tolist()),
        jepa,
        mlm,
        first["context"].numpy(),
        first["targets"].numpy(),
        _shares_by_position(counts, 16 * batches),
        len(ids) - (len(whole) - 2),
    )


def coverage_shares(
    recipe: Recipe, corpus: Corpus, seed: int, *, batches: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Coverage by position, and block sizes by batch, over real batches of a recipe.

    Returns:
        shares: columns `position, branch, share`.
        sizes: one row a batch: `context` and `target` positions, and `leaked`, the number of
            target positions that are in the context too.
    """
    blocks = corpus.blocks("train", recipe.length)
    counts = {branch: np.zeros(recipe.length) for branch in ("context", "target", "masked")}
    sizes, samples = [], 0
    for step in range(batches):
        batch = draw_batch(recipe, corpus, blocks, seed, step)
        context, target = (_grid(batch[k], recipe.length) for k in ("context", "targets"))
        counts["context"] += context.sum(0)
        counts["target"] += target.sum(0)
        counts["masked"] += (batch["labels"] != IGNORE).numpy().sum(0)
        samples += len(context)
        size = {"context": batch["context"].shape[-1], "target": batch["targets"].shape[-1]}
        sizes.append(size | {"leaked": int((context & target).sum())})
    return _shares_by_position(counts, samples), pd.DataFrame(sizes)


def token_fates(recipe: Recipe, corpus: Corpus, seed: int, *, batches: int) -> pd.DataFrame:
    """Shares of chosen tokens that became [MASK], another token, or stayed: `fate, ...`."""
    blocks = corpus.blocks("train", recipe.length)
    mask_id = corpus.tokenizer.mask_token_id
    counts = np.zeros(3)
    for step in range(batches):
        batch = draw_batch(recipe, corpus, blocks, seed, step)
        chosen = batch["labels"] != IGNORE
        masked, original = batch["masked_ids"][chosen], batch["input_ids"][chosen]
        hidden = masked == mask_id
        kept = masked == original
        counts += [int(hidden.sum()), int((~hidden & ~kept).sum()), int(kept.sum())]
    fate = ["[MASK]", "random token", "kept"]
    table = {"fate": fate, "expected": [0.8, 0.1, 0.1], "drawn": counts / counts.sum()}
    return pd.DataFrame(table | {"n": int(counts.sum())})


def leak_without_removal(
    *, length: int, samples: int, seed: int, context_scale=(0.65, 0.85), target_scale=(0.10, 0.25)
) -> dict[str, float]:
    """What block masks would leak if targets stayed in the context.

    Returns:
        `tokens`: share of target positions visible in the context; `blocks`: share of target
        blocks that are visible whole.
    """
    rng = np.random.default_rng(seed)
    size_c, size_t = (
        (rng.uniform(*scale, samples) * length).astype(int)
        for scale in (context_scale, target_scale)
    )
    start_c, start_t = (rng.integers(0, length - size + 1) for size in (size_c, size_t))
    ends = np.minimum(start_c + size_c, start_t + size_t)
    shared = np.maximum(0, ends - np.maximum(start_c, start_t))
    return {"tokens": shared.sum() / size_t.sum(), "blocks": (shared == size_t).mean()}


def _shares_by_position(counts: dict[str, np.ndarray], samples: int) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"position": range(len(count)), "branch": branch, "share": count / samples})
        for branch, count in counts.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _grid(positions: torch.Tensor, length: int) -> np.ndarray:
    """`[B, ...]` positions as a `[B, L]` table of who holds what."""
    grid = np.zeros((len(positions), length), dtype=bool)
    np.put_along_axis(grid, positions.flatten(1).numpy(), True, axis=1)
    return grid
