"""How much of the "5-10 x" in uniformity is due to the pooler: random queries, and fitted ones.

The paper's attention pooling is drawn at random, once, without a seed, separately for each model.
So each of its numbers is one draw from a distribution; here are many draws, the same for all
models. Its weighted pooling is never trained. Both are a softmax over token scores h v with one
direction v (a query against linear keys is also a direction), so fitting a pooler means fitting v:
from zeros for weighted pooling, from the random direction for attention.
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from predrecon.audit import published
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.geometry import per_pooling, shape_metrics
from predrecon.data.tasks import Split, Task
from predrecon.pooling import attention_direction, pool, token_vectors
from predrecon.seeding import torch_generator

METRICS = ("uniformity", "effective_rank", "spectral_entropy", "alignment")
FITTED = ("weighted fitted", "attention fitted")
MAX_TRAIN = 2000  # training texts for fitted poolers
LARGE = 5  # the lower end of the published "5-10 x"


def random_tokens(
    *, loud: float = 1.0, shared: float = 0.0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token vectors without an encoder: hidden `[300, 20, 16]`, standard normal, and mask.

    Args:
        loud: factor on the first coordinate.
        shared: constant that is added to the last coordinate of all tokens.
    """
    hidden = torch.randn(300, 20, 16, generator=torch.Generator().manual_seed(seed))
    hidden[..., 0] *= loud
    hidden[..., -1] += shared
    return hidden, torch.ones(hidden.shape[:2], dtype=torch.long)


def spread(
    models: list[Model], tasks: list[Task], *, draws: int = 20, max_samples: int = 2000
) -> pd.DataFrame:
    """Shape metrics under mean pooling, `draws` random poolers, and both fitted ones.

    Random queries and keys are of seeds 0 to `draws` - 1; poolers are fitted on training splits,
    and measured on the first `max_samples` texts of validation splits.

    Returns:
        Columns `task, title, model, seed, pooler, draw, metric, value, n`. `pooler` is `"mean"`,
        `"random attention"`, `"weighted fitted"` or `"attention fitted"`; `draw` numbers the random
        ones and is 0 for the others.

    Raises:
        ValueError: errors of a metric or a fit, with the names of task and model.
    """
    rows = []
    for task, model in each_pair("poolers", tasks, models):
        labels = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        rows += [labels | row for row in _measured(model, task, draws, max_samples)]
    return pd.DataFrame(rows)


def _measured(model: Model, task: Task, draws: int, max_samples: int) -> list[dict]:
    """Rows `pooler, draw, metric, value, n` of one encoder on one task."""
    split, train = task.validation.head(max_samples), task.train.head(MAX_TRAIN)
    encoder, tokenizer = model.encoder, model.tokenizer

    def compute():
        dim, rows = encoder.config.hidden_size, []
        directions = {f"random attention #{k}": attention_direction(dim, k) for k in range(draws)}
        texts, groups = (split.first, split.second), task.groups(split.labels)
        try:
            directions |= fitted_directions(encoder, tokenizer, train, task.kind)
            pooled = model.embed(*texts, poolings=("mean",), directions=directions)
            metrics = per_pooling(pooled, lambda z: shape_metrics(z, groups))
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        for name, values in metrics.items():
            pooler, _, draw = name.partition(" #")
            labels = {"pooler": pooler, "draw": int(draw or 0)}
            rows += [labels | {"metric": m, "value": values[m], "n": len(split)} for m in METRICS]
        return rows, {}

    digests = encoder_digest(encoder), tokenizer_digest(tokenizer)
    digests += split_digest(split), split_digest(train)
    rows, _ = cached("poolers", (*digests, task.kind, draws), compute)
    return rows


def fitted_directions(encoder, tokenizer, train: Split, kind: str) -> dict[str, torch.Tensor]:
    """`{"weighted fitted": [D], "attention fitted": [D]}` for `pooling.embed`; see `fit_direction`.

    `kind` is that of the task: `"classification"` or `"regression"`.
    """
    batches = list(token_vectors(encoder, tokenizer, train.first, train.second))
    longest = max(mask.shape[1] for _, _, mask in batches)
    order = torch.tensor([row for rows, _, _ in batches for row in rows]).argsort()
    vectors = [F.pad(hidden, (0, 0, 0, longest - hidden.shape[1])) for _, hidden, _ in batches]
    masks = [F.pad(mask, (0, longest - mask.shape[1])) for _, _, mask in batches]
    hidden, mask = torch.cat(vectors)[order], torch.cat(masks)[order]
    labels, dim = torch.as_tensor(train.labels), hidden.shape[-1]
    starts = (torch.zeros(dim), attention_direction(dim, 0))
    return {
        name: fit_direction(hidden, mask, labels, kind, start=start)
        for name, start in zip(FITTED, starts, strict=True)
    }


def fit_direction(
    hidden: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor,
    kind: str,
    *,
    start: torch.Tensor,
    epochs: int = 10,
    seed: int = 0,
) -> torch.Tensor:
    """The direction `[D]` that, with a linear head on the pooled vectors, predicts the labels best.

    Args:
        hidden: `[N, L, D]` frozen token vectors. mask: `[N, L]`. labels: `[N]`.
        start: `[D]` initial direction.
        seed: draws the head and the order of batches.

    Raises:
        ValueError: a training split of one class.
    """
    labels = labels.to(hidden.device)
    direction = start.to(hidden.device).clone().requires_grad_()
    if len(labels.unique()) < 2:
        raise ValueError("The training split has one class only: nothing to fit a pooling on.")
    generator, regression = torch_generator(seed, "fitted pooling"), kind == "regression"
    loss_of = F.mse_loss if regression else F.cross_entropy
    head = nn.Linear(len(start), 1 if regression else int(labels.max()) + 1).to(hidden.device)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * 0.02)
        head.bias.zero_()
    if regression:
        labels = (labels.float() - labels.float().mean()) / labels.float().std()
    optimizer = torch.optim.Adam([direction, *head.parameters()], lr=1e-2)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(64):
            out = head(pool(hidden[rows], mask[rows], "attention", direction=direction))
            optimizer.zero_grad()
            loss_of(out[:, 0] if regression else out, labels[rows]).backward()
            optimizer.step()
    return direction.detach().cpu()


def ratios(table: pd.DataFrame, one: str = "hybrid", other: str = "mlm") -> pd.DataFrame:
    """Uniformity of `one` over that of `other`, as the paper states it.

    Returns:
        Columns `task, title, seed, pooler, basis, ratio`; `basis` is `"same draw"` (one pooler for
        both models) or, for random attention only, `"own draw"` (as published, every draw of one
        model against every draw of the other). A seed that lacks a model has no rows.
    """
    keys, rows = ["task", "title", "seed", "pooler"], []
    uniformity = table[table["metric"] == "uniformity"]
    for key, part in uniformity.groupby(keys, sort=False):
        by_draw = part.pivot_table(index="draw", columns="model", values="value")
        if not {one, other} <= set(by_draw.columns):
            continue
        a, b = by_draw[one].to_numpy(), by_draw[other].to_numpy()
        rows += [(*key, "same draw", ratio) for ratio in a / b]
        if len(a) > 1:
            rows += [(*key, "own draw", ratio) for ratio in np.divide.outer(a, b).ravel()]
    return pd.DataFrame(rows, columns=[*keys, "basis", "ratio"])


def summary(ratios: pd.DataFrame) -> pd.DataFrame:
    """`ratios` with one row per task and training seed.

    Returns:
        Columns `title, seed, mean, weighted fitted, attention fitted, pairs, lowest, median,
        highest, large`; the last five are for random attention with own draws, `large` the share of
        pairs whose ratio is `LARGE` or more.
    """
    keys = ["title", "seed"]
    pairs = ratios[ratios["basis"] == "own draw"].assign(large=lambda t: t["ratio"] >= LARGE)
    per_seed = pairs.groupby(keys, sort=False).agg(
        pairs=("ratio", "count"), lowest=("ratio", "min"), median=("ratio", "median"),
        highest=("ratio", "max"), large=("large", "mean"),
    )  # fmt: skip
    fixed = ratios[ratios["pooler"] != "random attention"]
    wide = fixed.pivot_table(index=keys, columns="pooler", values="ratio", sort=False)
    return wide.rename_axis(columns=None).join(per_seed).reset_index()


def published_ratios() -> pd.DataFrame:
    """The paper's uniformity ratios hybrid / MLM-only: columns `task, pooler, ratio`.

    `pooler` is `"mean"` or `"random attention"`, for which the paper has one draw per model. Its
    weighted pooling was never trained: it is the mean.
    """
    names = {"mean": "mean", "attention": "random attention"}
    table = published.geometry()
    table = table.assign(title=table["task"], seed=0, draw=0, pooler=table["pooling"].map(names))
    return ratios(table)[["task", "pooler", "ratio"]]
