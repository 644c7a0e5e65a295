"""Means over seeds, paired differences between two models, and their corrected p-values.

Means of a metric are taken on its own scale (`geometry.BOUNDS`). Differences, which can have either
sign, are averaged as they are, so a mean difference is not exactly the difference of two means.
With one seed an interval covers *these* weights on new texts; with several it covers another
training run. Each row says which (`basis`).
"""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd

from predrecon.audit.geometry import BOUNDS, RANKS, Geometry
from predrecon.audit.statistics import (
    UNBOUNDED,
    Bounds,
    Interval,
    bootstrap_interval,
    holm,
    interval_over_seeds,
    sign_flip_p,
    student_interval,
)

Side = tuple[str, str]  # (model, pooling)

CELL = ["task", "title", "pooling", "metric"]


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Each model's mean over its seeds: `CELL, model, value, low, high, seeds, basis, n`.

    Mean and interval are on the scale of the metric (`geometry.BOUNDS`): geometric for ranks.
    """
    if table.empty:
        raise ValueError("The table has no rows: there is nothing to average over seeds.")
    keys, rows = [*CELL, "model"], []
    for key, part in table.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        numbers, bounds = part[["value", "low", "high", "n"]].to_numpy(), _bounds(row["metric"])
        interval, basis = interval_over_seeds([Interval(*row) for row in numbers], bounds)
        row |= interval.bounds
        rows.append(row | {"seeds": len(part), "basis": basis, "n": int(part["n"].iloc[0])})
    return pd.DataFrame(rows)


def mean_of_tasks(part: pd.DataFrame) -> tuple[Interval, int]:
    """The mean over tasks of one model in one metric, and its number of seeds.

    With several seeds, Student's interval over the seeds' means, on the scale of the metric
    (`geometry.BOUNDS`); with one, the interval over samples, whose errors are independent between
    tasks (NaN if a task has no interval).
    """
    if part.empty:
        raise ValueError("The table has no rows: there is no mean over tasks.")
    by_seed = part.groupby("seed")["value"].mean()
    if len(by_seed) > 1:
        return student_interval(by_seed, bounds=_bounds(part["metric"].iloc[0])), len(by_seed)
    margins = ((part["high"] - part["low"]) / 2).to_numpy(float)
    return _around(float(by_seed.iloc[0]), margins), 1


def differences(measured: Geometry, one: str = "hybrid", other: str = "mlm") -> pd.DataFrame:
    """`one - other`, paired by task, pooling, metric and seed.

    Returns:
        `CELL, value, low, high, seeds, basis`: `contrast` of every cell that has both sides.

    Raises:
        ValueError: no seed has both models on a task (the models and tasks are listed).
    """
    rows = []
    for cell, part, sides, gaps in _paired(measured.table, one, other):
        titles = dict(zip(part["task"], part["title"], strict=True))
        for task in gaps:
            interval = _interval(measured, part, *sides, gaps[[task]].dropna())
            facts = _facts(interval, gaps[task].count())
            rows.append({"task": task, "title": titles[task]} | cell | facts)
    return pd.DataFrame(rows)


def pairwise(measured: Geometry) -> pd.DataFrame:
    """`differences` of all pairs of models, on shared bootstrap samples if there is one seed.

    Returns:
        Columns `one, other`, those of `differences`, and `dim, other_dim`, the widths D. Ranks
        (`geometry.RANKS`) of two widths are not compared: `value, low, high` are NaN.

    Raises:
        ValueError: fewer than two models; as in `differences`.
    """
    models = list(measured.table["model"].unique())
    if len(models) < 2:
        raise ValueError(f"Only {', '.join(models)}: a difference needs two encoders.")
    by = ["model", "task", "pooling", "metric"]
    dims = measured.table.drop_duplicates(by).set_index(by)["dim"]
    parts = []
    for one, other in itertools.combinations(models, 2):
        gaps = differences(measured, one, other).assign(one=one, other=other)
        places = gaps[by[1:]].itertuples(index=False, name=None)
        widths = [(dims[one, *place], dims[other, *place]) for place in places]
        parts.append(gaps.assign(dim=[a for a, _ in widths], other_dim=[b for _, b in widths]))
    gaps = pd.concat(parts, ignore_index=True)
    not_compared = gaps["metric"].isin(RANKS) & (gaps["dim"] != gaps["other_dim"])
    gaps.loc[not_compared, ["value", "low", "high"]] = np.nan
    return gaps


def headline(
    measured: Geometry, one: str = "hybrid", other: str = "mlm", *, metrics: tuple[str, ...] = ()
) -> pd.DataFrame:
    """`one - other` by pooling and metric, mean of tasks, with p-values corrected for all rows.

    The p-value is that of sign flips of the seeds' means; Holm's correction is over all rows. Tasks
    share a seed's two encoders, so they are not independent units. Three seeds cannot give p below
    0.25, six can reach 0.03: with fewer the interval says more.

    Args:
        metrics: those to compare and to correct for; default: all that were measured.

    Returns:
        `pooling, metric, value, low, high, seeds, basis, same_sign, p, p_corrected`; `same_sign` is
        the share of tasks x seeds with the more common sign. Seeds that lack a task are left out.

    Raises:
        ValueError: none of `metrics` was measured; no seed has both models on all tasks that any
            seed has them on (the message lists what there is).
    """
    table, rows = measured.table, []
    if metrics:
        table = table[table["metric"].isin(metrics)]
        if table.empty:
            here = ", ".join(measured.table["metric"].unique())
            raise ValueError(f"metrics={', '.join(metrics)}: not measured. Here are: {here}.")
    for cell, part, sides, gaps in _paired(table, one, other):
        gaps = gaps.dropna()
        if not gaps.empty:
            share = float(max((gaps > 0).to_numpy().mean(), (gaps < 0).to_numpy().mean()))
            row = cell | _facts(_interval(measured, part, *sides, gaps), len(gaps))
            rows.append(row | {"same_sign": share, "p": sign_flip_p(gaps.mean(axis=1))})
    if not rows:
        raise ValueError(_no_pair(table, one, other))
    means = pd.DataFrame(rows)
    return means.assign(p_corrected=holm(means["p"]))


def contrast(
    measured: Geometry,
    metric: str,
    one: Side,
    other: Side,
    *,
    tasks: list[str] | None = None,
    log: bool = False,
) -> tuple[Interval, int]:
    """`one - other` in one metric, mean of tasks, paired by task and seed.

    Args:
        one, other: two models under one pooling, or one model under two poolings.
        tasks: default: all that have the metric.
        log: compare ln |value|, so that the difference is the logarithm of a ratio.

    Returns:
        The interval, Student's over seeds or from one seed's shared bootstrap samples, and the
        number of seeds.

    Raises:
        ValueError: no seed has both sides for all tasks.
    """
    part = measured.table[measured.table["metric"] == metric]
    tasks = list(dict.fromkeys(part["task"])) if tasks is None else tasks
    gaps = _gaps(part, one, other, log=log).reindex(columns=tasks).dropna()
    if gaps.empty or not tasks:
        raise ValueError(
            f"{metric}, {'/'.join(one)} - {'/'.join(other)}: no seed has both sides on "
            f"{', '.join(tasks) or 'any task'}."
        )
    return _interval(measured, part, one, other, gaps, log=log), len(gaps)


def with_probes(measured: Geometry, probes: pd.DataFrame) -> Geometry:
    """`measured` with `linear_probes.linear_probing` as one more metric, `linear_probe`."""
    scores = probes[probes["model"] != "majority"].rename(columns={"score": "value"})
    scores = scores.assign(pooling="mean", metric="linear_probe")
    columns = [column for column in measured.table.columns if column in scores]
    table = pd.concat([measured.table, scores[columns]], ignore_index=True)
    return replace(measured, table=table)


def _bounds(metric: str) -> Bounds:
    return BOUNDS.get(metric, UNBOUNDED)


def _facts(interval: Interval, seeds: int) -> dict:
    return interval.bounds | {"seeds": seeds, "basis": "samples" if seeds == 1 else "seeds"}


def _paired(table: pd.DataFrame, one: str, other: str) -> list[tuple]:
    """`(cell, rows, sides, gaps)` of every pooling and metric that has both models on some task."""
    pairs = []
    for (pooling, metric), part in table.groupby(["pooling", "metric"], sort=False):
        sides = (one, pooling), (other, pooling)
        gaps = _gaps(part, *sides).dropna(axis=1, how="all")
        if not gaps.empty:
            tasks = [task for task in dict.fromkeys(part["task"]) if task in gaps]
            pairs.append(({"pooling": pooling, "metric": metric}, part, sides, gaps[tasks]))
    if not pairs:
        raise ValueError(_no_pair(table, one, other))
    return pairs


def _no_pair(table: pd.DataFrame, one: str, other: str) -> str:
    """The message that nothing can be paired, with what there is."""
    by_model = dict(list(table.groupby("model", sort=False)))
    seeds = [set(by_model[model]["seed"]) if model in by_model else set() for model in (one, other)]
    where = " on the same tasks" if seeds[0] & seeds[1] else ""
    here = [f"{model} ({', '.join(part['task'].unique())})" for model, part in by_model.items()]
    return f"{one} - {other}: no seed has both{where}. Here are: {', '.join(here)}."


def _gaps(part: pd.DataFrame, one: Side, other: Side, *, log: bool = False) -> pd.DataFrame:
    """`one - other` in the rows of one metric: `[seeds, tasks]`, NaN for no pair."""
    if not {one, other} <= set(zip(part["model"], part["pooling"], strict=True)):
        return pd.DataFrame()
    wide = part.pivot_table(index="seed", columns=["model", "pooling", "task"], values="value")
    values = wide.abs().transform(np.log) if log else wide
    return values[one] - values[other]


def _interval(
    measured: Geometry,
    part: pd.DataFrame,
    one: Side,
    other: Side,
    gaps: pd.DataFrame,
    *,
    log: bool = False,
) -> Interval:
    """Interval of the mean of `gaps [seeds, tasks]`: over seeds, or over samples if one seed."""
    if len(gaps) > 1:
        return student_interval(gaps.mean(axis=1))
    seed, metric, margins = gaps.index[0], part["metric"].iloc[0], []
    for task in gaps:
        keys = [(task, side[1], side[0], seed, metric) for side in (one, other)]
        if all(key in measured.replicates for key in keys):
            a, b = (measured.replicates[key] for key in keys)
            change = np.log(np.abs(a)) - np.log(np.abs(b)) if log else a - b
            margins.append(bootstrap_interval(0.0, change, 1).high)
        else:  # no replicates (linear probes): as if the two sides were independent
            rows = part.set_index(["task", "pooling", "model", "seed"]).loc[[k[:4] for k in keys]]
            margins.append(np.sqrt((((rows["high"] - rows["low"]) / 2) ** 2).sum()))
    return _around(float(gaps.to_numpy().mean()), margins)


def _around(mean: float, margins) -> Interval:
    """Interval of the mean of independent values, each with its margin."""
    margin = float(np.sqrt(np.sum(np.square(margins)))) / len(margins)
    return Interval(mean, mean - margin, mean + margin, len(margins))
