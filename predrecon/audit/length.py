"""A confounder: how much of the geometry is due to the number of tokens?

Positions of amplitude 1 make the mean of a short text differ from the mean of a long one, whatever
their words. So uniformity is also measured between texts of equal length.
"""

import numpy as np
import pandas as pd

from predrecon import metrics
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.statistics import Interval, bootstrap_counts, bootstrap_interval
from predrecon.data.tasks import Split, Task


def token_counts(model: Model, split: Split) -> np.ndarray:
    """Tokens `[N]` of every text as the encoder sees it: cut, special tokens included."""
    ids = model.token_ids(split.first, split.second)
    return np.array([len(text) for text in ids])


def uniformity(z, counts=None) -> Interval:
    """`metrics.uniformity` of `z [N, D]` with its 95 % interval over samples.

    With `counts`, from `token_counts`, only pairs of equal length are used.
    """
    weights = bootstrap_counts(len(z))
    replicates = metrics.uniformity(z, groups=counts, weights=weights)
    return bootstrap_interval(metrics.uniformity(z, groups=counts), replicates, len(z))


def length_control(
    models: list[Model], tasks: list[Task], *, max_samples: int = 2000
) -> pd.DataFrame:
    """How much of mean-pooled uniformity is text length?

    Returns:
        Columns `task, title, pooling, model, seed, n, metric, value, low, high`. Metrics:
        `uniformity` (all pairs) and `equal_length`, with 95 % intervals over samples; without an
        interval, `explained`, the share of the variance of directions that length explains, and
        `by_chance`, the share that as many random groups would explain.
    """
    rows = []
    for task, model in each_pair("length control", tasks, models):
        labels = {"task": task.name, "title": task.title, "pooling": "mean"}
        labels |= {"model": model.name, "seed": model.seed}
        rows += [labels | row for row in _measured(model, task.validation.head(max_samples))]
    return pd.DataFrame(rows)


def _measured(model: Model, split: Split) -> list[dict]:
    """Rows `n, metric, value, low, high` of one encoder on one split."""

    def compute():
        counts = token_counts(model, split)
        z = model.embed(split.first, split.second, poolings=("mean",))["mean"]
        n = len(z)
        values = {
            "uniformity": uniformity(z).bounds,
            "equal_length": uniformity(z, counts).bounds,
            "explained": {"value": metrics.explained_share(z, counts)},
            "by_chance": {"value": (len(np.unique(counts)) - 1) / (n - 1)},
        }
        return [{"n": n, "metric": metric} | bounds for metric, bounds in values.items()], {}

    digests = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split)
    return cached("length", (*digests, model.max_length), compute)[0]
