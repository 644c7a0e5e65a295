"""A confounder: how much of a geometry is the number of tokens?

Positions of amplitude 1 make the mean of a short text differ from the mean of a long one, whatever
their words. So uniformity is also taken between texts of equal length.
"""

import numpy as np
import pandas as pd

from predrecon import metrics
from predrecon.audit.encoders import Model
from predrecon.audit.resampling import uniformity_replicates
from predrecon.audit.statistics import Interval, bootstrap_counts, bootstrap_interval, cell_text
from predrecon.data.progress import each_pair
from predrecon.data.tasks import Split, Task
from predrecon.pooling import MAX_LENGTH, embed, token_ids


def token_counts(model: Model, split: Split) -> np.ndarray:
    """Tokens `[N]` of every text, special ones included, as the encoder sees it: cut."""
    longest = min(MAX_LENGTH, model.encoder.config.max_position_embeddings)
    ids = token_ids(model.tokenizer, split.first, split.second, longest)
    return np.array([len(text) for text in ids])


def uniformity(z, counts=None, *, seed: int = 0) -> Interval:
    """`metrics.uniformity` of `z [N, D]` with its 95 % interval over samples.

    Args:
        counts: `token_counts`; pairs of equal length alone count.
        seed: draws the bootstrap samples.
    """
    drawn = bootstrap_counts(len(z), seed=seed)
    spread = uniformity_replicates(z, drawn, groups=counts)
    return bootstrap_interval(metrics.uniformity(z, groups=counts), spread, len(z))


def length_control(
    compared: list[Model], tasks: list[Task], *, max_samples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How much of mean-pooled uniformity is text length?

    Returns:
        Columns `task, title, pooling, model, seed, metric, value, low, high, n`. Metrics:
        `uniformity` (all pairs) and `equal_length`, with 95 % intervals over samples; `explained`,
        the share of the variance of directions that length explains, and `by_chance`, what as
        many random groups would: of one encoder, without an interval. `evidence.over_seeds` makes
        one row of several seeds.
    """
    rows = []
    for task, model in each_pair("length control", tasks, compared):
        split = task.validation.head(max_samples)
        counts = token_counts(model, split)
        texts = split.first, split.second
        z = embed(model.encoder, model.tokenizer, *texts, poolings=("mean",))["mean"]
        facts = {"task": task.name, "title": task.title, "pooling": "mean"}
        facts |= {"model": model.name, "seed": model.seed, "n": len(z)}
        explained = metrics.explained_share(z, counts)
        by_chance = (len(np.unique(counts)) - 1) / (len(z) - 1)
        told = {
            "uniformity": uniformity(z, seed=seed),
            "equal_length": uniformity(z, counts, seed=seed),
            "explained": Interval(explained, np.nan, np.nan, len(z)),
            "by_chance": Interval(by_chance, np.nan, np.nan, len(z)),
        }
        rows += [facts | {"metric": metric} | each.bounds for metric, each in told.items()]
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """`length_control` over seeds (`evidence.over_seeds`), one line a task and model."""
    keys = ["title", "model"]
    cells = [cell_text(*row, digits) for row in table[["value", "low", "high"]].to_numpy()]
    wide = table.assign(cell=cells).pivot(index=keys, columns="metric", values="cell")
    once = table.drop_duplicates(keys).set_index(keys)
    shown = ["uniformity", "equal_length", "explained", "by_chance"]
    return wide[shown].join(once[["n", "seeds"]]).reindex(once.index)
