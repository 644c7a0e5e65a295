"""The losses, the balance between them, and the schedules (paper, Eq. 5-8).

Two registries hold the paper's choice and alternatives from the literature: `LATENT_LOSSES` and
`BALANCES`. To add an entry, write one small function, its line in the dictionary, and a test.
"""

import bisect
import functools
import math

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from predrecon.recipes import Recipe


def jepa_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L_JEPA = 1 - mean cos(h_hat, h) over all target positions (Eq. 5).

    Args:
        predicted: `[..., D]` predictor output at the target positions.
        target: target vectors at the same positions, of the same shape (ValueError if not). Their
            source (`model.TARGETS`) decides whether they carry a gradient; the paper's do not.

    Returns:
        Scalar in [0, 2], computed in float32 whatever the input's precision.
    """
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} differ."
        )
    return 1 - F.cosine_similarity(predicted.float(), target.float(), dim=-1).mean()


def smooth_l1(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over components of e^2 / 2 for |e| < 1, else |e| - 1/2 (I-JEPA, Assran et al. 2023).

    Unlike the cosine, it depends on lengths: without normalised targets, shrinking both sides
    lowers it.
    """
    return F.smooth_l1_loss(predicted.float(), target.float())


def normalised_mse(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over positions of |p/|p| - t/|t||^2 (BYOL, Grill et al. 2020).

    Exactly twice the cosine loss: only its weight relative to the MLM loss differs.
    """
    p, t = (F.normalize(x.float(), dim=-1) for x in (predicted, target))
    return (p - t).square().sum(-1).mean()


def infonce(
    predicted: torch.Tensor, target: torch.Tensor, *, temperature: float = 0.1
) -> torch.Tensor:
    """Cross-entropy of identifying each position's own target among all N of the batch, in nats.

    Logits are cosines over `temperature` (van den Oord et al. 2018; SimCLR's 0.1). A constant
    prediction costs log N, which works against collapse to a point. Where target blocks of a text
    overlap, a token is one of its own negatives. Memory grows with N^2.
    """
    p, t = (F.normalize(x.float(), dim=-1) for x in _rows(predicted, target))
    own = torch.arange(len(p), device=p.device)
    return F.cross_entropy(p @ t.T / temperature, own)


def vicreg(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error + variance hinge + 0.04 covariance (VICReg, Bardes et al. 2022, over 25).

    Hinge: mean over dimensions of max(0, 1 - std). Covariance: sum of squares off the diagonal over
    D. Both apply to each side; neither trains a target without gradient.
    """
    p, t = (x.float() for x in _rows(predicted, target))
    loss = F.mse_loss(p, t)
    for x in (p, t):
        covariance = x.T.cov()  # (D, D)
        variance = covariance.diagonal()
        loss = loss + F.relu(1 - (variance + 1e-4).sqrt()).mean() / 2
        loss = loss + 0.04 * (covariance.square().sum() - variance.square().sum()) / x.shape[1]
    return loss


def barlow_twins(
    predicted: torch.Tensor, target: torch.Tensor, *, off_diagonal: float = 0.005
) -> torch.Tensor:
    """Sum of (1 - C_ii)^2 + 0.005 C_ij^2, over D (Barlow Twins, Zbontar et al. 2021).

    C `[D, D]` is the correlation, over the batch's N positions, of predicted with target
    dimensions. A constant dimension has correlation 0 and costs 1.
    """
    p, t = (x.float() for x in _rows(predicted, target))
    p, t = ((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() for x in (p, t))
    c = p.T @ t / len(p)
    on = (1 - c.diagonal()).square().sum()
    off = c.square().sum() - c.diagonal().square().sum()
    return (on + off_diagonal * off) / c.shape[0]


def epps_pulley(x: torch.Tensor) -> torch.Tensor:
    """How far each column of `x [N, S]` is from a standard normal sample: `[S]`.

    N times the integral over t of |mean exp(itx) - exp(-t^2/2)|^2 exp(-t^2/2), at 17 points from -5
    to 5 (Epps and Pulley 1983; LeJEPA, Balestriero and LeCun 2025). For a normal sample its mean is
    sqrt(2 pi) - sqrt(2 pi / 3) = 1.06, whatever N; for a constant it grows with N.
    """
    t = torch.linspace(-5, 5, 17, device=x.device, dtype=x.dtype)
    normal = (-t.square() / 2).exp()
    angle = x[..., None] * t  # (N, S, 17)
    error = (angle.cos().mean(0) - normal).square() + angle.sin().mean(0).square()
    return len(x) * torch.trapezoid(error * normal, t, dim=-1)


def sigreg(
    predicted: torch.Tensor, target: torch.Tensor, directions: torch.Tensor, *, share: float = 0.05
) -> torch.Tensor:
    """(1 - share) mean squared error + share SIGReg of both sides (LeJEPA, 2025).

    SIGReg: `epps_pulley` of the vectors' products with random unit `directions [D, S]`, averaged.
    It favours an isotropic Gaussian, so a target may carry gradient and needs no moving average. It
    does not train a target without gradient.
    """
    p, t = (x.float() for x in _rows(predicted, target))
    sketch = sum(epps_pulley(x @ directions.to(x.dtype)).mean() for x in (p, t)) / 2
    return (1 - share) * F.mse_loss(p, t) + share * sketch


LATENT_LOSSES = {
    "cosine": jepa_loss,
    "smooth-l1": smooth_l1,
    "mse": normalised_mse,
    "infonce": infonce,
    "vicreg": vicreg,
    "barlow": barlow_twins,
    "sigreg": sigreg,
}
"""`{name: loss of predicted and target}`; `sigreg` also takes directions, drawn every step."""

OVER_BATCH = ("infonce", "vicreg", "barlow", "sigreg")
"""Losses that are not means over positions: several processes gather all positions first."""


def latent_loss(
    name: str, predicted, target, directions=None, *, gather: bool = False
) -> torch.Tensor:
    """A loss of `LATENT_LOSSES`.

    Args:
        name: its name.
        predicted, target: `[B, K, T, D]`, this process's rows.
        directions: `[D, S]`, for `sigreg`.
        gather: over the batch of all processes; each of them must call this.
    """
    if gather and name in OVER_BATCH and dist.is_initialized() and dist.get_world_size() > 1:
        predicted, target = _GatherRows.apply(predicted), _GatherRows.apply(target)
    more = [directions] if name == "sigreg" else []
    return LATENT_LOSSES[name](predicted, target, *more)


class _GatherRows(torch.autograd.Function):
    """All processes' rows. Backward sums the gradients of all processes: DDP takes the mean."""

    @staticmethod
    def forward(ctx, x):
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def _rows(predicted, target) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as `[N, D]`; ValueError for fewer than two rows, which would have no covariance."""
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} differ."
        )
    p, t = (x.flatten(0, -2) for x in (predicted, target))
    if len(p) < 2:
        raise ValueError(
            f"{len(p)} target position in the batch: this loss compares positions and needs at "
            "least 2. Use a larger batch or larger targets, or latent_loss='cosine'."
        )
    return p, t


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


def learned(w, jepa, mlm, now) -> tuple[torch.Tensor, torch.Tensor]:
    """lam = sigmoid(w), w learned by the gradient of the loss itself (paper, Eq. 7).

    dL/dw = lam (1 - lam) (L_JEPA - L_MLM) keeps its sign as long as the same loss is larger, so an
    adaptive optimiser moves w by about one learning rate per step: see notebook 03. If w is frozen,
    lam is the recipe's.
    """
    lam, rest = torch.sigmoid(w).squeeze(0), 1 - torch.sigmoid(w).squeeze(0)
    return lam * jepa + rest * mlm, lam  # two sigmoids: rounds as earlier runs did


def scheduled(w, jepa, mlm, now) -> tuple[torch.Tensor, torch.Tensor]:
    """lam = (1 + cos(pi t)) / 4, t from 0 to 1 over training: from 1/2 to MLM alone."""
    lam = torch.full_like(mlm, (1 + math.cos(math.pi * now["progress"])) / 4)
    return lam * jepa + (1 - lam) * mlm, lam


def uncertainty(w, jepa, mlm, now) -> tuple[torch.Tensor, torch.Tensor]:
    """exp(-w_0) L_JEPA + exp(-w_1) L_MLM + (w_0 + w_1) / 2 (Kendall, Gal and Cipolla 2018).

    w are log-variances, initially 0. The closer a loss is to 0, the larger its weight: at
    equilibrium exp(w) is twice the loss. lam is JEPA's share of the sum of both weights.
    """
    weights = (-w).exp()
    return weights[0] * jepa + weights[1] * mlm + w.sum() / 2, weights[0] / weights.sum()


def equal_gradients(w, jepa, mlm, now) -> tuple[torch.Tensor, torch.Tensor]:
    """lam such that both losses pull equally at the last shared layer (after GradNorm, Chen 2018).

    lam |g_JEPA| = (1 - lam) |g_MLM|, from moving averages of both norms, without gradient.
    """
    norms = now["norms"]  # [2]
    lam = norms[1] / norms.sum().clamp(min=1e-12)
    return lam * jepa + (1 - lam) * mlm, lam


BALANCES = {
    "learned": learned,
    "scheduled": scheduled,
    "uncertainty": uncertainty,
    "equal-gradients": equal_gradients,
}
"""`{name: (w, jepa, mlm, now) -> (loss, lam)}`; `now` has `progress` and the gradients' `norms`."""


class Balance(nn.Module):
    """L = lam L_JEPA + (1 - lam) L_MLM, by default with lam = sigmoid(w), w learned (Eq. 7).

    Args:
        fixed: lambda, if it is not learned; for `learned` only.
        kind: an entry of `BALANCES`.
    """

    def __init__(self, fixed: float | None = None, kind: str = "learned"):
        super().__init__()
        self.kind, self.only_mlm = kind, False
        self.initial = 0.0 if fixed is None else math.log(fixed / (1 - fixed))
        size = 2 if kind == "uncertainty" else 1
        value = torch.full((size,), self.initial)  # a vector: FSDP cannot shard a scalar
        trained = fixed is None and kind in ("learned", "uncertainty")
        self.w = nn.Parameter(value, requires_grad=trained)
        if kind == "equal-gradients":
            self.register_buffer("norms", torch.ones(2))

    @property
    def lam(self) -> torch.Tensor:
        """sigmoid(w), lambda of `learned`."""
        return torch.sigmoid(self.w).squeeze(0)

    def forward(self, jepa: torch.Tensor, mlm: torch.Tensor) -> torch.Tensor:
        return self.weigh(jepa, mlm)[0]

    def weigh(self, jepa, mlm, *, progress: float = 0.0, gradients=None):
        """The loss and lambda, both scalars.

        Args:
            jepa, mlm: the two losses.
            progress: share of the training steps already done.
            gradients: from `shared_gradients`; update the averages of `equal-gradients`.
        """
        if self.only_mlm:  # what `on_collapse` may change to; every weight keeps a gradient
            return mlm + 0.0 * (jepa + self.w.sum()), torch.zeros_like(mlm)
        norms = getattr(self, "norms", None)
        if norms is not None and gradients is not None:
            norms.lerp_(gradients[:2].to(norms.dtype), 0.1)
        now = {"progress": progress, "norms": None if norms is None else norms.clone()}
        return BALANCES[self.kind](self.w, jepa, mlm, now)


def shared_gradients(jepa: torch.Tensor, mlm: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """|g_JEPA|, |g_MLM| and the cosine between them: `[3]`, without gradient.

    g are the losses' gradients in `weight`, the last layer that both share, over the whole batch on
    one process or several. A cosine below 0 means that the losses pull against each other.
    """
    pair = [torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (jepa, mlm)]
    flat = torch.stack([g.flatten().float() for g in pair])
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(flat)
        flat = flat / dist.get_world_size()
    return torch.cat([flat.norm(dim=1), F.cosine_similarity(*flat, dim=0)[None]])


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

    `lr` replaces the recipe's peak rate.
    """
    if recipe.lam is not None:
        return np.full(total, recipe.lam)
    if recipe.balance == "scheduled":
        return (1 + np.cos(np.pi * np.arange(total) / total)) / 4
    if recipe.balance != "learned":  # lambda depends on losses or gradients
        return np.full(total, np.nan)
    peak = next(rate for rate in (lr, recipe.lam_lr, recipe.lr) if rate is not None)
    rates = [learning_rate(recipe, step, total, peak=peak) for step in range(total)]
    return 1 / (1 + np.exp(-np.cumsum(rates)))


def lambda_before(recipe: Recipe, total: int, steps) -> np.ndarray:
    """`predicted_lambda` before the update of each of `steps [n]`, from 1: history.csv's lam."""
    first = 0.5 if recipe.lam is None else recipe.lam
    return np.r_[first, predicted_lambda(recipe, total)][np.asarray(steps, dtype=int) - 1]


def total_steps(recipe: Recipe, step: int, rate: float) -> int | None:
    """The length of a schedule whose learning rate is `rate` at `step`, from 1.

    None during the warm-up, which is the same for every length.
    """
    if step <= recipe.warmup_steps + 1:
        return None
    lengths = range(step, 1 << 40)  # the longer the schedule, the higher the rate
    reached = functools.partial(learning_rate, recipe, step - 1)
    return step + bisect.bisect_left(lengths, rate * (1 - 1e-12), key=reached)
