"""Token vectors to sentence vectors, four ways, and one pass over texts for all of them.

One rule decides which special tokens an encoder reads (`reads_own_template`): predrecon's encoders
read [CLS] s1 [SEP] s2 [SEP], as they were trained; any other encoder reads its own tokenizer's
template (RoBERTa: <s> s1 </s></s> s2 </s>; GPT-2: no special token). No token types are passed:
both texts of a pair have the same type.
"""

import math
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from predrecon.model import PredictReconstructConfig
from predrecon.seeding import torch_generator

MAX_LENGTH = 128  # tokens per text in the analysis (paper's code); fewer if the encoder takes fewer
POOLINGS = ("mean", "max", "weighted", "attention")
PADDINGS = ("ignored", "attended")
"""How an encoder treats padding. In the equations no token attends to it; the published numbers
come from code that pads every text to `MAX_LENGTH` and lets all tokens attend to padding. Pooling
leaves it out in both cases.
"""


def pool(
    hidden: torch.Tensor,
    attention_mask: torch.Tensor,
    how: str,
    *,
    direction: torch.Tensor | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """One vector per text from its token vectors, over real positions (Eq. 10 is `"mean"`).

    Refuses (ValueError) an unknown pooling and shapes that do not fit.

    Args:
        hidden: `[B, L, D]`; half precision is pooled in float32.
        attention_mask: `[B, L]`, 1 on real tokens; a row without any is refused (ValueError).
        how: `"mean"`, `"max"`, `"weighted"` (softmax of a learned score per token; never trained in
            the paper, so uniform, so the mean) or `"attention"` (softmax of a random query
            against random keys; the paper's is neither trained nor seeded, ours is seeded).
            Paper, Section 6.
        direction: `[D]`; its product with a token's vector is the token's score in `"weighted"` and
            `"attention"`. Default: zeros for `"weighted"`, as published; for `"attention"` drawn
            from `seed`, since one query against linear keys is a direction too.
        seed: draws query and key of `"attention"`. Use the same for all models compared.

    Returns:
        `[B, D]`.
    """
    if how not in POOLINGS:
        raise ValueError(f"pooling {how!r}: expected one of {', '.join(POOLINGS)}.")
    if hidden.ndim != 3 or attention_mask.shape != hidden.shape[:2]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} and attention_mask {tuple(attention_mask.shape)}: "
            "expected [B, L, D] and [B, L]."
        )
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))  # halves round too much
    real = attention_mask.bool()  # (B, L)
    if not real.any(dim=1).all():
        raise ValueError("attention_mask has a row without a real token: nothing to pool.")
    if how == "max":
        return hidden.masked_fill(~real[..., None], -torch.inf).amax(dim=1)
    if how == "mean" or (how == "weighted" and direction is None):
        scores = hidden.new_zeros(real.shape)
    elif how in ("weighted", "attention"):
        if direction is None:
            direction = attention_direction(hidden.shape[-1], seed)
        scores = hidden @ direction.to(hidden)
    else:
        raise NotImplementedError(f"pooling {how!r} is listed in POOLINGS and not computed here.")
    shares = scores.masked_fill(~real, -torch.inf).softmax(dim=1)  # (B, L), 0 on padding
    return torch.einsum("bl,bld->bd", shares, hidden.masked_fill(~real[..., None], 0.0))


def attention_direction(dim: int, seed: int) -> torch.Tensor:
    """q K / sqrt(D) `[D]`: q standard normal, K uniform as a fresh linear layer's weight."""
    generator = torch_generator(seed, "attention pooling")
    query = torch.randn(dim, generator=generator)
    key = (torch.rand(dim, dim, generator=generator) * 2 - 1) / math.sqrt(dim)
    return query @ key / math.sqrt(dim)


def embed(
    encoder,
    tokenizer,
    first: list[str],
    second: list[str] | None = None,
    *,
    poolings: tuple[str, ...] = POOLINGS,
    directions: dict[str, torch.Tensor] | None = None,
    max_length: int = MAX_LENGTH,
    batch_tokens: int = 8192,
    padding: str = "ignored",
    own: Callable | None = None,
) -> dict[str, np.ndarray]:
    """Sentence vectors of N texts under all `poolings` from one pass of the encoder.

    Args:
        encoder, tokenizer: what `AutoModel` and `AutoTokenizer.from_pretrained(run_dir)` return.
        first, second: N texts each, at least one (else ValueError); with `second`, "s1 [SEP] s2"
            is encoded as one sequence. A string is one text.
        own: the encoder's own pooling, needed if `"own"` is among `poolings`: a function of hidden
            `[B, L, D]` and mask `[B, L]`, padded on the right, that gives `[B, D']`.
        directions: further poolings by name, each a scoring vector `[D]` as in `pool`.
        max_length: tokens kept of a text, at most what the encoder takes.
        batch_tokens: padded tokens in a batch at most; texts are sorted by length first.
        padding: one of `PADDINGS` (else ValueError). `"attended"` pads every text to `max_length`,
            so that no vector depends on the batch.

    Returns:
        `{pooling: float32 [N, D]}` in the order given, `directions` last.
    """
    first, second = as_texts(first), as_texts(second)
    ways = {how: partial(pool, how=how) for how in poolings}
    if "own" in ways and own is not None:
        ways["own"] = own
    for name, direction in (directions or {}).items():
        ways[name] = partial(pool, how="attention", direction=direction)
    vectors = {}
    batching = {"max_length": max_length, "batch_tokens": batch_tokens, "padding": padding}
    for rows, hidden, mask in token_vectors(encoder, tokenizer, first, second, **batching):
        for name, way in ways.items():
            pooled = way(hidden, mask).cpu().numpy()
            if name not in vectors:
                vectors[name] = np.empty((len(first), pooled.shape[-1]), np.float32)
            vectors[name][rows] = pooled
    return vectors


def token_vectors(
    encoder,
    tokenizer,
    first,
    second=None,
    *,
    max_length=MAX_LENGTH,
    batch_tokens=8192,
    padding="ignored",
    every_layer=False,
):
    """Batches `(rows, hidden [B, L, D], mask [B, L])` of texts `rows`: see `embed`.

    `mask` is 1 on real tokens, whatever the encoder attends to. With `every_layer`, hidden is a
    list: the embedding output, then the output of every layer (`hidden_states` of transformers).
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r}: expected one of {', '.join(PADDINGS)}.")
    if encoder.training:
        raise ValueError("The encoder is in training mode, maybe with dropout: call .eval() first.")
    attended, pad_id = padding == "attended", tokenizer.pad_token_id
    if attended and pad_id is None:
        raise ValueError("padding='attended': this tokenizer has no padding to attend to.")
    length = min(max_length, longest_input(encoder))
    own, device = reads_own_template(encoder), next(encoder.parameters()).device
    ids = token_ids(tokenizer, first, second, length, own_template=own)
    widths = [length if attended else len(text) for text in ids]
    for rows in _batches(widths, batch_tokens):
        rest = [max(widths[i] for i in rows) - len(ids[i]) for i in rows]  # padded on the right
        padded = [ids[i] + [pad_id or 0] * n for i, n in zip(rows, rest, strict=True)]
        real = [[1] * len(ids[i]) + [0] * n for i, n in zip(rows, rest, strict=True)]
        padded, real = (torch.tensor(x, device=device) for x in (padded, real))
        mask = torch.ones_like(real) if attended else real
        with torch.inference_mode():
            inputs = dict(input_ids=padded, attention_mask=mask)
            if every_layer:
                states = encoder(**inputs, output_hidden_states=True).hidden_states
                hidden = [state.float() for state in states]
            else:
                hidden = encoder(**inputs).last_hidden_state.float()
        yield rows, hidden, real


def reads_own_template(encoder) -> bool:
    """Whether an encoder reads its tokenizer's template; our own encoders do not."""
    return getattr(encoder.config, "model_type", "") != PredictReconstructConfig.model_type


def longest_input(encoder) -> int:
    """The maximum number of tokens that an encoder takes; `sys.maxsize` if it has no limit."""
    longest = getattr(encoder.config, "max_position_embeddings", None) or sys.maxsize
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings"):
            reserved = getattr(module, "padding_idx", None)  # RoBERTa-like models count from here
            longest -= 0 if reserved is None else reserved + 1
    return longest


def as_texts(texts) -> list[str] | None:
    """A list of texts; a string is one text. ValueError if an item is not a text."""
    texts = [texts] if isinstance(texts, str) else texts if texts is None else list(texts)
    for number, text in enumerate(texts or []):
        if not isinstance(text, str):
            raise ValueError(f"Text {number} is {text!r}: expected a string.")
    return texts


def _batches(lengths: list[int], batch_tokens: int):
    """Indices of texts, shortest first: as many as fit `batch_tokens` once padded, at least one."""
    rows: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if rows and (len(rows) + 1) * lengths[i] > batch_tokens:  # the newest is the longest
            yield rows
            rows = []
        rows.append(i)
    yield rows


def token_ids(
    tokenizer, first, second, max_length: int, *, own_template: bool = False
) -> list[list[int]]:
    """[CLS] s1 [SEP], or [CLS] s1 [SEP] s2 [SEP], cut to `max_length` ids, for every text.

    A literal "[SEP]" in a text is text. With `own_template` the special tokens are those of the
    tokenizer's template (`special_tokens`). Raises ValueError if the ids cannot be built.
    """
    first, second = as_texts(first), as_texts(second)
    if not first or (second is not None and len(second) != len(first)):
        raise ValueError(
            f"first has {len(first or [])} texts, second "
            f"{'none' if second is None else len(second)}: "
            "expected at least one, and as many in both."
        )
    frame = special_tokens(tokenizer, pair=second is not None, own_template=own_template)
    before, between, after = frame
    if (cut := max_length - len(before) - len(after)) < 0:
        raise ValueError(
            f"max_length={max_length}: expected room for {len(before) + len(after)} special tokens."
        )
    bodies = tokenizer(first, **_BODY)["input_ids"]
    if second is not None:
        others = tokenizer(second, **_BODY)["input_ids"]
        bodies = [[*a, *between, *b] for a, b in zip(bodies, others, strict=True)]
    ids = [[*before, *body[:cut], *after] for body in bodies]
    if not all(ids):
        empty = ids.index([])
        raise ValueError(f"Text {empty} is {first[empty]!r}: no token, so nothing to encode.")
    return ids


_BODY = dict(add_special_tokens=False, split_special_tokens=True, verbose=False)


def special_tokens(
    tokenizer, *, pair: bool = False, own_template: bool = False
) -> tuple[list[int], list[int], list[int]]:
    """Ids before the (first) text, between both, and after the last.

    Without `own_template` [CLS], [SEP] and [SEP]. With it, what the tokenizer puts around "a" and
    "b" when it is called, however it defines its template. A tokenizer that has no template but
    both tokens gets [CLS] and [SEP].

    Raises:
        ValueError: [CLS] or [SEP] is needed, and the tokenizer has none.
    """
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    if own_template:
        a, b = (tokenizer([text], **_BODY)["input_ids"][0] for text in "ab")
        whole = tokenizer(["a"])["input_ids"][0]
        if whole != a or cls is None or sep is None:
            whole = tokenizer(["a"], ["b"])["input_ids"][0] if pair else whole
            start = _place(a, whole, 0)
            end = start + len(a)
            last = _place(b, whole, end) if pair else end
            return whole[:start], whole[end:last], whole[last + len(b) * pair :]
    if cls is None or sep is None:
        raise ValueError(f"[CLS] is {cls}, [SEP] is {sep}: expected a tokenizer with both tokens.")
    return [cls], [sep], [sep]


def _place(part: list[int], whole: list[int], start: int) -> int:
    """Index of the first `part` in `whole`, from `start` on."""
    for place in range(start, len(whole) - len(part) + 1):
        if part and whole[place : place + len(part)] == part:
            return place
    raise ValueError(f"The tokenizer reads 'a' as {part}, and in its template as {whole}.")
