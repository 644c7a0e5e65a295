"""How much of the "5-10 x" in uniformity is the pooler: random queries, and fitted ones.

The paper's attention pooling is drawn at random, once, without a seed, and for each model anew. So
its numbers are one draw each of a distribution; here are many draws, the same for all models.
"""

import pandas as pd

from predrecon.fitted_pooling import fitted_directions
from predrecon.measuring import Model, measure
from predrecon.pooling import attention_direction
from predrecon.progress import Progress
from predrecon.tasks import Task

METRICS = ("uniformity", "effective_rank", "spectral_entropy", "alignment")


def spread(
    compared: list[Model], tasks: list[Task], *, draws: int = 20, max_samples: int = 2000
) -> pd.DataFrame:
    """Shape metrics under mean pooling, `draws` random poolers, and both fitted ones.

    Args:
        compared: encoders. tasks: fitted poolers use their training splits.
        draws: random queries and keys, of seeds 0 to draws - 1.

    Returns:
        Columns `task, title, model, seed, pooler, draw, metric, value, n`. `pooler` is `"mean"`,
        `"random attention"`, `"weighted fitted"` or `"attention fitted"`; `draw` tells the random
        ones apart and is 0 for the others.
    """
    rows = []
    pairs = [(task, model) for task in tasks for model in compared]
    with Progress("poolers", len(pairs), "encoders × tasks") as progress:
        for number, (task, model) in enumerate(pairs):
            progress.update(number, f"{task.title}, {model.name}")
            found = measure(
                model, task, poolings=("mean",), directions=_directions(model, task, draws),
                max_samples=max_samples, probed=False,
            )  # fmt: skip
            facts = {"task": task.name, "title": task.title, "model": model.name}
            for row in found.rows:
                if row["metric"] in METRICS:
                    pooler, _, draw = row["pooling"].partition(" #")
                    told = {"seed": model.seed, "pooler": pooler, "draw": int(draw or 0)}
                    told |= {k: row[k] for k in ("metric", "value", "n")}
                    rows.append(facts | told)
        progress.update(len(pairs))
    return pd.DataFrame(rows)


def ratios(table: pd.DataFrame, one: str = "hybrid", other: str = "mlm") -> pd.DataFrame:
    """Uniformity of `one` over that of `other`, as the paper puts it.

    Returns:
        Columns `task, title, seed, pooler, ratio` and, for random attention, two ways of drawing:
        `basis` is `"same draw"` (one pooler for both models) or `"own draw"` (as published, every
        draw of one model against every draw of the other).
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
    return pd.DataFrame(rows)


def _directions(model: Model, task: Task, draws: int) -> dict:
    dim = model.encoder.config.hidden_size
    found = {f"random attention #{k}": attention_direction(dim, k) for k in range(draws)}
    return found | fitted_directions(model.encoder, model.tokenizer, task.train, task.kind)
