"""Linear probes of encoders on labelled tasks (paper, Section 4.2, Table 3), fitted once."""

import dataclasses
import functools
import itertools

import numpy as np
import pandas as pd

from predrecon import probes
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.geometry import DRAWS
from predrecon.audit.statistics import (
    Interval,
    bootstrap_counts,
    bootstrap_interval,
    interval_over_seeds,
    score_replicates,
)
from predrecon.data.tasks import Split, Task
from predrecon.pooling import POOLINGS, embed

Probed = tuple[probes.ProbeResult, Interval, int]
"""One head on one frozen encoder: the result, its 95 % interval over validation samples, and the
number of training samples."""


def linear_probing(
    models: list[Model],
    tasks: list[Task],
    *,
    pooling: str = "mean",
    max_train: int | None = None,
    select: str = "last",
    seed: int = 0,
) -> pd.DataFrame:
    """Linear probes, the majority class beside them.

    Args:
        pooling: of the token vectors; the paper's probes are on their mean.
        max_train: use at most so many training samples (the first ones).
        select: which epoch is scored, as in `probes.linear_probe`.
        seed: of the probe.

    Returns:
        Columns `task, title, metric, model, seed, score, low, high, best_epoch_score, n_train, n,
        note`; one row a task and model, one with model `"majority"`. Scores from 0 to 1 (MCC and
        rho from -1); `low` and `high` are a 95 % interval over validation samples.

    Raises:
        ValueError: no model or no task; an unknown `select`; labels and vectors that no head can be
            fitted to.
    """
    rows, options = [], {"max_train": max_train, "select": select, "seed": seed}
    for task, model in each_pair("linear probes", tasks, models):
        result, interval, n_train = probe(model, task, pooling=pooling, **options)
        facts = {"task": task.name, "title": task.title, "metric": task.metric}
        facts |= {"n_train": n_train, "n": len(task.validation), "note": task.note}
        row = interval.bounds | {"best_epoch_score": result.best_epoch_score}
        rows.append({**facts, "model": model.name, "seed": model.seed, **row})
        if model is models[-1]:
            constant = majority(task, max_train, seed=seed)
            rows.append({**facts, "model": "majority", **constant.bounds})
    return pd.DataFrame(rows).rename(columns={"value": "score"})


def epoch_selection_gain(
    models: list[Model],
    tasks: list[Task],
    *,
    pooling: str = "mean",
    max_train: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """What the best epoch on the reported split scores above the last one, with its interval.

    Over seeds; with one seed, or where all agree, over validation samples: a bootstrap of both
    epochs' answers to the same samples, for which the first seed's head is fitted again.
    Arguments and errors as in `linear_probing`.

    Returns:
        Columns `task, title, metric, model, value, low, high, seeds, basis, n`; one row a task and
        model, values in the units of the score, never below 0.
    """
    by_name: dict[str, list[Model]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    rows, options = [], {"pooling": pooling, "max_train": max_train, "seed": seed}
    for task, first in each_pair("picked epochs", tasks, [seeds[0] for seeds in by_name.values()]):
        seeds = by_name[first.name]
        if len(seeds) == 1:  # both choices from one pass over the texts
            _fit(first, task, (pooling,), ("last", "reported"), max_train, seed)
        last = [probe(model, task, **options)[0] for model in seeds]
        gains = [result.best_epoch_score - result.score for result in last]
        intervals = [Interval(gain, -np.inf, np.inf, last[0].n) for gain in gains]
        if len(set(gains)) == 1:
            best = probe(first, task, select="reported", **options)[0]
            change = _replicates(best.predictions, task, seed)
            change = change - _replicates(last[0].predictions, task, seed)
            intervals = [bootstrap_interval(gains[0], change, last[0].n)]
        interval, basis = interval_over_seeds(intervals)
        facts = {"task": task.name, "title": task.title, "metric": task.metric}
        counts = {"seeds": len(last), "basis": basis, "n": last[0].n}
        rows.append(facts | {"model": first.name} | interval.bounds | counts)
    return pd.DataFrame(rows)


def probe(model: Model, task: Task, *, pooling: str = "mean", **options) -> Probed:
    """One pooling of `probe_poolings`, which takes the same options."""
    return probe_poolings(model, task, (pooling,), **options)[pooling]


def probe_poolings(
    model: Model,
    task: Task,
    poolings: tuple[str, ...] = POOLINGS,
    *,
    max_train: int | None = None,
    select: str = "last",
    seed: int = 0,
) -> dict[str, Probed]:
    """`{pooling: Probed}` of one encoder on one task, from one pass over the texts.

    Other arguments as in `linear_probing`.
    """
    results = _fit(model, task, poolings, (select,), max_train, seed)
    return {pooling: results[pooling, select] for pooling in poolings}


def majority(task: Task, max_train: int | None = None, *, seed: int = 0) -> Interval:
    """What always answering the commonest training label scores, over validation samples.

    MCC and rho of a constant answer are 0 on any samples.
    """
    train, labels = task.train.head(max_train or None).labels, task.validation.labels
    answer = probes.majority_answer(train, labels, task.metric)
    value = probes.score(labels, answer, task.metric)
    return bootstrap_interval(value, _replicates(answer, task, seed), len(labels))


def _fit(
    model: Model,
    task: Task,
    poolings: tuple[str, ...],
    selects: tuple[str, ...],
    max_train: int | None,
    seed: int,
) -> dict[tuple[str, str], Probed]:
    """By pooling and select; texts are encoded once, and only if a head is missing."""
    train = task.train.head(max_train or None)
    digests = [split_digest(split) for split in (train, task.validation)]
    digests += [encoder_digest(model.encoder), tokenizer_digest(model.tokenizer)]

    @functools.cache
    def vectors():
        return [_vectors(model, split, poolings) for split in (train, task.validation)]

    results = {}
    for pooling, select in itertools.product(poolings, selects):
        protocol = task.metric, len(task.classes), task.epochs, seed, pooling, select

        def compute(pooling=pooling, select=select):
            result = probes.linear_probe(
                *(by_pooling[pooling] for by_pooling in vectors()),
                metric=task.metric,
                num_classes=len(task.classes),
                epochs=task.epochs,
                select=select,
                seed=seed,
            )
            row = dataclasses.asdict(result)
            return [row], {name: row.pop(name) for name in ("predictions", "confidence")}

        (row,), arrays = cached("linear-probe", (*digests, *protocol), compute)
        result = probes.ProbeResult(**row, **arrays)
        spread = _replicates(result.predictions, task, seed)
        interval = bootstrap_interval(result.score, spread, result.n)
        results[pooling, select] = result, interval, len(train)
    return results


def _replicates(predictions, task: Task, seed: int) -> np.ndarray:
    """The score `[draws]` on bootstrap samples, the same ones for all answers to a task."""
    counts = bootstrap_counts(len(task.validation), DRAWS, seed)
    return score_replicates(task.validation.labels, predictions, task.metric, counts)


def _vectors(model: Model, split: Split, poolings: tuple[str, ...]) -> dict[str, tuple]:
    """`{pooling: (s, labels) or (s1, s2, labels)}`: the sentences of a pair are encoded apart."""
    sides = [split.first] if split.second is None else [split.first, split.second]
    pooled = [embed(model.encoder, model.tokenizer, side, poolings=poolings) for side in sides]
    return {how: (*(side[how] for side in pooled), split.labels) for how in poolings}
