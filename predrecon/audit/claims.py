"""What stands of the paper: every claim with a status computed from results, never typed."""

import math
from dataclasses import dataclass

import pandas as pd

from predrecon.audit import published
from predrecon.audit.geometry import Geometry, published_geometry
from predrecon.audit.seeds import Side, contrast, differences
from predrecon.audit.statistics import Interval, student_interval
from predrecon.data.tasks import EMBEDDED, GLUE
from predrecon.objectives import lambda_before
from predrecon.training.run_folder import Run

STATUSES = ("reproduced", "direction only", "not reproduced", "cannot tell at this budget")
_ON_PLATEAU = "on the plateau of word frequencies: "
LEFT_PLATEAU = 0.05  # nats below word frequencies from which a run has learnt more than them
DRIVEN = 0.25  # share of w by which the schedule may miss it and still be what drives it


@dataclass(frozen=True)
class Claim:
    """A statement about a difference in one metric: `hybrid - mlm`, or between two poolings.

    Attributes:
        where: table, figure or section of the paper. cell: the notebook and section that shows it.
        metric, pooling: what is compared.
        task: one of GLUE's; "" is the mean of all.
        against: another pooling of the hybrid, instead of MLM-only.
        log: the claim is about a ratio; numbers are its natural logarithm.
        similar: the claim is that both sides are alike, to within so much.
    """

    statement: str
    where: str
    cell: str
    metric: str
    pooling: str
    task: str = ""
    against: str = ""
    log: bool = False
    similar: float | None = None

    @property
    def sides(self) -> tuple[Side, Side]:
        other = ("hybrid", self.against) if self.against else ("mlm", self.pooling)
        return ("hybrid", self.pooling), other


_03, _04, _06 = "03 · Prediction and outcome", "04 · Table 3", "06 · What it costs"
_GAPS, _TABLES = "05 · Hybrid minus MLM-only", "05 · The paper's tables"
_POOLINGS = ("mean", "max", "weighted", "attention")
_TITLES = dict(sst2="SST-2", mrpc="MRPC", mnli="MNLI", cola="CoLA", stsb="STS-B")
CLAIMS = (
    *(
        Claim(f"Linear probe alike on {_TITLES[task]}", "Table 3", _04, "linear_probe", "mean",
              task, similar=0.05)
        for task in ("sst2", "mrpc", "mnli", "stsb")
    ),
    *(
        Claim(f"More uniform under {pooling} pooling", "Abstract, Table 4", _GAPS,
              "uniformity", pooling)
        for pooling in _POOLINGS
    ),
    Claim("Seven times the uniformity under attention pooling (ln of the ratio)", "Section 5.2.1",
          "05 · How much of the uniformity ratio is the pooler?", "uniformity", "attention",
          log=True),
    Claim("Classes less tight under mean pooling", "Section 5.2.2, Figure 3",
          "05 · Alignment against uniformity", "alignment", "mean"),
    Claim("Classes less tight under attention pooling", "Section 5.2.2, Figure 6",
          "05 · Alignment against uniformity", "alignment", "attention"),
    *(
        Claim(f"Classes no better separated under {pooling} pooling", f"Figure {3 + i}",
              "05 · Alignment against uniformity", "intra_inter_ratio", pooling, similar=0.02)
        for i, pooling in enumerate(_POOLINGS)
    ),
    Claim("Richer spectrum under max pooling: entropy", "Table 5", _GAPS,
          "spectral_entropy_sigma2", "max"),
    Claim("Richer spectrum under max pooling: effective rank", "Table 5", _GAPS,
          "effective_rank", "max"),
    Claim("Richer spectrum under max pooling: stable rank", "Table 5", _GAPS,
          "stable_rank", "max"),
    Claim("Less lexical: lower token probe under attention pooling", "Abstract, Table 6", _GAPS,
          "token_probe", "attention"),
    Claim("Semantic probe alike under attention pooling", "Table 6", _GAPS,
          "semantic_probe", "attention", similar=0.03),
    Claim("Better semantic-to-lexical balance under attention pooling", "Abstract, Table 6", _GAPS,
          "probe_gap", "attention"),
    *(
        Claim(f"More uniform on {_TITLES[task]}, mean pooling", f"Table {7 + i}", _TABLES,
              "uniformity", "mean", task)
        for i, task in enumerate(("sst2", "mrpc", "mnli", "cola", "stsb"))
    ),
    Claim("Higher probe gap on MRPC under max pooling", "Section 5.2.4, Table 8", _TABLES,
          "probe_gap", "max", "mrpc"),
    Claim("Higher MCC on CoLA under mean pooling", "Section 5.2.4, Table 10", _TABLES,
          "semantic_probe_mcc", "mean", "cola"),
    Claim("Max pooling is spectrally richer than mean (hybrid, SST-2)", "Section 6, Figure 2",
          "05 · Pooling ablation", "spectral_entropy_sigma2", "max", "sst2", against="mean"),
    Claim("Attention pooling is the most uniform (hybrid, SST-2, against max)",
          "Section 6, Figure 2", "05 · Pooling ablation", "uniformity", "attention", "sst2",
          against="max"),
    Claim("Weighted pooling is mean pooling (hybrid, uniformity)", "Section 6",
          "05 · Pooling ablation", "uniformity", "weighted", against="mean", similar=0.005),
    *(
        Claim(f"Spectra alike under mean pooling, {_TITLES[task]}", f"Figure {7 + i}",
              "05 · Eigenspectra", "spectral_entropy_sigma2", "mean", task, similar=0.03)
        for i, task in enumerate(("sst2", "mrpc", "mnli", "cola"))
    ),
)  # fmt: skip


def paper_map(
    found: Geometry | None, arms: dict[str, list[Run]], claims: tuple[Claim, ...] = CLAIMS
) -> pd.DataFrame:
    """Every claim with our number, the published one, and what stands of it.

    Args:
        found: geometry of both arms, with probes (`evidence.with_probes`); None if nothing has been
            measured yet.
        arms: `{arm: finished runs}`, of several seeds or one.

    Returns:
        Columns `claim, where, cell, published, value, low, high, seeds, status, why`.
    """
    told = _published()
    stuck = [arm for arm, nats in below_unigram(arms).items() if nats < LEFT_PLATEAU]
    rows = [_row(claim, told, found, stuck) for claim in claims]
    rows += [_every_cell(told, found, stuck), _equal_compute(arms)]
    rows += [_learned_balance(arms.get("hybrid", []))]
    columns = ["claim", "where", "cell", "published", "value", "low", "high", "seeds"]
    return pd.DataFrame(rows, columns=[*columns, "status", "why"])


def below_unigram(arms: dict[str, list[Run]]) -> dict[str, float]:
    """`{arm: nats}`: how far the arm's runs are below word frequencies, the least of its seeds."""
    told = {arm: [run.metrics for run in several] for arm, several in arms.items() if several}
    return {
        arm: min(m["validation_unigram"] - m["validation_mlm"] for m in several)
        for arm, several in told.items()
    }


def decide(
    found: Interval, published: float, stuck: list[str], *, similar: float | None = None
) -> tuple[str, str]:
    """Status and reason of a claim.

    Args:
        found: our difference. published: the paper's.
        stuck: arms that have not left the plateau of word frequencies.
        similar: for a claim that both sides are alike, how much apart still is alike.

    Returns:
        reproduced: the interval lies on the published side of 0 and reaches half to twice the
        published size (alike: it lies within `similar`). direction only: on that side, another
        size. not reproduced: on the other side, or too narrow around 0 for half the published size.
        cannot tell: anything else, and everything while an arm sits on the plateau.
    """
    reproduced, direction, refuted, unknown = STATUSES
    if stuck:
        return unknown, _ON_PLATEAU + ", ".join(stuck)
    if similar is not None:
        if -similar <= found.low and found.high <= similar:
            return reproduced, f"within ±{similar:g}"
        if found.low > similar or found.high < -similar:
            return refuted, f"apart by more than {similar:g}"
        return unknown, f"the interval crosses ±{similar:g}"
    low, high = (found.low, found.high) if published > 0 else (-found.high, -found.low)
    size = abs(published)
    if low > 0:
        if low <= 2 * size and high >= size / 2:
            return reproduced, "same direction and size"
        return direction, "smaller than half" if high < size / 2 else "larger than twice"
    if high < 0:
        return refuted, "the other way round"
    if high < size / 2:
        return refuted, "less than half the published size, and perhaps nothing"
    return unknown, "the interval holds 0"


def _row(claim: Claim, told: pd.DataFrame, found: Geometry | None, stuck: list[str]) -> dict:
    facts = {"claim": claim.statement, "where": claim.where, "cell": claim.cell}
    published_value = _published_gap(claim, told)
    facts["published"] = published_value
    try:
        if found is None:
            raise ValueError("no runs on disk")
        here = set(found.table["task"])
        asked = None
        if claim.task:
            names = (claim.task, dict(zip(GLUE, EMBEDDED, strict=True))[claim.task])
            asked = [name for name in names if name in here]
        interval, seeds = contrast(found, claim.metric, *claim.sides, tasks=asked, log=claim.log)
    except ValueError as error:
        return facts | {"status": STATUSES[3], "why": str(error)}
    on_plateau = [arm for arm in stuck if arm in {side[0] for side in claim.sides}]
    status, why = decide(interval, published_value, on_plateau, similar=claim.similar)
    return facts | _numbers(interval, seeds) | {"status": status, "why": why}


def _published() -> pd.DataFrame:
    """Published values, linear probes included: index `metric, task`, columns (model, pooling)."""
    told = published.linear_probe().melt(["task", "metric"], ["hybrid", "mlm"], "model", "value")
    told.loc[told["metric"] != "spearman", "value"] /= 100
    told = told.assign(metric="linear_probe", pooling="mean")
    both = pd.concat([published_geometry(), told])
    return both.pivot_table(index=["metric", "task"], columns=["model", "pooling"], values="value")


def _published_gap(claim: Claim, told: pd.DataFrame) -> float:
    part = told.loc[claim.metric]
    part = part.loc[[claim.task]] if claim.task else part
    one, other = (part[side] for side in claim.sides)
    gaps = one.abs().map(math.log) - other.abs().map(math.log) if claim.log else one - other
    return float(gaps.mean())


def _every_cell(told: pd.DataFrame, found: Geometry | None, stuck: list[str]) -> dict:
    """Claimed of all tasks and poolings: the number of cells whose interval is on that side."""
    facts = {"claim": "More uniform on every task under every pooling (cells)"}
    facts |= {"where": "Abstract, Tables 7-11", "cell": _GAPS}
    published_gaps = (told.loc["uniformity"]["hybrid"] - told.loc["uniformity"]["mlm"]).stack()
    facts["published"] = float((published_gaps < 0).sum())
    try:
        if found is None:
            raise ValueError("no runs on disk")
        cells = differences(found).query("metric == 'uniformity'")
    except ValueError as error:
        return facts | {"status": STATUSES[3], "why": str(error)}
    below, above = int((cells["high"] < 0).sum()), int((cells["low"] > 0).sum())
    facts |= {"value": float(below), "seeds": int(cells["seeds"].min())}
    reproduced, _, refuted, unknown = STATUSES
    if stuck:
        return facts | {"status": unknown, "why": _ON_PLATEAU + ", ".join(stuck)}
    status = reproduced if below == len(cells) else refuted if above else unknown
    why = f"{below} of {len(cells)} intervals lie below 0, {above} above"
    return facts | {"status": status, "why": why}


def _equal_compute(arms: dict[str, list[Run]]) -> dict:
    """Claimed identical budgets: operations of a hybrid step over those of an MLM-only step."""
    facts = {"claim": "Identical compute budgets (hybrid's operations over MLM-only's, less 1)"}
    facts |= {"where": "Abstract", "cell": _06, "published": 0.0}
    cost = {
        arm: {run.facts["seed"]: run.metrics["flops"] / run.metrics["steps"] for run in several}
        for arm, several in arms.items()
    }
    hybrid, mlm = cost.get("hybrid", {}), cost.get("mlm", {})
    ratios = [hybrid[seed] / mlm[seed] - 1 for seed in hybrid if seed in mlm]
    if not ratios:
        return facts | {"status": STATUSES[3], "why": "no runs on disk"}
    status, why = decide(_span(ratios), 0.0, [], similar=0.05)
    return facts | _counted(ratios) | {"status": status, "why": why}


def _learned_balance(runs: list[Run]) -> dict:
    """Claimed to be learned: w at the end over the sum of learning rates."""
    facts = {"claim": "λ is learned from the losses (w over the sum of learning rates, less 1)"}
    facts |= {"where": "Abstract, Section 3", "cell": _03}
    if not runs:
        return facts | {"status": STATUSES[3], "why": "no runs on disk"}
    shares = []
    for run in runs:
        last = run.history.iloc[-1]
        (predicted,) = lambda_before(run.recipe, run.metrics["steps"], [last["step"]])
        shares.append(_logit(last["lam"]) / _logit(predicted) - 1)
    span = _span(shares)
    if -DRIVEN < span.low and span.high < DRIVEN:
        status, why = STATUSES[2], "the learning rates alone predict it"
    elif span.low > DRIVEN or span.high < -DRIVEN:
        status, why = STATUSES[0], "w is not the sum of learning rates"
    else:
        status, why = STATUSES[3], f"the interval crosses ±{DRIVEN:g}"
    return facts | _counted(shares) | {"status": status, "why": why}


def _span(values: list[float]) -> Interval:
    """What the seeds tell of a number without sampling error; of one seed, the number itself."""
    return student_interval(values) if len(values) > 1 else Interval(values[0], *values * 2, 1)


def _counted(values: list[float]) -> dict:
    """As the table shows it: one seed has no interval."""
    span, nan = _span(values), float("nan")
    span = span if len(values) > 1 else Interval(span.value, nan, nan, 1)
    return _numbers(span, len(values))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _numbers(interval: Interval, seeds: int) -> dict:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "seeds": seeds}
