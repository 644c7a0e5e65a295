"""Weighted and attention pooling as they should be: fitted on the task's training split.

The paper's weighted pooling is never trained, its attention pooling is random. Both are a softmax
over token scores h v with one direction v (a query against linear keys is one, too), so what is
fitted is v: from zeros for weighted pooling, from the random direction for attention.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from predrecon.pooling import attention_direction, pool, token_vectors
from predrecon.seeding import torch_generator

FITTED = ("weighted fitted", "attention fitted")


@dataclass(frozen=True)
class TokenVectors:
    """N texts as token vectors `hidden [N, L, D]`, `mask [N, L]`, in the order given."""

    hidden: torch.Tensor
    mask: torch.Tensor


def fitted_directions(
    encoder, tokenizer, split, kind: str, *, max_train: int = 2000, seed: int = 0
) -> dict[str, torch.Tensor]:
    """`{"weighted fitted": [D], "attention fitted": [D]}` for `pooling.embed`.

    Args:
        encoder, tokenizer: frozen.
        split: the task's training split (`tasks.Split`), of which the first `max_train` are used.
        kind: `"classification"` or `"regression"`.
        seed: draws attention's first direction, the head and the order of batches.
    """
    split = split.head(max_train)
    tokens = _collect(encoder, tokenizer, split)
    dim = tokens.hidden.shape[-1]
    starts = (torch.zeros(dim), attention_direction(dim, seed))
    return {
        name: fit_direction(tokens, torch.as_tensor(split.labels), kind, start=start, seed=seed)
        for name, start in zip(FITTED, starts, strict=True)
    }


def fit_direction(
    tokens: TokenVectors,
    labels: torch.Tensor,
    kind: str,
    *,
    start: torch.Tensor,
    epochs: int = 10,
    lr: float = 1e-2,
    batch_size: int = 64,
    seed: int = 0,
) -> torch.Tensor:
    """The direction `[D]` that, with a linear head on the pooled vectors, predicts the labels best.

    Args:
        tokens: frozen token vectors. labels: `[N]`.
        start: `[D]` where the direction begins.

    Raises:
        ValueError: a training split of one class.
    """
    device = tokens.hidden.device
    labels, direction = labels.to(device), start.to(device).clone().requires_grad_()
    classes = int(labels.max()) + 1 if kind == "classification" else 1
    if len(labels.unique()) < 2:
        raise ValueError("The training split has one class only: nothing to fit a pooling on.")
    generator = torch_generator(seed, "fitted pooling")
    head = nn.Linear(len(start), classes).to(device)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * 0.02)
        head.bias.zero_()
    scale = labels.float().std() if kind == "regression" else 1.0
    optimizer = torch.optim.Adam([direction, *head.parameters()], lr=lr)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(batch_size):
            part = tokens.hidden[rows], tokens.mask[rows]
            out = head(pool(*part, "attention", direction=direction))
            if kind == "classification":
                loss = F.cross_entropy(out, labels[rows])
            else:
                loss = F.mse_loss(out[:, 0], (labels[rows].float() - labels.float().mean()) / scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return direction.detach().cpu()


def _collect(encoder, tokenizer, split) -> TokenVectors:
    batches = list(token_vectors(encoder, tokenizer, split.first, split.second))
    longest = max(mask.shape[1] for _, _, mask in batches)
    dim, device = batches[0][1].shape[-1], batches[0][1].device
    hidden = torch.zeros(len(split), longest, dim, device=device)
    mask = torch.zeros(len(split), longest, dtype=torch.long, device=device)
    for rows, vectors, real in batches:
        hidden[rows, : vectors.shape[1]] = vectors.clone()
        mask[rows, : real.shape[1]] = real
    return TokenVectors(hidden, mask)
