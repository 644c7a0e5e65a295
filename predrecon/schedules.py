"""Learning rate, EMA momentum, and what the learning rate alone says about lambda."""

import math

import numpy as np

from predrecon.recipes import Recipe


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

    Args:
        recipe: its schedule. total: steps. lr: another peak rate than the recipe's.
    """
    if recipe.lam is not None:
        return np.full(total, recipe.lam)
    peak = next(rate for rate in (lr, recipe.lam_lr, recipe.lr) if rate is not None)
    rates = [learning_rate(recipe, step, total, peak=peak) for step in range(total)]
    return 1 / (1 + np.exp(-np.cumsum(rates)))
