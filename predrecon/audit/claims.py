"""The paper's claims, each with a status that is computed from results, never typed."""

import math

import pandas as pd

from predrecon.audit import published
from predrecon.audit.encoders import models
from predrecon.audit.geometry import Geometry, measure_all, published_geometry
from predrecon.audit.linear_probes import linear_probing
from predrecon.audit.seeds import Side, contrast, differences, with_probes
from predrecon.audit.statistics import Interval, student_interval
from predrecon.data.corpus import Corpus
from predrecon.data.tasks import GLUE_TWIN, Task
from predrecon.objectives import lambda_before
from predrecon.training.heldout import PLATEAU, below_unigram
from predrecon.training.run_folder import Run

STATUSES = ("reproduced", "direction only", "not reproduced", "cannot tell at this budget")
REPRODUCED, DIRECTION, REFUTED, UNKNOWN = STATUSES
_ON_PLATEAU = "on the plateau of word frequencies: "
DRIVEN = 0.25  # relative error up to which the schedule counts as what drives w


def measure_runs(
    arms: dict[str, list[Run]],
    corpus: Corpus,
    tasks: list[Task],
    *,
    max_samples=2000,
    max_train=None,
) -> Geometry | None:
    """What `paper_map` needs of finished runs: geometry and probes; None if an arm has no run."""
    if not all(arms.values()):
        return None
    encoders = models(arms, corpus.tokenizer)
    measured = measure_all(encoders, tasks, max_samples=max_samples)
    return with_probes(measured, linear_probing(encoders, tasks, max_train=max_train))


def paper_map(measured: Geometry | None, arms: dict[str, list[Run]]) -> pd.DataFrame:
    """Every claim with our number, the published one, and its status.

    Args:
        measured: geometry of both arms, with probes (`seeds.with_probes`); None: nothing measured.
        arms: `{arm: finished runs}`, of several seeds or one.

    Returns:
        Columns `claim, where, cell, published, value, low, high, seeds, status, why`.
    """
    values, rows = _published_values(), []
    stuck = [
        arm
        for arm, runs in arms.items()
        if any(below_unigram(run.metrics) < PLATEAU for run in runs)
    ]
    for claim in published.claims().itertuples():
        row = {"claim": claim.claim, "where": claim.where, "cell": claim.cell}
        row["published"] = _published_value(claim, values)
        try:
            if claim.metric == "operations":
                row |= _operations(arms, claim.similar)
            elif claim.metric == "balance":
                row |= _balance(arms.get("hybrid", []))
            elif measured is None:
                raise ValueError("no runs on disk")
            elif claim.metric == "every_cell":
                row |= _every_cell(measured, stuck)
            else:
                row |= _difference(claim, row["published"], measured, stuck)
        except ValueError as error:
            row |= {"status": UNKNOWN, "why": str(error)}
        rows.append(row)
    columns = ["claim", "where", "cell", "published", "value", "low", "high", "seeds"]
    return pd.DataFrame(rows, columns=[*columns, "status", "why"])


def decide(
    ours: Interval, published: float, stuck: list[str], *, similar: float = math.nan
) -> tuple[str, str]:
    """Status and reason of a claim that our difference is the published one.

    reproduced: the interval lies on the published side of 0 and overlaps half to twice the
    published size. direction only: on that side, with another size. not reproduced: on the other
    side, or around 0 and below half the published size. cannot tell: anything else, and everything
    while some arms are `stuck` on the plateau of word frequencies. If the claim is that both sides
    are alike, the interval must lie within `similar`.
    """
    if stuck:
        return UNKNOWN, _ON_PLATEAU + ", ".join(stuck)
    if not math.isnan(similar):
        if -similar <= ours.low and ours.high <= similar:
            return REPRODUCED, f"within ±{similar:g}"
        if ours.low > similar or ours.high < -similar:
            return REFUTED, f"apart by more than {similar:g}"
        return UNKNOWN, f"the interval crosses ±{similar:g}"
    low, high = (ours.low, ours.high) if published > 0 else (-ours.high, -ours.low)
    size = abs(published)
    if low > 0:
        if low <= 2 * size and high >= size / 2:
            return REPRODUCED, "same direction and size"
        return DIRECTION, "smaller than half" if high < size / 2 else "larger than twice"
    if high < 0:
        return REFUTED, "the other way round"
    if high < size / 2:
        return REFUTED, "less than half the published size, and perhaps nothing"
    return UNKNOWN, "the interval holds 0"


def _sides(claim) -> tuple[Side, Side]:
    other = ("hybrid", claim.against) if claim.against else ("mlm", claim.pooling)
    return ("hybrid", claim.pooling), other


def _difference(claim, published: float, measured: Geometry, stuck: list[str]) -> dict:
    sides, tasks = _sides(claim), None
    if claim.task:
        twins = (claim.task, *(task for task, twin in GLUE_TWIN.items() if twin == claim.task))
        tasks = [task for task in twins if task in set(measured.table["task"])]
    log = claim.scale == "log"
    interval, seeds = contrast(measured, claim.metric, *sides, tasks=tasks, log=log)
    stuck = [arm for arm in stuck if arm in dict(sides)]
    status, why = decide(interval, published, stuck, similar=claim.similar)
    return interval.bounds | {"seeds": seeds, "status": status, "why": why}


def _published_values() -> pd.DataFrame:
    """Published values, linear probes included: index `metric, task`, columns (model, pooling)."""
    scores = published.linear_probe().melt(["task", "metric"], ["hybrid", "mlm"], "model", "value")
    scores = scores.assign(metric="linear_probe", pooling="mean")
    both = pd.concat([published_geometry(), scores])
    return both.pivot_table(index=["metric", "task"], columns=["model", "pooling"], values="value")


def _published_value(claim, values: pd.DataFrame) -> float:
    if claim.metric == "every_cell":
        cells = values.loc["uniformity"]
        return float((cells["hybrid"] - cells["mlm"] < 0).to_numpy().sum())
    if claim.metric not in values.index:  # no number is published for the balance
        return 0.0 if claim.metric == "operations" else math.nan
    part = values.loc[claim.metric]
    part = part.loc[[claim.task]] if claim.task else part
    one, other = (part[side] for side in _sides(claim))
    if claim.scale == "log":
        one, other = one.abs().map(math.log), other.abs().map(math.log)
    return float((one - other).mean())


def _every_cell(measured: Geometry, stuck: list[str]) -> dict:
    """The number of cells (task x pooling) whose interval says more uniform."""
    cells = differences(measured).query("metric == 'uniformity'")
    below, above = int((cells["high"] < 0).sum()), int((cells["low"] > 0).sum())
    status = REPRODUCED if below == len(cells) else REFUTED if above else UNKNOWN
    why = f"{below} of {len(cells)} intervals lie below 0, {above} above"
    if stuck:
        status, why = UNKNOWN, _ON_PLATEAU + ", ".join(stuck)
    return {"value": float(below), "seeds": int(cells["seeds"].min()), "status": status, "why": why}


def _operations(arms: dict[str, list[Run]], similar: float) -> dict:
    """Operations of a hybrid step over those of an MLM-only step, minus 1."""
    cost = {
        arm: {run.facts["seed"]: run.metrics["flops"] / run.metrics["steps"] for run in runs}
        for arm, runs in arms.items()
    }
    hybrid, mlm = cost.get("hybrid", {}), cost.get("mlm", {})
    interval, row = _of_seeds([hybrid[seed] / mlm[seed] - 1 for seed in hybrid if seed in mlm])
    status, why = decide(interval, 0.0, [], similar=similar)
    return row | {"status": status, "why": why}


def _balance(runs: list[Run]) -> dict:
    """Final w over the sum of learning rates, minus 1."""

    def logit(p: float) -> float:
        return math.log(p / (1 - p))

    shares = []
    for run in runs:
        last = run.history.iloc[-1]
        (predicted,) = lambda_before(run.recipe, run.metrics["steps"], [last["step"]])
        shares.append(logit(last["lam"]) / logit(predicted) - 1)
    interval, row = _of_seeds(shares)
    if -DRIVEN < interval.low and interval.high < DRIVEN:
        status, why = REFUTED, "the learning rates alone predict it"
    elif interval.low > DRIVEN or interval.high < -DRIVEN:
        status, why = REPRODUCED, "w is not the sum of learning rates"
    else:
        status, why = UNKNOWN, f"the interval crosses ±{DRIVEN:g}"
    return row | {"status": status, "why": why}


def _of_seeds(values: list[float]) -> tuple[Interval, dict]:
    """The interval of a number without sampling error, and its row; no bounds for one seed."""
    if not values:
        raise ValueError("no runs on disk")
    if len(values) > 1:
        interval = student_interval(values)
        return interval, interval.bounds | {"seeds": len(values)}
    return Interval(values[0], *values * 2, 1), {"value": values[0], "seeds": 1}
