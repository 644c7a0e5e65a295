"""What stands of the paper: every claim with a status computed from results, never typed."""

from dataclasses import dataclass

import pandas as pd

from predrecon import analysis
from predrecon.evidence import Geometry, headline
from predrecon.run_folder import Run
from predrecon.uncertainty import Interval

STATUSES = ("reproduced", "direction only", "not reproduced", "cannot tell at this budget")
LEFT_PLATEAU = 0.05  # nats below word frequencies from which a run has learnt more than them


@dataclass(frozen=True)
class Claim:
    """A statement about `hybrid - mlm`, mean of the five tasks.

    Attributes:
        where: table, figure or section of the paper. cell: the notebook and section that shows it.
        metric, pooling: what is compared.
        similar: the claim is that the arms are alike, to within so much.
    """

    statement: str
    where: str
    cell: str
    metric: str
    pooling: str
    similar: float | None = None


_05 = "05 · The whole table"
CLAIMS = (
    *(
        Claim(f"More uniform under {pooling} pooling", "Table 4", _05, "uniformity", pooling)
        for pooling in ("mean", "max", "weighted", "attention")
    ),
    Claim("Richer spectrum under max pooling: entropy", "Table 5", _05,
          "spectral_entropy_sigma2", "max"),
    Claim("Richer spectrum under max pooling: effective rank", "Table 5", _05,
          "effective_rank", "max"),
    Claim("Richer spectrum under max pooling: stable rank", "Table 5", _05, "stable_rank", "max"),
    Claim("Less lexical: lower token probe under attention pooling", "Table 6", _05,
          "token_probe", "attention"),
    Claim("Better semantic-to-lexical balance under attention pooling", "Table 6", _05,
          "probe_gap", "attention"),
    Claim("Better semantic-to-lexical balance under mean pooling", "Tables 7-11", _05,
          "probe_gap", "mean"),
    Claim("Label information alike under mean pooling", "Tables 7-11", _05,
          "semantic_probe", "mean", similar=0.03),
    Claim("Spectra alike under mean pooling", "Tables 7-11, Figures 7-10", "05 · Eigenspectra",
          "spectral_entropy_sigma2", "mean", similar=0.03),
)  # fmt: skip


def paper_map(
    found: Geometry | None, below_unigram: dict[str, float], claims: tuple[Claim, ...] = CLAIMS
) -> pd.DataFrame:
    """Every claim with our number, the published one, and what stands of it.

    Args:
        found: geometry of both arms; None if nothing has been measured yet.
        below_unigram: `{arm: nats}`, by which each arm's held-out loss is lower than that of word
            frequencies.

    Returns:
        Columns `claim, where, cell, published, value, low, high, seeds, status, why`.
    """
    told = analysis.published_geometry().pivot_table(
        index=["pooling", "metric"], columns="model", values="value"
    )
    gaps = told["hybrid"] - told["mlm"]
    ours = None if found is None else headline(found).set_index(["pooling", "metric"])
    stuck = [arm for arm, nats in below_unigram.items() if nats < LEFT_PLATEAU]
    rows = []
    for claim in claims:
        key, published = (claim.pooling, claim.metric), None
        facts = {"claim": claim.statement, "where": claim.where, "cell": claim.cell}
        published = float(gaps[key])
        if ours is None or key not in ours.index:
            told = {"status": STATUSES[3], "why": "no runs on disk"}
            rows.append(facts | {"published": published} | told)
            continue
        one = ours.loc[key]
        interval = Interval(one["value"], one["low"], one["high"], int(one["seeds"]))
        status, why = decide(interval, published, stuck, similar=claim.similar)
        numbers = {"published": published, "value": interval.value, "low": interval.low}
        numbers |= {"high": interval.high, "seeds": interval.n}
        rows.append(facts | numbers | {"status": status, "why": why})
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
        found: our difference of the arms. published: the paper's.
        stuck: arms that have not left the plateau of word frequencies.
        similar: for a claim that the arms are alike, how much apart still is alike.

    Returns:
        reproduced: the interval lies on the published side of 0 and reaches half to twice the
        published size (alike: it lies within `similar`). direction only: on that side, another
        size. not reproduced: on the other side, or too narrow around 0 for half the published size.
        cannot tell: anything else, and everything while an arm sits on the plateau.
    """
    reproduced, direction, refuted, unknown = STATUSES
    if stuck:
        return unknown, f"on the plateau of word frequencies: {', '.join(stuck)}"
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
