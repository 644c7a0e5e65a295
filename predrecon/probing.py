"""Linear probes of encoders on labelled tasks (paper, Section 4.2, Table 3), remembered."""

import dataclasses
import functools

import pandas as pd

from predrecon import probes
from predrecon.measuring import DRAWS, Model
from predrecon.pooling import POOLINGS, embed
from predrecon.progress import each_pair
from predrecon.resampling import score_replicates
from predrecon.results import remembered, split_digest, tokenizer_digest, weights_digest
from predrecon.tasks import Task
from predrecon.uncertainty import Interval, around, bootstrap_counts


def linear_probing(
    compared: list[Model],
    tasks: list[Task],
    *,
    pooling: str = "mean",
    max_train: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Linear probes, the majority class beside them.

    Args:
        compared: encoders.
        tasks: labelled tasks.
        pooling: of the token vectors; the paper's probes are on their mean.
        max_train: use at most so many training samples (the first ones).
        seed: of the probe.

    Returns:
        Columns `task, title, metric, model, seed, score, low, high, best_epoch_score, n_train, n,
        note`; one row a task and model, one with model `"majority"`. Scores from 0 to 1 (MCC and
        rho from -1); `low` and `high` are a 95 % interval over validation samples.
    """
    rows = []
    for task, model in each_pair("linear probes", tasks, compared):
        ways = {"pooling": pooling, "max_train": max_train, "seed": seed}
        result, interval, n_train = probe(model, task, **ways)
        facts = {"task": task.name, "title": task.title, "metric": task.metric}
        facts |= {"n_train": n_train, "n": len(task.validation), "note": task.note}
        told = {"score": interval.value, "low": interval.low, "high": interval.high}
        told["best_epoch_score"] = result.best_epoch_score
        rows.append({**facts, "model": model.name, "seed": model.seed, **told})
        if model is compared[-1]:
            rows.append({**facts, "model": "majority", "score": majority(task, max_train)})
    return pd.DataFrame(rows)


def probe(
    model: Model, task: Task, *, pooling: str = "mean", max_train: int | None = None, seed: int = 0
) -> tuple[probes.ProbeResult, Interval, int]:
    """One head on one frozen encoder: the result, its 95 % interval over validation samples, and
    the number of training samples. Fitted once: remembered by weights, texts and protocol.
    """
    return each_pooling(model, task, (pooling,), max_train=max_train, seed=seed)[pooling]


def each_pooling(
    model: Model,
    task: Task,
    poolings: tuple[str, ...] = POOLINGS,
    *,
    max_train: int | None = None,
    seed: int = 0,
) -> dict[str, tuple[probes.ProbeResult, Interval, int]]:
    """`{pooling: probe(model, task, pooling=pooling)}`, from one pass over the texts."""
    train, labels = _train(task, max_train), task.validation.labels
    digests = [split_digest(split) for split in (train, task.validation)]
    digests = weights_digest(model.encoder), tokenizer_digest(model.tokenizer), *digests

    @functools.cache
    def vectors():
        return [_vectors(model, split, poolings) for split in (train, task.validation)]

    found = {}
    for pooling in poolings:

        def compute(pooling=pooling):
            result = probes.linear_probe(
                *(by_pooling[pooling] for by_pooling in vectors()),
                metric=task.metric,
                num_classes=len(task.classes),
                epochs=task.epochs,
                seed=seed,
            )
            told = dataclasses.asdict(result)
            return [told], {name: told.pop(name) for name in ("predictions", "confidence")}

        protocol = (task.metric, len(task.classes), task.epochs, seed, pooling, "confidence")
        (told,), arrays = remembered("linear-probe", (*digests, *protocol), compute)
        result = probes.ProbeResult(**told, **arrays)
        counts = bootstrap_counts(result.n, DRAWS, seed)
        spread = score_replicates(labels, result.predictions, task.metric, counts)
        found[pooling] = result, around(result.score, spread, result.n), len(train)
    return found


def majority(task: Task, max_train: int | None = None) -> float:
    """What always answering the commonest training label scores."""
    return probes.majority(_train(task, max_train).labels, task.validation.labels, task.metric)


def _train(task: Task, max_train: int | None):
    return task.train.head(max_train) if max_train else task.train


def _vectors(model: Model, split, poolings: tuple[str, ...]) -> dict[str, tuple]:
    """`{pooling: (s, labels) or (s1, s2, labels)}`: the sentences of a pair are encoded apart."""
    sides = [split.first] if split.second is None else [split.first, split.second]
    pooled = [embed(model.encoder, model.tokenizer, side, poolings=poolings) for side in sides]
    return {way: (*(vectors[way] for vectors in pooled), split.labels) for way in poolings}
