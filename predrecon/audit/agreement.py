"""How alike pairs of encoders are on the same texts: linear CKA and Procrustes distance."""

import itertools

import numpy as np
import pandas as pd

from predrecon import metrics
from predrecon.audit.cache import cached_all, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_task
from predrecon.audit.geometry import GEOMETRY_SAMPLES
from predrecon.audit.statistics import bootstrap_counts, bootstrap_interval
from predrecon.data.tasks import Task
from predrecon.pooling import POOLINGS
from predrecon.recipes import read
from predrecon.seeding import numpy_generator

MEASURES = {"linear_cka": metrics.linear_cka, "procrustes_distance": metrics.procrustes_distance}
_DRAWS = 50  # each costs as much as the value


def measure_agreement(
    models: list[Model],
    tasks: list[Task],
    *,
    poolings: tuple[str, ...] = POOLINGS,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Both `MEASURES` of every pair of models, whatever their widths, on every task's texts.

    Args:
        max_samples: use at most the first `max_samples` of the validation split; pairs of sentences
            are "s1 [SEP] s2", as in `geometry`.
        seed: draws the bootstrap samples, and the order for `chance`.

    Returns:
        Columns `task, title, pooling, model, seed, other, other_seed, metric, value, low, high,
        chance, n, note`; `low` and `high` are a 95 % interval over texts from 50 bootstrap
        samples; `chance` is the value with the other encoder's texts shuffled, which means no
        agreement: for CKA it is not 0, but near D / N.

    Raises:
        ValueError: fewer than two models, or no task; errors of a metric, with the names of the
            task and both models.
    """
    if len(models) < 2:
        raise ValueError(f"agreement: {len(models)} models: a pair needs two.")
    seed, rows, pairs = read("seed", seed), [], list(itertools.combinations(models, 2))
    digests = {m: (encoder_digest(m.encoder), tokenizer_digest(m.tokenizer)) for m in models}
    for task in each_task("agreement", tasks, models):
        split = task.validation.head(max_samples)
        protocol = split_digest(split), poolings, seed, _DRAWS
        keys = [(*digests[a], a.max_length, *digests[b], b.max_length, *protocol) for a, b in pairs]

        def compute(missing: list[int], split=split, task=task):
            pooled = {}
            for model in {m: None for i in missing for m in pairs[i]}:
                texts = split.first, split.second
                pooled[model] = model.embed(*texts, poolings=poolings)
            for a, b in (pairs[i] for i in missing):
                try:
                    yield _compared(pooled[a], pooled[b], seed)
                except ValueError as error:
                    raise ValueError(f"{task.title}, {a.name}, {b.name}: {error}") from error

        facts, note = {"task": task.name, "title": task.title}, {"note": task.note}
        for (a, b), (results, arrays) in zip(
            pairs, cached_all("agreement", keys, compute), strict=True
        ):
            names = {"model": a.name, "seed": a.seed, "other": b.name, "other_seed": b.seed}
            for row in results:
                spread = arrays[f"{row['pooling']}/{row['metric']}"]
                interval = bootstrap_interval(row["value"], spread, row["n"])
                rows.append(facts | names | row | interval.bounds | note)
    columns = "task title pooling model seed other other_seed metric value low high chance n note"
    return pd.DataFrame(rows)[columns.split()]


def _compared(first: dict, second: dict, seed: int) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Rows and replicates of one pair's embeddings `{pooling: [N, D]}`."""
    n = len(next(iter(first.values())))
    counts = bootstrap_counts(n, _DRAWS, seed)
    shuffled = numpy_generator(seed, "agreement").permutation(n)
    rows, arrays = [], {}
    for pooling, a in first.items():
        b = second[pooling]
        for metric, measure in MEASURES.items():
            row = {"pooling": pooling, "metric": metric, "value": measure(a, b), "n": n}
            rows.append(row | {"chance": measure(a, b[shuffled])})
            arrays[f"{pooling}/{metric}"] = measure(a, b, weights=counts)
    return rows, arrays
