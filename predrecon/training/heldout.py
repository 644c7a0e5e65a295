"""Losses on held-out text."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from predrecon.data.corpus import Corpus
from predrecon.masking import IGNORE
from predrecon.model import PredictReconstruct
from predrecon.recipes import Recipe
from predrecon.training.batches import mask_batch

GROUP = 32  # blocks that are masked together, whatever the recipe's batch size
MASKED = 0.15  # share of held-out tokens that is masked, whatever the recipe trains with
PLATEAU = 0.05  # nats below word frequencies up to which a run has learned little else


@torch.no_grad()
def evaluate(model: PredictReconstruct, recipe: Recipe, corpus: Corpus) -> dict:
    """Held-out losses in nats on blocks spread over the validation text.

    Blocks and masks are the same for all recipes of one length, `validation_blocks` and block
    masks, and the share of masked tokens is the paper's whatever the recipe trains with, so nats
    can be compared.
    `validation_unigram` is the loss of a model that knows word frequencies alone: the plateau that
    MLM training has to leave.
    """
    device = next(model.parameters()).device
    unigram = _unigram(corpus.blocks("train", recipe.length).stream, len(corpus.tokenizer))
    sums, masked, rows = {"jepa": 0.0, "mlm": 0.0, "unigram": 0.0}, 0, 0
    model.eval()
    for batch in _batches(recipe, corpus):
        out = model(**{name: tensor.to(device) for name, tensor in batch.items()})
        labels = batch["labels"][batch["labels"] != IGNORE]
        size = len(batch["labels"])
        masked, rows = masked + len(labels), rows + size
        sums["mlm"] += out.mlm_loss.item() * len(labels)
        sums["unigram"] += unigram[labels].sum().item()
        sums["jepa"] += 0.0 if out.jepa_loss is None else out.jepa_loss.item() * size
    model.train()
    losses = {
        "validation_mlm": sums["mlm"] / masked,
        "validation_unigram": sums["unigram"] / masked,
        "validation_jepa": sums["jepa"] / rows if recipe.arm == "hybrid" else None,
        "validation_masked_tokens": masked,
    }
    return losses | {"below_unigram": below_unigram(losses)}


def check(recipe: Recipe, corpus: Corpus):
    """Refuse (ValueError) held-out text in which `evaluate` would mask no token."""
    if not any((batch["labels"] != IGNORE).any() for batch in _batches(recipe, corpus)):
        raise ValueError(
            f"{corpus.name}, validation: too few tokens, none of them is masked, so there is no "
            "held-out loss. Use more held-out text, a shorter length or more validation_blocks."
        )


def _batches(recipe: Recipe, corpus: Corpus) -> Iterator[dict]:
    """Held-out blocks, masked, in groups, on the CPU."""
    blocks = corpus.blocks("validation", recipe.length)
    rows = np.linspace(0, len(blocks) - 1, min(len(blocks), recipe.validation_blocks)).astype(int)
    masks = dataclasses.replace(recipe, mlm_probability=MASKED)
    for start in range(0, len(rows), GROUP):
        group = blocks.batch(rows[start : start + GROUP])
        yield mask_batch(masks, corpus, group, seed=0, step=start)


def probe_batch(recipe: Recipe, corpus: Corpus, device) -> tuple[dict, torch.Tensor]:
    """The first batch of `evaluate` on a device, and -log p of its masked tokens by frequency."""
    batch = next(_batches(recipe, corpus))
    unigram = _unigram(corpus.blocks("train", recipe.length).stream, len(corpus.tokenizer))
    labels = batch["labels"][batch["labels"] != IGNORE]
    return {name: tensor.to(device) for name, tensor in batch.items()}, unigram[labels].to(device)


def below_unigram(losses: dict) -> float:
    """Nats by which the held-out MLM loss of `evaluate` is below that of word frequencies."""
    return losses["validation_unigram"] - losses["validation_mlm"]


def learned(*losses: dict) -> str:
    """In words: how far the losses of `evaluate`, of one run or more, are below word frequencies.

    On the plateau also what that means and what to change. Language models learn word frequencies
    first (Chang and Bergen 2022). While the loss stays there, hidden states of different tokens are
    nearly parallel; attention, which is needed to leave the plateau, is learned last (Gopalani and
    Hu 2025, arXiv 2506.13688).
    """
    nats = [below_unigram(run) for run in losses]
    side = "above" if max(nats) < 0 else "below"
    ends = sorted({f"{-n if side == 'above' else n:.2f}" for n in nats}, key=float)
    text = f"{' to '.join(dict.fromkeys((ends[0], ends[-1])))} nats {side} word frequencies"
    if min(nats) >= PLATEAU:
        return text
    return (
        f"{text}: on the plateau, where geometry says nothing about the objective. Train longer "
        "or, if the recipe is the published one, use architecture='modern' and optimizer='muon'."
    )


def _unigram(stream: np.ndarray, vocabulary: int) -> torch.Tensor:
    """-log p `[V]` of the stream's tokens, add-one smoothed, counted a chunk at a time."""
    counts = np.ones(vocabulary)
    for start in range(0, len(stream), 10_000_000):
        counts += np.bincount(stream[start : start + 10_000_000], minlength=vocabulary)
    return torch.from_numpy(-np.log(counts / counts.sum()))
