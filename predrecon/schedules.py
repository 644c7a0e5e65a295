"""Learning rate, EMA momentum, and what the learning rate alone says about lambda."""

import math
from dataclasses import replace

import numpy as np

from predrecon.recipes import Recipe


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Rate of step 0 .. total-1: linear warm-up to `recipe.lr`, then cosine towards 0."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    share = (step - recipe.warmup_steps) / max(1, total - recipe.warmup_steps)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))


def ema_momentum(recipe: Recipe, step: int, total: int) -> float:
    """m of step 0 .. total-1, linear between the two values of `recipe.ema` (Eq. 8)."""
    first, last = recipe.ema
    return first + (last - first) * step / max(1, total - 1)


def predicted_lambda(recipe: Recipe, total: int, *, lr: float | None = None) -> np.ndarray:
    """lambda from the schedule alone, `[total]`: sigma(sum of learning rates) after each step.

    Args:
        recipe: its schedule. total: steps. lr: another peak rate than the recipe's.
    """
    recipe = recipe if lr is None else replace(recipe, lr=lr)
    rates = [learning_rate(recipe, step, total) for step in range(total)]
    return 1 / (1 + np.exp(-np.cumsum(rates)))
