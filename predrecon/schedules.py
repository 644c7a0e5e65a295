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


def lambda_before(recipe: Recipe, total: int, steps) -> np.ndarray:
    """`predicted_lambda` as the steps `steps [n]`, from 1, find it: before their own update.

    This is what `history.csv` calls lam, the weight of a step's loss.
    """
    after = predicted_lambda(recipe, total)
    first = 0.5 if recipe.lam is None else recipe.lam
    return np.r_[first, after][np.asarray(steps, dtype=int) - 1]


def total_steps(recipe: Recipe, step: int, rate: float) -> int | None:
    """The length of a schedule whose learning rate is `rate` at `step`, from 1.

    None while the warm-up lasts, which is the same for every length.
    """
    if step <= recipe.warmup_steps + 1:
        return None
    low, high = step, 1 << 40
    while low < high:  # the longer the schedule, the higher the rate
        middle = (low + high) // 2
        if learning_rate(recipe, step - 1, middle) < rate * (1 - 1e-12):
            low = middle + 1
        else:
            high = middle
    return low
