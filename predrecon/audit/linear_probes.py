"""Linear probes of encoders on labelled tasks (paper, Section 4.2, Table 3), fitted once."""

import dataclasses
import itertools
import operator
from collections.abc import Iterator

import numpy as np
import pandas as pd

from predrecon import probes
from predrecon.audit.cache import cached_all, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_task
from predrecon.audit.geometry import DRAWS
from predrecon.audit.statistics import (
    Interval,
    bootstrap_counts,
    bootstrap_interval,
    interval_over_seeds,
    score_replicates,
)
from predrecon.data.tasks import Split, Task
from predrecon.pooling import POOLINGS
from predrecon.recipes import read

Probed = tuple[probes.ProbeResult, Interval, int]
"""One head on one frozen encoder: the result, its 95 % interval over validation samples, and the
number of training samples."""
_ONE_TRAINING = ("last", "reported")  # choices of `probes.SELECT` that share one training


def linear_probing(
    models: list[Model],
    tasks: list[Task],
    *,
    pooling: str = "mean",
    max_train: int | None = None,
    select: str = "last",
    seed: int = 0,
) -> pd.DataFrame:
    """Linear probes and, for comparison, the majority class.

    Args:
        pooling: of the token vectors; the paper's probes use their mean.
        max_train: use at most the first `max_train` training samples.
        select: which epoch is scored, as in `probes.linear_probe`.
        seed: of the probe.

    Returns:
        Columns `task, title, metric, model, seed, score, low, high, best_epoch_score, n_train, n,
        note`; one row per task and model, one with model `"majority"`. Scores from 0 to 1 (MCC and
        rho from -1); `low` and `high` are a 95 % interval over validation samples.

    Raises:
        ValueError: no model or no task; an unknown `select`; labels and vectors that no head can be
            fitted to.
    """
    rows = []
    for task in each_task("linear probes", tasks, models):
        facts = {"task": task.name, "title": task.title, "metric": task.metric}
        results = _fit(models, task, (pooling,), select, max_train, seed)
        for model in models:
            result = results[model, pooling, select]
            result, interval, n_train = _probed(result, task, max_train, seed)
            facts |= {"n_train": n_train, "n": result.n, "note": task.note}
            row = interval.bounds | {"best_epoch_score": result.best_epoch_score}
            rows.append({**facts, "model": model.name, "seed": model.seed, **row})
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
    """How much higher the best epoch on the reported split scores than the last, with its interval.

    The interval is over seeds; with one seed, or if all agree, over validation samples: a bootstrap
    of both epochs' answers to the same samples.
    Arguments and errors as in `linear_probing`.

    Returns:
        Columns `task, title, metric, model, value, low, high, seeds, basis, n`; one row per task
        and model, values in the units of the score, never below 0.
    """
    rows, by_name = [], {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    for task in each_task("picked epochs", tasks, models):
        results = _fit(models, task, (pooling,), "last", max_train, seed)
        for name, seeds in by_name.items():
            last, best = ([results[m, pooling, s] for m in seeds] for s in _ONE_TRAINING)
            gains = [b.score - a.score for a, b in zip(last, best, strict=True)]
            intervals = [Interval(gain, -np.inf, np.inf, last[0].n) for gain in gains]
            if len(set(gains)) == 1:
                change = _replicates(best[0].predictions, task, seed)
                change = change - _replicates(last[0].predictions, task, seed)
                intervals = [bootstrap_interval(gains[0], change, last[0].n)]
            interval, basis = interval_over_seeds(intervals)
            facts = {"task": task.name, "title": task.title, "metric": task.metric}
            counts = {"seeds": len(seeds), "basis": basis, "n": last[0].n}
            rows.append(facts | {"model": name} | interval.bounds | counts)
    return pd.DataFrame(rows)


def probe(model: Model, task: Task, *, pooling: str = "mean", **options) -> Probed:
    """One pooling of `probe_poolings`, with the same options."""
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
    results = _fit([model], task, poolings, select, max_train, seed)
    return {how: _probed(results[model, how, select], task, max_train, seed) for how in poolings}


def majority(task: Task, max_train: int | None = None, *, seed: int = 0) -> Interval:
    """The score of always answering the most common training label, over validation samples.

    MCC and rho of a constant answer are 0 on any samples.
    """
    train, labels = task.train.head(max_train, "max_train").labels, task.validation.labels
    answer = probes.majority_answer(train, labels, task.metric)
    value = probes.score(labels, answer, task.metric)
    return bootstrap_interval(value, _replicates(answer, task, seed), len(labels))


def _fit(
    models: list[Model],
    task: Task,
    poolings: tuple[str, ...],
    select: str,
    max_train: int | None,
    seed: int,
) -> dict[tuple[Model, str, str], probes.ProbeResult]:
    """By model, pooling and select; missing heads are trained together, on texts encoded once.

    One training gives both `last` and `reported`.
    """
    splits, seed = (task.train.head(max_train, "max_train"), task.validation), read("seed", seed)
    selects = _ONE_TRAINING if select in _ONE_TRAINING else (select,)
    names = list(itertools.product(models, poolings, selects))
    texts = [split_digest(split) for split in splits]
    encoders = {m: (encoder_digest(m.encoder), tokenizer_digest(m.tokenizer)) for m in models}
    protocol = task.metric, len(task.classes), task.epochs, seed
    keys = [(*texts, *encoders[model], *protocol, *choices) for model, *choices in names]

    def compute(missing: list[int]):
        wanted: dict[tuple[Model, str], list[str]] = {}
        for model, pooling, select in (names[number] for number in missing):
            wanted.setdefault((model, pooling), []).append(select)
        fitted = probes.linear_probes(
            _splits_of(list(wanted), splits),
            metric=task.metric,
            num_classes=len(task.classes),
            epochs=task.epochs,
            selects=selects,
            seed=seed,
        )
        for results, chosen in zip(fitted, wanted.values(), strict=True):
            for select in chosen:
                row = dataclasses.asdict(results[select])
                yield [row], {name: row.pop(name) for name in ("predictions", "confidence")}

    results = cached_all("linear-probe", keys, compute)
    return {
        name: probes.ProbeResult(**row, **arrays)
        for name, ((row,), arrays) in zip(names, results, strict=True)
    }


def _probed(result: probes.ProbeResult, task: Task, max_train: int | None, seed: int) -> Probed:
    spread = _replicates(result.predictions, task, seed)
    interval = bootstrap_interval(result.score, spread, result.n)
    return result, interval, len(task.train.head(max_train, "max_train"))


def _replicates(predictions, task: Task, seed: int) -> np.ndarray:
    """The score `[draws]` on bootstrap samples, which are the same for all answers to a task."""
    counts = bootstrap_counts(len(task.validation), DRAWS, seed)
    return score_replicates(task.validation.labels, predictions, task.metric, counts)


def _splits_of(
    heads: list[tuple[Model, str]], splits: tuple[Split, Split]
) -> Iterator[tuple[tuple, tuple]]:
    """Both splits' vectors of each model and pooling; one pass gives all poolings of a model."""
    for model, group in itertools.groupby(heads, key=operator.itemgetter(0)):
        poolings = tuple(pooling for _, pooling in group)
        train, validation = (_vectors(model, split, poolings) for split in splits)
        yield from ((train[how], validation[how]) for how in poolings)


def _vectors(model: Model, split: Split, poolings: tuple[str, ...]) -> dict[str, tuple]:
    """`{pooling: (s, labels) or (s1, s2, labels)}`: both sentences of a pair encoded separately."""
    sides = [split.first] if split.second is None else [split.first, split.second]
    pooled = [model.embed(side, poolings=poolings) for side in sides]
    return {how: (*(side[how] for side in pooled), split.labels) for how in poolings}
