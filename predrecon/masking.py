"""Masks of the JEPA branch and token masks (MLM branch): pure functions of shapes and a generator.

Source: paper, Section 3.2 ("Block masking", "BERT masking") and Table 1; block masks after I-JEPA
(Assran et al. 2023), token masks after BERT (Devlin et al. 2019). `UNITS` lists targets other than
blocks: positions, spans, words or sentences (`unit_masks`).
"""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

IGNORE = -100
"""Label of positions that do not count in the MLM loss (PyTorch's `ignore_index`)."""

_CANDIDATES = 64  # placements tried at once for each sample before the constructed one is taken


@dataclass(frozen=True)
class BlockMasks:
    """Sorted positions: what the context encoder sees, and the contiguous target blocks."""

    context: torch.Tensor  # (B, C)
    targets: torch.Tensor  # (B, K, T)


def block_masks(
    batch_size: int,
    length: int,
    *,
    context_scale: tuple[float, float] = (0.65, 0.85),
    target_scale: tuple[float, float] = (0.10, 0.25),
    num_targets: int = 2,
    min_context: int = 32,
    leak: bool = False,
    lengths: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    wait: bool = True,
) -> BlockMasks:
    """Draw one context block and `num_targets` target blocks for every sample.

    Block sizes are drawn once per batch, so that it stays rectangular; positions are drawn per
    sample. A target block is contiguous; two target blocks of one sample may overlap, as in I-JEPA.
    Target positions are then removed from the context block. A window at a random offset trims the
    rest to the batch's common size, so that no position is favoured. If fewer than `min_context`
    positions would remain, the placement is drawn again (up to 64 times, all at once); if none
    fits, context and targets are put at opposite ends of the sample.

    Args:
        batch_size, length: B samples of L positions.
        context_scale, target_scale: smallest and largest block, as a share of the shortest sample.
        num_targets: K, target blocks of a sample.
        min_context: context positions that must remain after the targets are removed.
        leak: leave the targets in the context, to study that fault: the public code's masks show
            79 % of the target tokens.
        lengths: `[B]` real tokens in each sample, for padded batches: masks fall on the first
            `lengths[i]` positions only. Default: all `length` positions are real.
        generator: source of randomness (CPU). On another device it seeds a generator there.
        device: where positions are drawn and stay.
        wait: if False, C is max(min_context, context block - K T), which every placement leaves,
            instead of the batch's smallest count. It is known before anything is drawn, so the host
            does not wait for the device. From 32 samples on, the two rarely differ.

    Returns:
        `BlockMasks` with `.context [B, C]` and `.targets [B, K, T]`, `C >= min_context`.

    Raises:
        ValueError: scales out of order or outside (0, 1], or samples too short for the request; the
            message says which number to change.
    """
    real, shortest = _check_lengths(batch_size, length, lengths, device)
    for name, scale in (("context_scale", context_scale), ("target_scale", target_scale)):
        if len(scale) != 2 or not 0.0 < scale[0] <= scale[1] <= 1.0:
            raise ValueError(f"{name}={tuple(scale)}: expected (low, high), 0 < low <= high <= 1.")
    if num_targets < 1:
        raise ValueError(f"num_targets={num_targets}: at least one target block is needed.")
    check_room(shortest, context_scale, target_scale, min_context)

    size_c = _draw_size(context_scale, shortest, generator)
    size_t = _draw_size(target_scale, shortest, generator)
    generator = _on(device, generator)

    # M placements a sample; the first that leaves enough context wins (the last is constructed).
    shape = (batch_size, _CANDIDATES)
    start_c = _uniform_int(real[:, None] - size_c + 1, shape, generator)  # (B, M)
    spread = (real - size_t + 1)[:, None, None]
    start_t = _uniform_int(spread, (*shape, num_targets), generator)  # (B, M, K)
    last_c, last_t = _opposite_ends(real, size_c, size_t, num_targets, min_context, generator)
    start_c = torch.cat([start_c, last_c[:, None]], dim=1)
    start_t = torch.cat([start_t, last_t[:, None]], dim=1)  # (B, M+1, K)
    fits = _visible_count(start_c, start_t, size_c, size_t) >= min_context  # (B, M+1)
    order = torch.arange(_CANDIDATES + 1, device=device)
    chosen = torch.where(fits, order, _CANDIDATES).amin(dim=1)  # (B,)

    rows = torch.arange(batch_size, device=device)
    start_c, start_t = start_c[rows, chosen], start_t[rows, chosen]  # (B,), (B, K)
    visible = _visible(start_c, start_t, size_c, size_t, length, leak)  # (B, L)
    least = size_c if leak else max(min_context, size_c - num_targets * size_t)
    context = _rectangular(visible, None if wait else least, generator)
    return BlockMasks(context, start_t[..., None] + torch.arange(size_t, device=device))


def unit_masks(
    units: torch.Tensor,
    *,
    context_scale: tuple[float, float] = (0.65, 0.85),
    target_scale: tuple[float, float] = (0.10, 0.25),
    num_targets: int = 2,
    min_context: int = 32,
    generator: torch.Generator | None = None,
) -> BlockMasks:
    """Targets made of whole units (words, spans, ...) in random order, instead of blocks.

    Sizes are drawn as in `block_masks`. Units are taken in random order until the targets'
    K T positions are full; the last unit is cut to fit, so that the batch is rectangular. No two
    targets overlap. The context is a window of the positions that are left.

    Args:
        units: `[B, L]`, the number of the unit that each position belongs to, from 0 to L - 1.
        context_scale, target_scale, num_targets, min_context: as in `block_masks`.
        generator: source of randomness (CPU). On another device it seeds a generator there.

    Returns:
        `BlockMasks` with `.context [B, C]`, C = min(context block, L - K T), and
        `.targets [B, K, T]`, each target's positions sorted, on the units' device.

    Raises:
        ValueError: the largest targets would leave fewer than `min_context` positions.
    """
    batch_size, length = units.shape
    check_room(length, context_scale, target_scale, min_context, num_targets=num_targets)
    size_c = _draw_size(context_scale, length, generator)
    size_t = _draw_size(target_scale, length, generator)
    total, generator = num_targets * size_t, _on(units.device, generator)
    key = torch.rand(units.shape, generator=generator, device=units.device).gather(1, units)
    chosen = key.argsort(dim=1, stable=True)[:, :total]  # (B, K T), unit after unit
    hidden = torch.zeros_like(units, dtype=torch.bool).scatter_(1, chosen, True)
    context = _rectangular(~hidden, min(size_c, length - total), generator)
    return BlockMasks(context, chosen.view(batch_size, num_targets, size_t).sort(dim=-1).values)


def positions(ids, starts, ends, generator) -> torch.Tensor:
    """Every position is a unit: targets are scattered, with their neighbours as context."""
    return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)


def spans(ids, starts, ends, generator) -> torch.Tensor:
    """Geometric spans of 5 tokens on average (SpanBERT, Joshi et al. 2020; not cut at 10)."""
    begins = torch.rand(ids.shape, generator=generator, device=ids.device) < 0.2
    return _numbered(begins)


def words(ids, starts, ends, generator) -> torch.Tensor:
    """Whole words: WordPiece pieces ("##...") belong to the token before, as in BERT."""
    return _numbered(starts[ids])


def sentences(ids, starts, ends, generator) -> torch.Tensor:
    """Whole sentences: each ends with ".", "!", "?" or a special token."""
    return _numbered(ends[ids].roll(1, dims=1))


UNITS = {"random": positions, "spans": spans, "words": words, "sentences": sentences}
"""`{mask: (ids [B, L], starts [V], ends [V], generator) -> units [B, L]}`; blocks are not here.

`starts` is True at tokens that begin a word, `ends` at those that end a sentence (`boundaries`)."""


def boundaries(tokens: list[str], special: Iterable[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """`starts [V]`, `ends [V]` of a vocabulary, by id: WordPiece ("##") or byte-level BPE ("Ġ").

    Raises:
        ValueError: the vocabulary is of neither kind.
    """
    special = set(special)
    pieces = any(token.startswith("##") for token in tokens)
    bytewise = any(token.startswith("Ġ") for token in tokens)
    if not pieces and not bytewise:
        raise ValueError(
            "This vocabulary marks words neither by '##' nor by 'Ġ', so whole words are unknown: "
            "use another mask, for example mask='spans'."
        )
    marks = [t in special or (not t.startswith("##") if pieces else t[0] == "Ġ") for t in tokens]
    ends = [token in special or token in (".", "!", "?") for token in tokens]
    return torch.tensor(marks), torch.tensor(ends)


def _numbered(begins: torch.Tensor) -> torch.Tensor:
    """Unit numbers `[B, L]` from where units begin; the first position always begins one."""
    begins = begins.clone()
    begins[:, 0] = False
    return begins.cumsum(1)


def token_masks(
    input_ids: torch.Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    special_ids: Iterable[int],
    probability: float = 0.15,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT's corruption: 80 % [MASK], 10 % a random token, 10 % unchanged.

    Args:
        input_ids: `[B, L]` token ids.
        mask_token_id, vocab_size: id of [MASK]; V.
        special_ids: ids never chosen and never drawn as a replacement ([PAD], [CLS], [SEP], ...);
            replacements are drawn uniformly from the others.
        probability: chance that an ordinary token is chosen.
        generator: source of randomness (CPU). On another device it seeds a generator there.

    Returns:
        masked ids `[B, L]` and labels `[B, L]`: the original id where chosen, -100 elsewhere; both
        on the device of `input_ids`.

    Raises:
        ValueError: probability outside [0, 1], an id outside the vocabulary, or no ordinary id.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability={probability}: expected a number from 0 to 1.")
    ids, device = input_ids, input_ids.device
    special, ordinary = _vocabulary(vocab_size, mask_token_id, tuple(special_ids), device)
    options = {"generator": _on(device, generator), "device": device}
    chosen = (torch.rand(ids.shape, **options) < probability) & ~special[ids]
    fate = torch.rand(ids.shape, **options)
    random_ids = ordinary[torch.randint(len(ordinary), ids.shape, **options)]
    masked = torch.where(chosen & (fate < 0.8), mask_token_id, ids)
    masked = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), random_ids, masked)
    return masked, torch.where(chosen, ids, IGNORE)


@functools.lru_cache(maxsize=16)
def _vocabulary(vocab_size: int, mask_token_id: int, special_ids: tuple[int, ...], device):
    """`[V]` True at special ids, and the ordinary ids `[V']`, kept on the device."""
    special = torch.zeros(vocab_size, dtype=torch.bool)
    for name, token in [
        ("mask_token_id", mask_token_id),
        *(("special_ids", i) for i in special_ids),
    ]:
        if not 0 <= token < vocab_size:
            raise ValueError(f"{name} holds {token}, outside the vocabulary of {vocab_size} ids.")
        special[token] = True
    ordinary = (~special).nonzero().squeeze(1)
    if len(ordinary) == 0:
        raise ValueError("special_ids covers the whole vocabulary: no token is left to predict.")
    return special.to(device), ordinary.to(device)


def _on(device, generator: torch.Generator | None) -> torch.Generator | None:
    """A generator on the device, seeded from the one on the CPU without waiting for the device."""
    if torch.device(device).type == "cpu" or generator is None:
        return generator
    start = torch.randint(2**62, (1,), generator=generator).tolist()[0]
    return torch.Generator(device).manual_seed(start)


def _visible_count(start_c, start_t, size_c: int, size_t: int) -> torch.Tensor:
    """Number `[...]` of context positions outside the targets, from the blocks' first positions."""
    first = start_t.sort(dim=-1).values  # (..., K)
    after = torch.cat([first[..., 1:], torch.full_like(first[..., :1], 2**31)], dim=-1)
    end = (first + size_t).minimum(after)  # of the part that no later block covers
    low, high = start_c[..., None], start_c[..., None] + size_c
    return size_c - (end.minimum(high) - first.maximum(low)).clamp(min=0).sum(-1)


def _visible(start_c, start_t, size_c: int, size_t: int, length: int, leak: bool) -> torch.Tensor:
    """`[..., L]` True in the context block and, unless targets leak, in no target block."""
    position = torch.arange(length, device=start_c.device)
    in_context = _inside(position - start_c[..., None], size_c)
    if leak:
        return in_context
    return in_context & ~_inside(position - start_t[..., None], size_t).any(dim=-2)


def _inside(offset: torch.Tensor, size: int) -> torch.Tensor:
    return (offset >= 0) & (offset < size)


def _opposite_ends(real, size_c, size_t, num_targets, min_context, generator):
    """A placement that always leaves `min_context`: context flush at one end, targets beyond it."""
    context_first = torch.rand(real.shape, generator=generator, device=real.device) < 0.5
    room = (real - size_t - min_context + 1)[:, None]
    distance = _uniform_int(room, (len(real), num_targets), generator)  # from the free end
    start_t = torch.where(context_first[:, None], real[:, None] - size_t - distance, distance)
    return torch.where(context_first, 0, real - size_c), start_t


def _rectangular(visible: torch.Tensor, size: int | None, generator) -> torch.Tensor:
    """`[B, C]`: a window of `size` visible positions per row, by default the smallest count."""
    counts = visible.sum(dim=1)  # (B,)
    size = int(counts.min()) if size is None else size
    ranked = visible.int().argsort(dim=1, descending=True, stable=True)  # visible first, in order
    offset = _uniform_int(counts - size + 1, counts.shape, generator)
    return ranked.gather(1, offset[:, None] + torch.arange(size, device=visible.device))


def _uniform_int(high: torch.Tensor, shape, generator) -> torch.Tensor:
    """Integers from 0 to `high - 1`, element by element (`high` broadcasts to `shape`)."""
    share = torch.rand(shape, generator=generator, dtype=torch.float64, device=high.device)
    return (share * high).long().minimum(high - 1)


def _draw_size(scale, length: int, generator) -> int:
    share = scale[0] + (scale[1] - scale[0]) * torch.rand(1, generator=generator).tolist()[0]
    return max(1, int(share * length))


def _check_lengths(batch_size: int, length: int, lengths, device) -> tuple[torch.Tensor, int]:
    if batch_size < 1 or length < 1:
        raise ValueError(f"batch_size={batch_size}, length={length}: both must be at least 1.")
    if lengths is None:
        return torch.full((batch_size,), length, device=device), length
    real = torch.as_tensor(lengths).cpu().long()
    if real.shape != (batch_size,) or real.min() < 1 or real.max() > length:
        raise ValueError(
            f"lengths must hold batch_size={batch_size} integers from 1 to length={length}, "
            f"got shape {tuple(real.shape)}, {real.tolist()[:8]}."
        )
    return real.to(device), int(real.min())


def check_room(
    shortest: int, context_scale, target_scale, min_context: int, *, num_targets: int = 1
) -> None:
    """ValueError where masks of these scales cannot leave `min_context` of `shortest` tokens.

    `num_targets`: targets that cannot overlap; 1 for block masks, which may all coincide.
    """
    smallest_context = max(1, int(context_scale[0] * shortest))
    rest = shortest - num_targets * max(1, int(target_scale[1] * shortest))
    if min_context < 1:
        raise ValueError(f"min_context={min_context}: at least one context position is needed.")
    if smallest_context < min_context:
        raise ValueError(
            f"The shortest sample has {shortest} tokens: its smallest context block, "
            f"{context_scale[0]} x {shortest} = {smallest_context}, is below "
            f"min_context={min_context}. Use samples of at least "
            f"{math.ceil(min_context / context_scale[0])} tokens, lower min_context to "
            f"{smallest_context} or raise context_scale."
        )
    if rest < min_context:
        raise ValueError(
            f"The shortest sample has {shortest} tokens: {num_targets} of its largest targets, "
            f"{target_scale[1]} x {shortest} tokens, leave only {max(0, rest)} for "
            f"min_context={min_context}. Lower target_scale or min_context, or use longer samples."
        )
