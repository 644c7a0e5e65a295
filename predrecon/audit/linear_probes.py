"""Linear probes of encoders on labelled tasks (paper, Section 4.2, Table 3), remembered."""

import dataclasses
import functools
import itertools

import numpy as np
import pandas as pd

from predrecon import probes
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model
from predrecon.audit.geometry import DRAWS
from predrecon.audit.resampling import score_replicates
from predrecon.audit.statistics import (
    Interval,
    bootstrap_counts,
    bootstrap_interval,
    interval_over_seeds,
)
from predrecon.data.progress import each_pair
from predrecon.data.tasks import Task
from predrecon.pooling import POOLINGS, embed


def linear_probing(
    compared: list[Model],
    tasks: list[Task],
    *,
    pooling: str = "mean",
    max_train: int | None = None,
    select: str = "last",
    seed: int = 0,
) -> pd.DataFrame:
    """Linear probes, the majority class beside them.

    Args:
        compared: encoders.
        tasks: labelled tasks.
        pooling: of the token vectors; the paper's probes are on their mean.
        max_train: use at most so many training samples (the first ones).
        select: which epoch is scored, as in `probes.linear_probe`.
        seed: of the probe.

    Returns:
        Columns `task, title, metric, model, seed, score, low, high, best_epoch_score, n_train, n,
        note`; one row a task and model, one with model `"majority"`. Scores from 0 to 1 (MCC and
        rho from -1); `low` and `high` are a 95 % interval over validation samples.

    Raises:
        ValueError: an unknown `select`, or labels and vectors that no head can be fitted to.
    """
    rows = []
    for task, model in each_pair("linear probes", tasks, compared):
        ways = {"pooling": pooling, "max_train": max_train, "select": select, "seed": seed}
        result, interval, n_train = probe(model, task, **ways)
        facts = {"task": task.name, "title": task.title, "metric": task.metric}
        facts |= {"n_train": n_train, "n": len(task.validation), "note": task.note}
        told = interval.bounds | {"best_epoch_score": result.best_epoch_score}
        rows.append({**facts, "model": model.name, "seed": model.seed, **told})
        if model is compared[-1]:
            constant = majority(task, max_train, seed=seed)
            rows.append({**facts, "model": "majority", **constant.bounds})
    return pd.DataFrame(rows).rename(columns={"value": "score"})


def epoch_selection_gain(
    compared: list[Model],
    tasks: list[Task],
    *,
    pooling: str = "mean",
    max_train: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """What the best epoch on the reported split scores above the last one, with its interval.

    Over seeds; with one seed, or where all agree, over validation samples: a bootstrap of both
    epochs' answers to the same samples, for which the first seed's head is fitted once more.

    Args:
        compared, tasks, pooling, max_train, seed: as in `linear_probing`.

    Returns:
        Columns `task, title, metric, model, value, low, high, seeds, basis, n`; one row a task and
        model, values in the units of the score, never below 0.
    """
    named: dict[str, list[Model]] = {}
    for model in compared:
        named.setdefault(model.name, []).append(model)
    rows, ways = [], {"pooling": pooling, "max_train": max_train, "seed": seed}
    for task, first in each_pair("picked epochs", tasks, [models[0] for models in named.values()]):
        name = first.name
        if len(named[name]) == 1:  # both choices from one pass over the texts
            _each(first, task, (pooling,), ("last", "reported"), max_train, seed)
        last = [probe(model, task, **ways)[0] for model in named[name]]
        gains = [result.best_epoch_score - result.score for result in last]
        alone = [Interval(gain, -np.inf, np.inf, last[0].n) for gain in gains]
        if len(set(gains)) == 1:
            best = probe(first, task, select="reported", **ways)[0]
            alone = [_gain(last[0], best, task, seed)]
        interval, basis = interval_over_seeds(alone)
        facts = {"task": task.name, "title": task.title, "metric": task.metric, "model": name}
        told = {"seeds": len(last), "basis": basis, "n": last[0].n}
        rows.append(facts | interval.bounds | told)
    return pd.DataFrame(rows)


def _gain(last: probes.ProbeResult, best: probes.ProbeResult, task: Task, seed: int) -> Interval:
    spread = _replicates(best.predictions, task, seed) - _replicates(last.predictions, task, seed)
    return bootstrap_interval(last.best_epoch_score - last.score, spread, last.n)


def probe(
    model: Model,
    task: Task,
    *,
    pooling: str = "mean",
    max_train: int | None = None,
    select: str = "last",
    seed: int = 0,
) -> tuple[probes.ProbeResult, Interval, int]:
    """One head on one frozen encoder: the result, its 95 % interval over validation samples, and
    the number of training samples. Fitted once: remembered by weights, texts and protocol.
    """
    ways = {"max_train": max_train, "select": select, "seed": seed}
    return probe_poolings(model, task, (pooling,), **ways)[pooling]


def probe_poolings(
    model: Model,
    task: Task,
    poolings: tuple[str, ...] = POOLINGS,
    *,
    max_train: int | None = None,
    select: str = "last",
    seed: int = 0,
) -> dict[str, tuple[probes.ProbeResult, Interval, int]]:
    """`{pooling: probe(model, task, pooling=pooling)}`, from one pass over the texts."""
    found = _each(model, task, poolings, (select,), max_train, seed)
    return {pooling: found[pooling, select] for pooling in poolings}


def _each(
    model: Model,
    task: Task,
    poolings: tuple[str, ...],
    selects: tuple[str, ...],
    max_train: int | None,
    seed: int,
) -> dict[tuple[str, str], tuple[probes.ProbeResult, Interval, int]]:
    """`{(pooling, select): probe(...)}`; texts are encoded once, and only if a head is missing."""
    train = _train(task, max_train)
    digests = [split_digest(split) for split in (train, task.validation)]
    digests = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), *digests

    @functools.cache
    def vectors():
        return [_vectors(model, split, poolings) for split in (train, task.validation)]

    found = {}
    for pooling, select in itertools.product(poolings, selects):

        def compute(pooling=pooling, select=select):
            result = probes.linear_probe(
                *(by_pooling[pooling] for by_pooling in vectors()),
                metric=task.metric,
                num_classes=len(task.classes),
                epochs=task.epochs,
                select=select,
                seed=seed,
            )
            told = dataclasses.asdict(result)
            return [told], {name: told.pop(name) for name in ("predictions", "confidence")}

        protocol = (task.metric, len(task.classes), task.epochs, seed, pooling, "confidence")
        protocol += () if select == "last" else (select,)  # kept before there was a choice
        (told,), arrays = cached("linear-probe", (*digests, *protocol), compute)
        result = probes.ProbeResult(**told, **arrays)
        spread = _replicates(result.predictions, task, seed)
        found[pooling, select] = (
            result,
            bootstrap_interval(result.score, spread, result.n),
            len(train),
        )
    return found


def majority(task: Task, max_train: int | None = None, *, seed: int = 0) -> Interval:
    """What always answering the commonest training label scores, over validation samples.

    The interval is that of the samples; MCC and rho of a constant answer are 0 on any of them.
    """
    train, labels = _train(task, max_train).labels, task.validation.labels
    answer = probes.majority_answer(train, labels, task.metric)
    value = probes.score(labels, answer, task.metric)
    return bootstrap_interval(value, _replicates(answer, task, seed), len(labels))


def _replicates(predictions, task: Task, seed: int) -> np.ndarray:
    """The score `[draws]` on bootstrap samples, the same ones for all answers to a task."""
    counts = bootstrap_counts(len(task.validation), DRAWS, seed)
    return score_replicates(task.validation.labels, predictions, task.metric, counts)


def _train(task: Task, max_train: int | None):
    return task.train.head(max_train) if max_train else task.train


def _vectors(model: Model, split, poolings: tuple[str, ...]) -> dict[str, tuple]:
    """`{pooling: (s, labels) or (s1, s2, labels)}`: the sentences of a pair are encoded apart."""
    sides = [split.first] if split.second is None else [split.first, split.second]
    pooled = [embed(model.encoder, model.tokenizer, side, poolings=poolings) for side in sides]
    return {way: (*(vectors[way] for vectors in pooled), split.labels) for way in poolings}
