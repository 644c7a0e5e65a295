"""The two losses and the balance between them (paper, Eq. 5-7)."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def jepa_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L_JEPA = 1 - mean cos(h_hat, h) over all target positions (Eq. 5).

    Args:
        predicted: `[..., D]` predictor output at the target positions.
        target: `[..., D]` target encoder output at the same positions; no gradient flows into it.

    Returns:
        Scalar in [0, 2], computed in float32 whatever the input's precision.

    Raises:
        ValueError: shapes differ.
    """
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} differ."
        )
    return 1 - F.cosine_similarity(predicted.float(), target.detach().float(), dim=-1).mean()


def mlm_loss(
    logits: torch.Tensor, labels: torch.Tensor, *, count: torch.Tensor | None = None
) -> torch.Tensor:
    """L_MLM = cross-entropy over the masked positions, in nats (Eq. 6).

    Args:
        logits: `[M, V]` at the masked positions only.
        labels: `[M]` original ids; -100 does not count.
        count: scalar that the sum is divided by; default M. A process that holds a part of the
            batch passes its share of the whole batch's.

    Returns:
        Scalar; 0 when the batch has no masked position (rather than 0/0).
    """
    total = F.cross_entropy(logits.float(), labels, reduction="sum")
    return total / (max(1, labels.numel()) if count is None else count.clamp(min=1e-9))


class Balance(nn.Module):
    """L = lam L_JEPA + (1 - lam) L_MLM with lam = sigmoid(w), w a learned scalar (Eq. 7).

    Since dL/dw = lam (1 - lam) (L_JEPA - L_MLM) keeps one sign as long as one loss is the larger,
    an adaptive optimiser moves w by about one learning rate a step: see notebook 03.

    Args:
        fixed: lambda, if it is not to be learned.
    """

    def __init__(self, fixed: float | None = None):
        super().__init__()
        self.initial = 0.0 if fixed is None else math.log(fixed / (1 - fixed))
        value = torch.full((1,), self.initial)  # a vector: FSDP cannot shard a scalar
        self.w = nn.Parameter(value, requires_grad=fixed is None)

    @property
    def lam(self) -> torch.Tensor:
        return torch.sigmoid(self.w).squeeze(0)

    def forward(self, jepa: torch.Tensor, mlm: torch.Tensor) -> torch.Tensor:
        return self.lam * jepa + (1 - self.lam) * mlm


def balance_gradient(lam, jepa, mlm):
    """dL/dw = lam (1 - lam) (L_JEPA - L_MLM), element by element on arrays or tensors."""
    return lam * (1 - lam) * (jepa - mlm)
