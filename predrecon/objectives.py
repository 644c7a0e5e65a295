"""The two losses, the balance between them, and the schedules (paper, Eq. 5-8)."""

import bisect
import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from predrecon.recipes import Recipe


def jepa_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L_JEPA = 1 - mean cos(h_hat, h) over all target positions (Eq. 5).

    Args:
        predicted: `[..., D]` predictor output at the target positions.
        target: target encoder output at the same positions, of the same shape (ValueError if not);
            no gradient flows into it.

    Returns:
        Scalar in [0, 2], computed in float32 whatever the input's precision.
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
    an adaptive optimiser moves w by about one learning rate a step: see notebook 03. `fixed` is
    lambda, if it is not to be learned.
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


def learning_rate(recipe: Recipe, step: int, total: int, *, peak: float | None = None) -> float:
    """Rate of step 0 .. total-1: linear warm-up to `peak` (`recipe.lr`), then cosine towards 0."""
    peak = recipe.lr if peak is None else peak
    if step < recipe.warmup_steps:
        return peak * (step + 1) / recipe.warmup_steps
    share = (step - recipe.warmup_steps) / max(1, total - recipe.warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * share))


def ema_momentum(recipe: Recipe, step: int, total: int) -> float:
    """m of step 0 .. total-1, linear between the two values of `recipe.ema` (Eq. 8)."""
    first, last = recipe.ema
    return first + (last - first) * step / max(1, total - 1)


def predicted_lambda(recipe: Recipe, total: int, *, lr: float | None = None) -> np.ndarray:
    """lambda from the schedule alone, `[total]`: sigma(sum of learning rates) after each step.

    `lr` is another peak rate than the recipe's.
    """
    if recipe.lam is not None:
        return np.full(total, recipe.lam)
    peak = next(rate for rate in (lr, recipe.lam_lr, recipe.lr) if rate is not None)
    rates = [learning_rate(recipe, step, total, peak=peak) for step in range(total)]
    return 1 / (1 + np.exp(-np.cumsum(rates)))


def lambda_before(recipe: Recipe, total: int, steps) -> np.ndarray:
    """`predicted_lambda` before the update of each of `steps [n]`, from 1: history.csv's lam."""
    first = 0.5 if recipe.lam is None else recipe.lam
    return np.r_[first, predicted_lambda(recipe, total)][np.asarray(steps, dtype=int) - 1]


def total_steps(recipe: Recipe, step: int, rate: float) -> int | None:
    """The length of a schedule whose learning rate is `rate` at `step`, from 1.

    None while the warm-up lasts, which is the same for every length.
    """
    if step <= recipe.warmup_steps + 1:
        return None
    lengths = range(step, 1 << 40)  # the longer the schedule, the higher the rate
    reached = functools.partial(learning_rate, recipe, step - 1)
    return step + bisect.bisect_left(lengths, rate * (1 - 1e-12), key=reached)
