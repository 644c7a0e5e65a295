"""Graded similarity of sentences: Spearman's rho of cosine similarities (STS12-16, STS-B, SICK-R).

Nothing is fitted. Every sentence is encoded on its own.
"""

import numpy as np
import pandas as pd

from predrecon import metrics, probes
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.geometry import DRAWS, Measured
from predrecon.audit.statistics import bootstrap_counts, bootstrap_interval, score_replicates
from predrecon.data.tasks import SimilarityTask
from predrecon.recipes import read

SUMMARIES = ("mean", "weighted mean")
"""Rows of `measure_similarity` over all tasks: each task counts once, or by its pairs."""


def measure_similarity(
    models: list[Model],
    tasks: list[SimilarityTask],
    *,
    poolings: tuple[str, ...] | None = None,
    max_samples: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """`similarity` of every model on every task, and with several tasks the `SUMMARIES`.

    Args:
        max_samples: use at most the first `max_samples` pairs of a task; None: all.
        seed: draws the bootstrap samples.

    Returns:
        Columns `task, title, pooling, model, seed, metric, value, low, high, n, note`; rho from -1
        to 1; `low` and `high` are a 95 % interval over pairs. For a summary, `task` is its name, n
        counts the pairs of all tasks, and the interval is from the tasks' bootstrap samples, which
        are independent.

    Raises:
        ValueError: no model or no task; two models of one name and seed; as in `similarity`.
    """
    _check_names(models)
    rows, replicates = [], {}
    for task, model in each_pair("similarity", tasks, models):
        options = dict(poolings=poolings, max_samples=max_samples, seed=seed)
        measured = similarity(model, task, **options)
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        for row in measured.rows:
            rows.append(facts | row | measured.interval(row).bounds | {"note": task.note})
            key = task.name, row["pooling"], model.name, model.seed
            replicates[key] = measured.replicates[row["pooling"], row["metric"]]
    columns = "task title pooling model seed metric value low high n note".split()
    table = pd.DataFrame(rows)[columns]
    if len(tasks) > 1:
        table = pd.concat([table, _summaries(table, replicates)], ignore_index=True)
    return table


def similarity(
    model: Model,
    task: SimilarityTask,
    *,
    poolings: tuple[str, ...] | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Measured:
    """Spearman's rho between grades and cosine similarities, over all pairs at once.

    This is "all", what sentence-transformers' EmbeddingSimilarityEvaluator and MTEB compute, not
    the mean over a task's parts that some early STS papers report (Gao et al. 2021, Appendix B).

    Returns:
        `rows` with the metric `spearman`; `replicates` `[draws]` on the same bootstrap samples of
        pairs for every encoder and pooling; no embeddings.

    Raises:
        ValueError: a sentence vector that is zero, NaN or infinite, with the names of task and
            model; fewer than two pairs.
    """
    split, seed = task.test.head(max_samples), read("seed", seed)
    digests = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split)
    poolings = model.poolings if poolings is None else poolings

    def compute():
        try:
            counts = bootstrap_counts(len(split), draws, seed)
            sentences = [*split.first, *split.second]
            pooled = model.embed(sentences, poolings=poolings)
            cosines = {how: metrics.cosines(*np.split(z, 2)) for how, z in pooled.items()}
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        rows, arrays = [], {}
        for how, cosine in cosines.items():
            value = probes.score(split.labels, cosine, "spearman")
            row = {"pooling": how, "metric": "spearman", "value": value, "n": len(split)}
            rows.append(row | {"dim": pooled[how].shape[1]})
            arrays[how] = score_replicates(split.labels, cosine, "spearman", counts)
        return rows, arrays

    key = *digests, poolings, model.own_of(poolings), model.max_length, seed, draws
    rows, arrays = cached("similarity", key, compute)
    return Measured(rows, {}, {(how, "spearman"): spread for how, spread in arrays.items()})


def _summaries(table: pd.DataFrame, replicates: dict[tuple, np.ndarray]) -> pd.DataFrame:
    """Both `SUMMARIES` of each pooling and model, with the notes of the tasks joined."""
    rows = []
    for key, part in table.groupby(["pooling", "model", "seed", "metric"], sort=False):
        facts = dict(zip(("pooling", "model", "seed", "metric"), key, strict=True))
        spreads = np.stack([replicates[task, *key[:3]] for task in part["task"]])  # (tasks, draws)
        notes = part[part["note"] != ""]
        note = "; ".join(notes["title"] + ": " + notes["note"])
        note = f"{len(part)} tasks" + (f"; {note}" if note else "")
        for name, weights in zip(SUMMARIES, (None, part["n"]), strict=True):
            value = float(np.average(part["value"], weights=weights))
            spread = np.average(spreads, axis=0, weights=weights)
            interval = bootstrap_interval(value, spread, int(part["n"].sum()))
            row = {"task": name, "title": f"{name} of {len(part)}", **facts, **interval.bounds}
            rows.append(row | {"n": interval.n, "note": note})
    return pd.DataFrame(rows)


def _check_names(models: list[Model]):
    """Refuse two models of one name and seed: summaries could not separate them."""
    names = [(model.name, model.seed) for model in models]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(
            f"Two models are named {double[0]!r} with seed {double[1]}: give each its own name."
        )
