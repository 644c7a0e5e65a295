"""From measured numbers to evidence: means over seeds, paired differences, corrected p-values.

With one seed an interval tells how sure the number is of *these* weights on new texts; with several
it tells what another training run would give. Each row says which (`basis`).
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from predrecon.audit.geometry import Geometry
from predrecon.audit.statistics import (
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
    """Each model's mean over its seeds: `CELL, model, value, low, high, seeds, basis, n`."""
    rows = []
    for key, part in table.groupby([*CELL, "model"], sort=False):
        facts = dict(zip([*CELL, "model"], key, strict=True))
        numbers = part[["value", "low", "high", "n"]].to_numpy()
        interval, basis = interval_over_seeds([Interval(*row) for row in numbers])
        told = interval.bounds | {"seeds": len(part), "basis": basis}
        rows.append(facts | told | {"n": int(part["n"].iloc[0])})
    return pd.DataFrame(rows)


def mean_of_tasks(part: pd.DataFrame) -> tuple[Interval, int]:
    """The mean over tasks of one model in one metric, and its number of seeds.

    Args:
        part: columns `seed, value, low, high`, a row a task and seed.

    Returns:
        With several seeds Student's interval over the seeds' means; with one the interval over
        samples, whose errors are independent between tasks (NaN where a task has none).
    """
    by_seed = part.groupby("seed")["value"].mean()
    if len(by_seed) > 1:
        return student_interval(by_seed), len(by_seed)
    margins = ((part["high"] - part["low"]) / 2).to_numpy(float)
    margin, mean = float(np.sqrt((margins**2).sum())) / len(margins), float(by_seed.iloc[0])
    return Interval(mean, mean - margin, mean + margin, 1), 1


def differences(found: Geometry, one: str = "hybrid", other: str = "mlm") -> pd.DataFrame:
    """`one - other`, paired by task, pooling, metric and seed.

    Returns:
        `CELL, value, low, high, seeds, basis`: `contrast` of every cell that has both sides.

    Raises:
        ValueError: a model without any seed in common with the other (the models are listed).
    """
    rows = []
    for (pooling, metric), part in found.table.groupby(["pooling", "metric"], sort=False):
        gaps = _gaps(part, (one, pooling), (other, pooling))
        titles = part.drop_duplicates("task").set_index("task")["title"]
        for task in [task for task in titles.index if task in gaps]:
            sides, alone = ((one, pooling), (other, pooling)), gaps[[task]].dropna()
            if alone.empty:
                continue
            facts = {"task": task, "title": titles[task], "pooling": pooling, "metric": metric}
            rows.append(facts | _told(_interval(found, part, *sides, alone), len(alone)))
    if not rows:
        models = ", ".join(map(str, found.table["model"].unique()))
        raise ValueError(f"{one} - {other}: no seed has both. Here are: {models}.")
    return pd.DataFrame(rows)


def headline(
    found: Geometry, one: str = "hybrid", other: str = "mlm", *, metrics: tuple[str, ...] = ()
) -> pd.DataFrame:
    """`one - other` by pooling and metric, mean of tasks, with p-values corrected for them all.

    `metrics` names those to compare, the correction is for these; default all that were measured.
    The p-value is that of sign flips of the seeds' means; Holm's correction is over all rows. Tasks
    share a seed's two encoders, so they are not units of their own. Three seeds cannot bring p
    below 0.25, six reach 0.03: below that the interval says more.

    Returns:
        `pooling, metric, value, low, high, seeds, basis, same_sign, p, p_corrected`; `same_sign`
        is the share of tasks x seeds with the commoner sign.

    Raises:
        ValueError: as in `differences`.
    """
    table, rows = found.table, []
    if metrics:
        table = table[table["metric"].isin(metrics)]
    for (pooling, metric), part in table.groupby(["pooling", "metric"], sort=False):
        sides = (one, pooling), (other, pooling)
        gaps = _gaps(part, *sides).dropna(axis=1, how="all").dropna()
        if gaps.empty:
            continue
        interval, each = _interval(found, part, *sides, gaps), gaps.to_numpy()
        share = float(max((each > 0).mean(), (each < 0).mean()))
        facts = {"pooling": pooling, "metric": metric, **_told(interval, len(gaps))}
        rows.append(facts | {"same_sign": share, "p": sign_flip_p(gaps.mean(axis=1))})
    if not rows:
        differences(found, one, other)  # says which models there are
    told = pd.DataFrame(rows)
    return told.assign(p_corrected=holm(told["p"]))


def contrast(
    found: Geometry,
    metric: str,
    one: Side,
    other: Side,
    *,
    tasks: list[str] | None = None,
    log: bool = False,
) -> tuple[Interval, int]:
    """`one - other` in one metric, mean of tasks, paired by task and seed.

    Args:
        found: geometry, and probes if `with_probes` has joined them.
        one, other: two models under one pooling, or one model under two poolings.
        tasks: which tasks; default all that hold the metric.
        log: compare ln |value|, so that the difference is the logarithm of a ratio.

    Returns:
        The interval and the number of seeds. With several seeds it is Student's over seeds; with
        one it comes from bootstrap samples that both sides share.

    Raises:
        ValueError: no seed has both sides for all tasks.
    """
    part = found.table[found.table["metric"] == metric]
    tasks = list(dict.fromkeys(part["task"])) if tasks is None else tasks
    gaps = _gaps(part, one, other, log=log).reindex(columns=tasks).dropna()
    if gaps.empty or not tasks:
        raise ValueError(
            f"{metric}, {'/'.join(one)} - {'/'.join(other)}: no seed has both sides on "
            f"{', '.join(tasks) or 'any task'}."
        )
    return _interval(found, part, one, other, gaps, log=log), len(gaps)


def with_probes(found: Geometry, probed: pd.DataFrame) -> Geometry:
    """`found` with `probing.linear_probing` as one more metric, `linear_probe`."""
    scores = probed[probed["model"] != "majority"].rename(columns={"score": "value"})
    scores = scores.assign(pooling="mean", metric="linear_probe")
    columns = [c for c in found.table.columns if c in scores]
    return replace(found, table=pd.concat([found.table, scores[columns]], ignore_index=True))


def _told(interval: Interval, seeds: int) -> dict:
    return interval.bounds | {"seeds": seeds, "basis": "samples" if seeds == 1 else "seeds"}


def _gaps(part: pd.DataFrame, one: Side, other: Side, *, log: bool = False) -> pd.DataFrame:
    """`one - other` in the rows of one metric: a line a seed, a column a task, NaN for no pair."""
    wide = part.pivot_table(index="seed", columns=["model", "pooling", "task"], values="value")
    if not {one, other} <= set(wide.columns.droplevel("task")):
        return pd.DataFrame()
    values = wide.abs().transform(np.log) if log else wide
    return values[one] - values[other]


def _interval(
    found: Geometry, part: pd.DataFrame, one: Side, other: Side, gaps: pd.DataFrame, *, log=False
) -> Interval:
    """Of the mean of `gaps [seeds, tasks]`: over seeds, or over samples where there is one seed."""
    if len(gaps) > 1:
        return student_interval(gaps.mean(axis=1))
    seed, metric, margins = gaps.index[0], part["metric"].iloc[0], []
    for task in gaps:
        keys = [(task, side[1], side[0], seed, metric) for side in (one, other)]
        if all(key in found.replicates for key in keys):
            a, b = (found.replicates[key] for key in keys)
            change = np.log(np.abs(a)) - np.log(np.abs(b)) if log else a - b
            margins.append(bootstrap_interval(0.0, change, 1).high)
        else:  # no replicates (linear probes): as if the two sides were independent
            rows = part.set_index(["task", "pooling", "model", "seed"]).loc[[k[:4] for k in keys]]
            margins.append(np.sqrt((((rows["high"] - rows["low"]) / 2) ** 2).sum()))
    margin = float(np.sqrt(np.sum(np.square(margins)))) / len(margins)
    mean = float(gaps.to_numpy().mean())
    return Interval(mean, mean - margin, mean + margin, len(margins))
