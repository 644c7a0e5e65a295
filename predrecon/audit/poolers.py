"""How much of the "5-10 x" in uniformity is the pooler: random queries, and fitted ones.

The paper's attention pooling is drawn at random, once, without a seed, and for each model anew. So
its numbers are one draw each of a distribution; here are many draws, the same for all models.
"""

import pandas as pd

from predrecon.audit import published
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model
from predrecon.audit.fitted_pooling import fitted_directions
from predrecon.audit.geometry import per_pooling, shape_metrics
from predrecon.data.progress import each_pair
from predrecon.data.tasks import Task
from predrecon.pooling import attention_direction, embed

METRICS = ("uniformity", "effective_rank", "spectral_entropy", "alignment")
MAX_TRAIN = 2000  # texts that poolers are fitted on
LARGE = 5  # the lower end of the published "5-10 x"


def spread(
    compared: list[Model], tasks: list[Task], *, draws: int = 20, max_samples: int = 2000
) -> pd.DataFrame:
    """Shape metrics under mean pooling, `draws` random poolers, and both fitted ones.

    What has been measured once is remembered by weights, tokenizer, texts and draws.

    Args:
        compared: encoders. tasks: fitted poolers use their training splits.
        draws: random queries and keys, of seeds 0 to draws - 1.
        max_samples: the first so many texts of a validation split.

    Returns:
        Columns `task, title, model, seed, pooler, draw, metric, value, n`. `pooler` is `"mean"`,
        `"random attention"`, `"weighted fitted"` or `"attention fitted"`; `draw` tells the random
        ones apart and is 0 for the others.

    Raises:
        ValueError: of a metric or a fit, with the names of task and model.
    """
    rows = []
    for task, model in each_pair("poolers", tasks, compared):
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        rows += [facts | row for row in _one(model, task, draws, max_samples)]
    return pd.DataFrame(rows)


def ratios(table: pd.DataFrame, one: str = "hybrid", other: str = "mlm") -> pd.DataFrame:
    """Uniformity of `one` over that of `other`, as the paper puts it.

    Returns:
        Columns `task, title, seed, pooler, basis, ratio`; `basis` is `"same draw"` (one pooler for
        both models) or, of random attention alone, `"own draw"` (as published, every draw of one
        model against every draw of the other). A seed that lacks a model has no rows.
    """
    told, rows = table[table["metric"] == "uniformity"], []
    for key, part in told.groupby(["task", "title", "seed", "pooler"], sort=False):
        facts = dict(zip(("task", "title", "seed", "pooler"), key, strict=True))
        by_draw = part.pivot_table(index="draw", columns="model", values="value")
        if not {one, other} <= set(by_draw.columns):
            continue
        a, b = by_draw[one].to_numpy(), by_draw[other].to_numpy()
        rows += [facts | {"basis": "same draw", "ratio": ratio} for ratio in a / b]
        if len(a) > 1:
            crossed = (a[:, None] / b[None, :]).ravel()
            rows += [facts | {"basis": "own draw", "ratio": ratio} for ratio in crossed]
    return pd.DataFrame(rows, columns=["task", "title", "seed", "pooler", "basis", "ratio"])


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """`ratios` with one line a task and training seed.

    Returns:
        Columns `title, seed, mean, weighted fitted, attention fitted, pairs, lowest, median,
        highest, large`. The last five are of random attention with own draws; `large` is the share
        of its pairs whose ratio is `LARGE` or more.
    """
    keys = ["title", "seed"]
    drawn = found[found["basis"] == "own draw"].groupby(keys, sort=False)["ratio"]
    told = drawn.agg(pairs="count", lowest="min", median="median", highest="max")
    large = found.assign(large=found["ratio"] >= LARGE).query("basis == 'own draw'")
    told["large"] = large.groupby(keys, sort=False)["large"].mean()
    fixed = found[found["pooler"] != "random attention"]
    wide = fixed.pivot_table(index=keys, columns="pooler", values="ratio", sort=False)
    return wide.rename_axis(columns=None).join(told).reset_index()


def published_ratios() -> pd.DataFrame:
    """The paper's uniformity ratios hybrid / MLM-only: columns `task, pooler, ratio`.

    `pooler` is `"mean"` or `"random attention"`, of which the paper has one draw a model. Its
    weighted pooling was never trained: it is the mean.
    """
    told = published.geometry().query("metric == 'uniformity'")
    wide = told.pivot(index=["task", "pooling"], columns="model", values="value")
    found = (wide["hybrid"] / wide["mlm"]).rename("ratio").reset_index()
    names = {"mean": "mean", "attention": "random attention"}
    found = found.assign(pooler=found["pooling"].map(names)).dropna(subset="pooler")
    return found[["task", "pooler", "ratio"]].reset_index(drop=True)


def _one(model: Model, task: Task, draws: int, max_samples: int) -> list[dict]:
    """Rows `pooler, draw, metric, value, n` of one encoder on one task."""
    split, train = task.validation.head(max_samples), task.train.head(MAX_TRAIN)

    def compute():
        dim, rows = model.encoder.config.hidden_size, []
        ways = {f"random attention #{k}": attention_direction(dim, k) for k in range(draws)}
        try:
            ways |= fitted_directions(
                model.encoder, model.tokenizer, train, task.kind, max_train=MAX_TRAIN
            )
            pooled = embed(
                model.encoder, model.tokenizer, split.first, split.second,
                poolings=("mean",), directions=ways,
            )  # fmt: skip
            groups = task.groups(split.labels)
            found = per_pooling(pooled, lambda z: shape_metrics(z, groups))
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        for name, values in found.items():
            pooler, _, draw = name.partition(" #")
            facts = {"pooler": pooler, "draw": int(draw or 0)}
            rows += [facts | {"metric": m, "value": values[m], "n": len(split)} for m in METRICS]
        return rows, {}

    whose = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer)
    texts = split_digest(split), split_digest(train)
    rows, _ = cached("poolers", (*whose, *texts, task.kind, draws), compute)
    return rows
