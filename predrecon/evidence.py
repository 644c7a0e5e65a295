"""From measured numbers to evidence: means over seeds, paired differences, corrected p-values.

With one seed an interval tells how sure the number is of *these* weights on new texts; with several
it tells what another training run would give. Each row says which (`basis`).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from predrecon.uncertainty import Interval, around, holm, over_units, sign_flip_p

Side = tuple[str, str]  # (model, pooling)

CELL = ["task", "title", "pooling", "metric"]


@dataclass(frozen=True)
class Geometry:
    """What `analysis.geometry` found.

    Attributes:
        table: columns `task, title, pooling, model, seed, metric, value, low, high, n, dim, note`.
        embeddings: `{(task, pooling, model): [N, D]}` of each model's first seed.
        replicates: `{(task, pooling, model, seed, metric): [draws]}`.
    """

    table: pd.DataFrame
    embeddings: dict[tuple, np.ndarray]
    replicates: dict[tuple, np.ndarray]


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Each model's mean over its seeds: `CELL, model, value, low, high, seeds, basis, n`."""
    rows = []
    for key, part in table.groupby([*CELL, "model"], sort=False):
        facts = dict(zip([*CELL, "model"], key, strict=True))
        if len(part) == 1:
            one = part.iloc[0]
            interval = Interval(one["value"], one["low"], one["high"], int(one["n"]))
        else:
            interval = over_units(part["value"])
        rows.append(facts | _told(interval, len(part)) | {"n": int(part["n"].iloc[0])})
    return pd.DataFrame(rows)


def differences(found: Geometry, one: str = "hybrid", other: str = "mlm") -> pd.DataFrame:
    """`one - other`, paired by task, pooling, metric and seed.

    Returns:
        `CELL, value, low, high, seeds, basis` and `each`: the differences of the seeds. With one
        seed the interval comes from bootstrap samples that both encoders share.

    Raises:
        ValueError: a model without any seed in common with the other (the models are listed).
    """
    wide = found.table.pivot_table(index=[*CELL, "seed"], columns="model", values="value")
    missing = [name for name in (one, other) if name not in wide]
    paired = pd.DataFrame() if missing else wide[[one, other]].dropna()
    if paired.empty:
        raise ValueError(
            f"{one} - {other}: no seed has both. Here are: {', '.join(map(str, wide.columns))}."
        )
    rows = []
    for key, part in paired.groupby(level=CELL, sort=False):
        facts = dict(zip(CELL, key, strict=True))
        each = (part[one] - part[other]).to_dict()
        by_seed = {index[-1]: value for index, value in each.items()}
        values = list(by_seed.values())
        if len(values) == 1:
            interval = around(values[0], _spread(found, facts, one, other, *by_seed), 1)
        else:
            interval = over_units(values)
        rows.append(facts | _told(interval, len(values)) | {"each": values})
    return pd.DataFrame(rows)


def headline(
    found: Geometry, one: str = "hybrid", other: str = "mlm", *, metrics: tuple[str, ...] = ()
) -> pd.DataFrame:
    """`one - other` by pooling and metric, mean of tasks, with p-values corrected for them all.

    `metrics` names those to compare, the correction is for these; default all that were measured.
    The p-value is that of sign flips over tasks x seeds (`units`); Holm's correction is over all
    rows. Tasks share their encoders, so the units are not quite independent: with few seeds read
    the interval first.

    Returns:
        `pooling, metric, value, low, high, seeds, basis, units, same_sign, p, p_corrected`.
    """
    by_task, rows = differences(found, one, other), []
    if metrics:
        by_task = by_task[by_task["metric"].isin(metrics)]
    for (pooling, metric), part in by_task.groupby(["pooling", "metric"], sort=False):
        seeds = int(part["seeds"].min())
        each = np.array([values[:seeds] for values in part["each"]])  # (tasks, seeds)
        if seeds > 1:
            interval = over_units(each.mean(axis=0))
        else:
            margin = np.sqrt((((part["high"] - part["low"]) / 2) ** 2).sum()) / len(part)
            mean = float(each.mean())
            interval = Interval(mean, mean - margin, mean + margin, len(part))
        share = float(max((each > 0).mean(), (each < 0).mean()))
        facts = {"pooling": pooling, "metric": metric, **_told(interval, seeds)}
        p = sign_flip_p(each)
        rows.append(facts | {"units": each.size, "same_sign": share, "p": p})
    table = pd.DataFrame(rows)
    return table.assign(p_corrected=holm(table["p"]))


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
        The interval (over seeds; over samples if there is one seed) and the number of seeds.

    Raises:
        ValueError: no seed has both sides for all tasks.
    """
    part = found.table[found.table["metric"] == metric]
    tasks = list(dict.fromkeys(part["task"])) if tasks is None else tasks
    wide = part[part["task"].isin(tasks)].pivot_table(
        index="seed", columns=["task", "model", "pooling"], values="value"
    )
    sides = [[(task, *side) for task in tasks] for side in (one, other)]
    missing = sorted({key for side in sides for key in side} - set(wide.columns))
    wide = None if missing or not tasks else wide[[*sides[0], *sides[1]]].dropna()
    if wide is None or wide.empty:
        raise ValueError(
            f"{metric}, {'/'.join(one)} - {'/'.join(other)}: no seed has both sides on "
            f"{', '.join(tasks) or 'any task'}."
        )
    change = (lambda v: np.log(np.abs(v))) if log else np.asarray
    each = np.stack([change(wide[side].to_numpy()) for side in sides])  # (2, seeds, tasks)
    gaps = each[0] - each[1]
    if len(wide) > 1:
        return over_units(gaps.mean(axis=1)), len(wide)
    seed, margins = wide.index[0], []
    for task in tasks:
        keys = [(task, side[1], side[0], seed, metric) for side in (one, other)]
        if all(key in found.replicates for key in keys):
            a, b = (change(found.replicates[key]) for key in keys)
            margins.append(around(0.0, a - b, 1).high)
        else:  # no replicates (linear probes): as if the two sides were independent
            rows = part.set_index(["task", "pooling", "model", "seed"]).loc[[k[:4] for k in keys]]
            margins.append(np.sqrt((((rows["high"] - rows["low"]) / 2) ** 2).sum()))
    margin, mean = float(np.sqrt(np.sum(np.square(margins)))) / len(tasks), float(gaps.mean())
    return Interval(mean, mean - margin, mean + margin, len(tasks)), 1


def with_probes(found: Geometry, probed: pd.DataFrame) -> Geometry:
    """`found` with `analysis.linear_probing` as one more metric, `linear_probe`."""
    scores = probed[probed["model"] != "majority"].rename(columns={"score": "value"})
    scores = scores.assign(pooling="mean", metric="linear_probe")
    columns = [c for c in found.table.columns if c in scores]
    return Geometry(
        pd.concat([found.table, scores[columns]], ignore_index=True),
        found.embeddings,
        found.replicates,
    )


def _told(interval: Interval, seeds: int) -> dict:
    basis = "samples" if seeds == 1 else "seeds"
    told = {"value": interval.value, "low": interval.low, "high": interval.high}
    return told | {"seeds": seeds, "basis": basis}


def _spread(found: Geometry, facts: dict, one: str, other: str, seed) -> np.ndarray:
    """Bootstrap replicates of a difference: the same samples in both encoders."""
    a, b = (
        found.replicates[facts["task"], facts["pooling"], name, seed, facts["metric"]]
        for name in (one, other)
    )
    return a - b
