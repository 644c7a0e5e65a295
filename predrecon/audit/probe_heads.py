"""What a frozen vector holds, by three heads: linear, nearest neighbours, and a small MLP.

A linear head tests whether the label lies along a direction, neighbours whether cosines carry it,
an MLP whether it is there at all. The folds are those of `geometry`'s semantic probe.
"""

import pandas as pd

from predrecon import probes
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.geometry import DRAWS, GEOMETRY_SAMPLES, Measured, per_pooling
from predrecon.audit.statistics import bootstrap_counts, score_replicates
from predrecon.data.tasks import Task
from predrecon.recipes import read


def measure_probe_heads(
    models: list[Model],
    tasks: list[Task],
    *,
    heads: tuple[str, ...] = probes.HEADS,
    poolings: tuple[str, ...] | None = None,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """`probe_heads` of every model on every task.

    Args:
        heads: some of `probes.HEADS`; `probes.semantic_probe` states their protocol.
        max_samples: use at most the first `max_samples` of the validation split.
        seed: shuffles the folds, starts the MLP and draws the bootstrap samples.

    Returns:
        Columns `task, title, pooling, model, seed, metric, value, low, high, n, note`. Metrics are
        `semantic_probe` (linear, as in `geometry`), `semantic_probe_knn` and `semantic_probe_mlp`
        (accuracy; graded tasks: Spearman's rho) and, for tasks scored by Matthews' correlation,
        each with `_mcc`. `low` and `high` are a 95 % interval over samples of the out-of-fold
        predictions: the probes are not fitted again.

    Raises:
        ValueError: no model or no task; as in `probe_heads`.
    """
    rows = []
    for task, model in each_pair("probe heads", tasks, models):
        options = dict(heads=heads, poolings=poolings, max_samples=max_samples, seed=seed)
        measured = probe_heads(model, task, **options)
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        for row in measured.rows:
            rows.append(facts | row | measured.interval(row).bounds | {"note": task.note})
    columns = "task title pooling model seed metric value low high n note".split()
    return pd.DataFrame(rows)[columns]


def probe_heads(
    model: Model,
    task: Task,
    *,
    heads: tuple[str, ...] = probes.HEADS,
    poolings: tuple[str, ...] | None = None,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
    draws: int = DRAWS,
) -> Measured:
    """Scores of one encoder under every head and pooling; pairs as "s1 [SEP] s2", as in `geometry`.

    Returns:
        `rows`, and `replicates` `[draws]` on the same bootstrap samples for all; no embeddings.

    Raises:
        ValueError: an unknown head, or none; errors of a probe, with the names of task and model.
    """
    if not heads or (unknown := set(heads) - set(probes.HEADS)):
        wrong = unknown.pop() if heads else heads
        raise ValueError(f"heads holds {wrong!r}: expected some of {', '.join(probes.HEADS)}.")
    split, seed = task.validation.head(max_samples), read("seed", seed)
    digests = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split)
    poolings = model.poolings if poolings is None else poolings

    def compute():
        texts = split.first, split.second

        def of_matrix(z) -> dict[str, tuple]:
            results = {}
            for head in heads:
                probe = probes.semantic_probe(z, split.labels, kind=task.kind, head=head, seed=seed)
                spread = score_replicates(split.labels, probe.predictions, probe.metric, counts)
                name = "semantic_probe" + ("" if head == "linear" else f"_{head}")
                results[name] = probe.score, spread
                if task.metric == "mcc":
                    mcc = probes.score(split.labels, probe.predictions, "mcc")
                    spread = score_replicates(split.labels, probe.predictions, "mcc", counts)
                    results[f"{name}_mcc"] = mcc, spread
            return results

        try:
            counts = bootstrap_counts(len(split), draws, seed)
            pooled = model.embed(*texts, poolings=poolings)
            by_pooling = per_pooling(pooled, of_matrix)
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        rows, arrays = [], {}
        for how, results in by_pooling.items():
            for metric, (value, spread) in results.items():
                row = {"pooling": how, "metric": metric, "value": value, "n": len(split)}
                rows.append(row)
                arrays[f"{how}/{metric}"] = spread
        return rows, arrays

    key = *digests, task.kind, task.metric, heads, poolings, model.own_of(poolings)
    key += model.max_length, seed, draws
    rows, arrays = cached("probe-heads", key, compute)
    return Measured(rows, {}, {tuple(name.split("/")): a for name, a in arrays.items()})
