"""Retrieval: does a sentence find its paraphrase among all others? For tasks with true pairs."""

from itertools import compress

import numpy as np
import pandas as pd

from predrecon import metrics
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.geometry import DRAWS, GEOMETRY_SAMPLES, Measured
from predrecon.audit.statistics import bootstrap_counts
from predrecon.data.tasks import Task
from predrecon.recipes import read

MEASURES = ("recall@1", "recall@10", "mrr")


def measure_retrieval(
    models: list[Model],
    tasks: list[Task],
    *,
    poolings: tuple[str, ...] | None = None,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """`retrieval` of every model on every task that has true pairs; the others are left out.

    Args:
        max_samples: use at most the first `max_samples` pairs of a task.
        seed: draws the bootstrap samples.

    Returns:
        Columns `task, title, pooling, model, seed, metric, value, low, high, n, candidates, note`;
        values from 0 to 1; `n` counts the queries, `low` and `high` are a 95 % interval over them.

    Raises:
        ValueError: no model, or no task with two true pairs; as in `retrieval`.
    """
    rows, chosen = [], [task for task in tasks if _queries(task, max_samples).sum() > 1]
    if tasks and not chosen:
        titles = ", ".join(task.title for task in tasks)
        raise ValueError(f"retrieval: no true pairs in {titles}. Try mrpc, stsb or docs-edit.")
    for task, model in each_pair("retrieval", chosen, models):
        options = dict(poolings=poolings, max_samples=max_samples, seed=seed)
        measured = retrieval(model, task, **options)
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        for row in measured.rows:
            rows.append(facts | row | measured.interval(row).bounds | {"note": task.note})
    columns = "task title pooling model seed metric value low high n candidates note".split()
    return pd.DataFrame(rows)[columns]


def retrieval(
    model: Model,
    task: Task,
    *,
    poolings: tuple[str, ...] | None = None,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
    draws: int = DRAWS,
) -> Measured:
    """`metrics.retrieval` of the first sentence of every true pair among all second sentences.

    True pairs are `Task.positives` of the validation split; the second sentences of all its pairs
    are candidates. Sentences are encoded on their own. A candidate that equals the query, or is a
    second match for it, is kept: 3 of 279 queries of MRPC find themselves, 10 of 264 of STS-B.

    Returns:
        `rows` of `MEASURES`, whose n counts queries; `replicates` `[draws]` over queries, with
        fixed candidates, on the same bootstrap samples for every encoder; no embeddings.

    Raises:
        ValueError: fewer than two true pairs; a vector that is zero, NaN or infinite. The message
            names task and model.
    """
    split, seed = task.validation.head(max_samples), read("seed", seed)
    positive = _queries(task, max_samples)
    if positive.sum() < 2:
        raise ValueError(f"{task.title}: {positive.sum()} true pairs, retrieval needs two.")
    digests = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split)
    poolings = model.poolings if poolings is None else poolings

    def compute():
        queries = list(compress(split.first, positive))
        counts = bootstrap_counts(len(queries), draws, seed)
        rows, arrays = [], {}
        try:
            texts = [*queries, *split.second]
            pooled = model.embed(texts, poolings=poolings)
            for how, z in pooled.items():
                sides = np.split(z, [len(queries)])
                values = metrics.retrieval(*sides, np.flatnonzero(positive))
                for metric, value in values.items():
                    row = {"pooling": how, "metric": metric, "value": float(value.mean())}
                    rows.append(row | {"n": len(queries), "candidates": len(split)})
                    arrays[f"{how}/{metric}"] = counts @ value / len(queries)
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        return rows, arrays

    key = *digests, task.classes, poolings, model.own_of(poolings), model.max_length, seed, draws
    rows, arrays = cached("retrieval", key, compute)
    return Measured(rows, {}, {tuple(name.split("/")): a for name, a in arrays.items()})


def _queries(task: Task, max_samples: int) -> np.ndarray:
    """`[N]` bool: the true pairs of the samples."""
    labels = task.validation.head(max_samples).labels
    positive = task.positives(labels)
    return np.zeros(len(labels), bool) if positive is None else positive
