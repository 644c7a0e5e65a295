"""Which factor makes the difference: the grid's finished runs, contrasted by seed.

All numbers are under mean pooling. Contrasts are paired by seed, since the runs of one seed share
initial weights, batches and masks.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from predrecon.audit import length
from predrecon.audit.encoders import Model, models, reference_models
from predrecon.audit.geometry import SIX, measure, measure_all, published_geometry
from predrecon.audit.grid import CONDITIONS, Cell
from predrecon.audit.seeds import mean_of_tasks
from predrecon.audit.statistics import (
    detectable_effect,
    holm,
    seeds_needed,
    sign_flip_p,
    student_interval,
)
from predrecon.data.progress import Progress
from predrecon.data.tasks import Task
from predrecon.training.heldout import below_unigram
from predrecon.training.run_folder import Run

METRICS = (
    "uniformity",
    "equal_length",  # uniformity between texts of equal length
    "effective_rank",
    "uniformity_released",
    "effective_rank_released",
    "semantic_probe",
    "token_probe",
    "below_unigram",  # nats below word frequencies
)
RELEASED = ("uniformity", "effective_rank")
"""Also measured as the public code measures, padding attended to, as `<metric>_released`."""
CONTRASTS = {
    "objective": ("hybrid", "mlm"),
    "objective, equal FLOPs": ("hybrid", "mlm-flops"),
    "objective, as published": ("published", "published-mlm"),
    "architecture, hybrid": ("hybrid", "published"),
    "architecture, MLM-only": ("mlm", "published-mlm"),
    "more FLOPs, MLM-only": ("mlm-flops", "mlm"),
    "λ = 0.25 for learned": ("hybrid-lam25", "hybrid"),
    "λ = 0.5 for learned": ("hybrid-lam50", "hybrid"),
    "λ = 0.75 for learned": ("hybrid-lam75", "hybrid"),
    "λ's rate / 10": ("hybrid-slow", "hybrid"),
    "targets leak": ("leak", "hybrid"),
}
"""`{factor: (with it, without it)}`, conditions of the grid."""

_ARMS = {
    "untrained": ("hybrid", "mlm"),
    "untrained, as published": ("published", "published-mlm"),
}
"""`{name of an encoder before its first step: the conditions that start from it}`."""


def training_facts(runs: dict[Cell, Run]) -> pd.DataFrame:
    """What each run cost, and how many nats below word frequencies it ended.

    Returns:
        Columns `condition, title, seed, steps, tokens, flops, seconds, below_unigram, state`, the
        last what the monitor saw last (NaN where it did not look).
    """
    columns = "condition title seed steps tokens flops seconds below_unigram state".split()
    rows = [cell.labels | run.metrics for cell, run in runs.items()]
    rows = [row | {"below_unigram": below_unigram(row)} for row in rows]
    return pd.DataFrame(rows, columns=columns)


def endpoints(
    runs: dict[Cell, Run],
    tasks: list[Task],
    tokenizer,
    *,
    max_samples: int = 2000,
    released: bool = True,
) -> pd.DataFrame:
    """The metrics of every trained run on every task.

    Args:
        released: whether to measure also as the public code does.

    Returns:
        Columns `condition, title, seed, task, metric, value, low, high` for `METRICS`, `RELEASED`
        under both protocols, with an interval over samples; `below_unigram` has no task and no
        interval.
    """
    rows, options = [], {"poolings": ("mean",), "max_samples": max_samples}
    with Progress("grid", len(runs), "runs") as progress:
        for number, (cell, run) in enumerate(runs.items()):
            progress.update(number, f"{cell.title}, seed {cell.seed}")
            nats = {"task": "", "metric": "below_unigram", "value": below_unigram(run.metrics)}
            rows.append(cell.labels | nats)
            model = Model(cell.title, run.encoder(), tokenizer, cell.seed)
            for task in tasks:
                measured = measure(model, task, **options)
                intervals = {row["metric"]: measured.interval(row) for row in measured.rows}
                if released:
                    padded = measure(model, task, **options, padding="attended", probed=False)
                    intervals |= {
                        f"{row['metric']}_released": padded.interval(row)
                        for row in padded.rows
                        if row["metric"] in RELEASED
                    }
                counts = length.token_counts(model, task.validation.head(max_samples))
                z = measured.embeddings["mean"]
                intervals["equal_length"] = length.uniformity(z, counts)
                rows += [
                    cell.labels | {"task": task.name, "metric": metric} | interval.bounds
                    for metric, interval in intervals.items()
                    if metric in METRICS
                ]
        progress.update(len(runs))
    columns = ["condition", "title", "seed", "task", "metric", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def paired_contrasts(
    table: pd.DataFrame, pairs: dict | None = None, *, p_value: Callable = sign_flip_p
) -> pd.DataFrame:
    """`pairs` with both sides in a table of `endpoints`, paired by seed, mean of tasks.

    Args:
        table: of `endpoints`.
        pairs: `{contrast: (condition, condition)}`; default: `CONTRASTS`.
        p_value: of the seeds' mean differences.

    Returns:
        Columns `contrast, metric, value, low, high, seeds, same_sign, p, detectable, seeds_needed,
        p_corrected`: Student's interval over seeds (none for one seed), the share of tasks x seeds
        with the more common sign, `p_value` of the seeds' means, and Holm's correction over all
        rows. From the spread of the seeds' differences: the effect that this many seeds find
        four times in five (`statistics.detectable_effect`), and how many seeds would exclude the
        published effect (`statistics.seeds_needed`; NaN for one seed and where no effect of the
        objective on the metric is published).
    """
    effects = published_effects()
    wide, rows = table.pivot_table("value", ["metric", "seed", "task"], "condition"), []
    for name, (one, other) in (CONTRASTS if pairs is None else pairs).items():
        if not {one, other} <= set(wide.columns):
            continue
        differences = (wide[one] - wide[other]).dropna()
        for metric in [m for m in METRICS if m in differences.index.unique("metric")]:
            by_task = differences[metric]
            by_seed = by_task.groupby("seed").mean()
            interval = student_interval(by_seed)
            same_sign = float(max((by_task > 0).mean(), (by_task < 0).mean()))
            row = {"contrast": name, "metric": metric, **interval.bounds, "seeds": interval.n}
            row |= {"same_sign": same_sign, "p": p_value(by_seed)}
            sd, effect = by_seed.std(), math.nan
            if str(name).startswith("objective"):
                effect = effects.get(metric.removesuffix("_released"), math.nan)
            unknown = math.isnan(sd) or math.isnan(effect)
            row["detectable"] = detectable_effect(sd, interval.n)
            rows.append(row | {"seeds_needed": math.nan if unknown else seeds_needed(sd, effect)})
    gaps = pd.DataFrame(rows)
    return gaps.assign(p_corrected=holm(gaps["p"])) if len(gaps) else gaps


def published_effects() -> dict[str, float]:
    """Hybrid minus MLM-only in the published tables: `RELEASED`, mean pooling, mean of tasks.

    Ranks there have D = 512: for a smaller encoder the same difference is relatively larger.
    """
    table = published_geometry().query("pooling == 'mean'")
    means = table.pivot_table("value", "metric", "model")
    return {metric: means.at[metric, "hybrid"] - means.at[metric, "mlm"] for metric in RELEASED}


def over_tasks(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means of tasks with intervals (`mean_of_tasks`): columns `by, value, low, high, seeds`."""
    rows = []
    for key, part in table.groupby(by, sort=False):
        interval, seeds = mean_of_tasks(part)
        rows.append(dict(zip(by, key, strict=True)) | interval.bounds | {"seeds": seeds})
    return pd.DataFrame(rows, columns=[*by, "value", "low", "high", "seeds"])


def with_references(
    runs: dict[Cell, Run], tasks: list[Task], tokenizer, *, max_samples: int = 2000
) -> pd.DataFrame:
    """`SIX` and both probes of both arms, the untrained encoder, and MiniLM if it is installed.

    Each architecture has its own untrained encoder.

    Returns:
        Columns `model, metric, value, low, high, seeds, dim`, mean of tasks (`mean_of_tasks`);
        `dim` is D, since ranks grow with it.
    """
    compared = []
    for untrained, conditions in _ARMS.items():
        arms = {
            CONDITIONS[name][0]: [run for cell, run in runs.items() if cell.condition == name]
            for name in conditions
        }
        for model in models(arms, tokenizer, untrained=True):
            name = untrained if model.name == "untrained" else model.name
            compared.append(replace(model, name=name))
    compared += reference_models()
    if not compared or not tasks:
        return pd.DataFrame()
    table = measure_all(compared, tasks, poolings=("mean",), max_samples=max_samples).table
    table = table[table["metric"].isin([*SIX, "semantic_probe", "token_probe"])]
    dims = table.drop_duplicates("model").set_index("model")["dim"]
    means = over_tasks(table, ["model", "metric"])
    return means.assign(dim=means["model"].map(dims))
