"""The geometry of encoders as other papers measure it: IsoScore, RankMe, alpha-ReQ and LiDAR."""

from itertools import compress

import numpy as np
import pandas as pd

from predrecon import metrics
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.geometry import DRAWS, GEOMETRY_SAMPLES, Measured, per_pooling
from predrecon.audit.statistics import bootstrap_counts
from predrecon.data.tasks import Task
from predrecon.recipes import read

OTHERS = ("iso_score", "rankme", "alpha_req", "lidar")
_RANKS = (11, 100)  # of alpha-ReQ's fit


def measure_other_metrics(
    models: list[Model],
    tasks: list[Task],
    *,
    poolings: tuple[str, ...] | None = None,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """`other_metrics` of every model on every task.

    Returns:
        Columns `task, title, pooling, model, seed, metric, value, low, high, n, dim, note`, `low`
        and `high` a 95 % interval over samples; for LiDAR, n counts the true pairs.

    Raises:
        ValueError: no model or no task; as in `other_metrics`.
    """
    rows = []
    for task, model in each_pair("other metrics", tasks, models):
        options = dict(poolings=poolings, max_samples=max_samples, seed=seed)
        measured = other_metrics(model, task, **options)
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        for row in measured.rows:
            rows.append(facts | row | measured.interval(row).bounds | {"note": task.note})
    columns = "task title pooling model seed metric value low high n dim note".split()
    return pd.DataFrame(rows)[columns]


def other_metrics(
    model: Model,
    task: Task,
    *,
    poolings: tuple[str, ...] | None = None,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
    draws: int = DRAWS,
) -> Measured:
    """`OTHERS` of one encoder on one task's validation split, pairs as "s1 [SEP] s2".

    A metric that cannot be computed is left out: alpha-ReQ below 101 samples or 100 dimensions;
    LiDAR below two true pairs. LiDAR's two views are the sentences of a true pair, encoded
    separately. With fewer pairs than dimensions, it depends more on its delta than on the encoder.

    Returns:
        `rows`, and `replicates` `[draws]` on the same bootstrap samples for every encoder; no
        embeddings.

    Raises:
        ValueError: errors of a metric, with the names of task and model.
    """
    split, seed = task.validation.head(max_samples), read("seed", seed)
    digests = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split)
    poolings = model.poolings if poolings is None else poolings

    def compute():
        def encoded(*texts) -> dict[str, np.ndarray]:
            return model.embed(*texts, poolings=poolings)

        def of_matrix(z) -> dict[str, tuple]:
            chosen = {"iso_score": metrics.iso_score, "rankme": metrics.rankme}
            if min(len(z) - 1, z.shape[1]) >= _RANKS[1]:
                chosen["alpha_req"] = metrics.alpha_req
            return {k: (f(z), f(z, weights=counts), len(z)) for k, f in chosen.items()}

        positive = task.positives(split.labels)
        try:
            counts = bootstrap_counts(len(split), draws, seed)
            pooled = encoded(split.first, split.second)
            results = per_pooling(pooled, of_matrix)
            if positive is not None and positive.sum() > 1:
                of_pairs = bootstrap_counts(int(positive.sum()), draws, seed)
                sides = [
                    encoded(list(compress(side, positive))) for side in (split.first, split.second)
                ]
                for how in poolings:
                    views = np.stack([side[how] for side in sides], axis=1)  # (P, 2, D)
                    spread = metrics.lidar(views, weights=of_pairs)
                    lidar = metrics.lidar(views), spread, len(views)
                    results[how] = results[how] | {"lidar": lidar}
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        rows, arrays = [], {}
        for how, by_metric in results.items():
            for metric, (value, spread, n) in by_metric.items():
                row = {"pooling": how, "metric": metric, "value": value, "n": n}
                rows.append(row | {"dim": pooled[how].shape[1]})
                arrays[f"{how}/{metric}"] = spread
        return rows, arrays

    key = *digests, task.classes, poolings, model.own_of(poolings), model.max_length, seed, draws
    rows, arrays = cached("other-metrics", key, compute)
    return Measured(rows, {}, {tuple(name.split("/")): a for name, a in arrays.items()})
