"""Does a run's geometry follow its objective or its loss (nats below word frequencies)?"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr
from scipy.stats import t as student

from predrecon.audit.grid import CONDITIONS
from predrecon.audit.statistics import Interval
from predrecon.seeding import numpy_generator

WITHIN = "within conditions"
BOTH = "within conditions and seeds"
METRICS = ("uniformity", "equal_length", "effective_rank", "token_probe")


def per_run(endpoints: pd.DataFrame) -> pd.DataFrame:
    """`contrasts.endpoints`, a row per run: `condition, title, seed, arm`, and means of tasks."""
    wide = endpoints.pivot_table(
        index=["condition", "title", "seed"], columns="metric", values="value", sort=False
    ).reset_index()
    arms = ["mlm" if "mlm" in name.split("-") else "hybrid" for name in wide["condition"]]
    return wide.assign(arm=arms).rename_axis(columns=None)


def at_equal_loss(endpoints: pd.DataFrame, metrics: tuple[str, ...] = METRICS) -> pd.DataFrame:
    """How closely a metric follows the loss, and what the objective adds at equal loss.

    Over runs, metric = a(seed) + b nats + c hybrid by least squares; nats below word frequencies
    measure how much a run has learned about its text. Two caveats. The loss is itself an outcome of
    the objective: c is what remains of the effect, not the effect. And much of the spread has other
    causes: architectures differ widely, and the runs of one seed share initial weights, text and
    masks. So some rows are of one architecture; `within conditions` subtracts the mean of every
    condition; `within conditions and seeds` uses only conditions with every seed, and subtracts the
    mean of every seed too.

    Returns:
        Columns `among, metric, rho, rho_low, rho_high, value, low, high, runs`: Spearman's rank
        correlation of the metric with the nats, with a 95 % interval from runs drawn with
        replacement (as if independent, so slightly too narrow; NaN if all draws agree, as for a few
        runs in perfect order), and c with Student's interval (NaN with one arm only, or without at
        least two runs more than coefficients).
    """
    rows = []
    for among, runs in _subsets(per_run(endpoints)).items():
        for metric in (m for m in metrics if m in runs):
            complete = runs[["seed", "below_unigram", metric, "arm"]].dropna()
            nats, y = (complete[name].to_numpy(float) for name in ("below_unigram", metric))
            x = [pd.get_dummies(complete["seed"]), nats, complete["arm"] == "hybrid"]
            rho, added = _rank_correlation(nats, y), _none(len(y))
            if among not in (WITHIN, BOTH):  # there the objective's means are subtracted
                added = last_coefficient(np.column_stack(x).astype(float), y)
            correlation = {"rho": rho.value, "rho_low": rho.low, "rho_high": rho.high}
            labels = {"among": among, "metric": metric}
            rows.append(labels | correlation | added.bounds | {"runs": len(y)})
    columns = ["among", "metric", "rho", "rho_low", "rho_high", "value", "low", "high", "runs"]
    return pd.DataFrame(rows, columns=columns)


def _subsets(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All runs, those of each architecture, and all without the means of conditions and seeds."""
    twins = [name for name, (_, changes) in CONDITIONS.items() if "architecture" in changes]
    published = runs["condition"].isin(twins)
    seeds = runs.groupby("condition")["seed"].transform("nunique")
    complete = runs[(seeds > 1) & (seeds == runs["seed"].nunique())]
    return {
        "all runs": runs,
        "but those as published": runs[~published],
        "as published": runs[published],
        WITHIN: _without_means(runs[seeds > 1], "condition"),
        BOTH: _without_means(_without_means(complete, "condition"), "seed"),
    }


def _without_means(runs: pd.DataFrame, of: str) -> pd.DataFrame:
    numbers = list(runs.select_dtypes("number").columns.drop("seed", errors="ignore"))
    means = runs.groupby(of)[numbers].transform("mean")
    return runs.assign(**(runs[numbers] - means))


def _rank_correlation(a: np.ndarray, b: np.ndarray, *, draws: int = 2000) -> Interval:
    """Spearman's rho, with quantiles over runs drawn with replacement."""
    n = len(a)
    if n < 5 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return _none(n)
    resampled = numpy_generator(0, "rank correlation").integers(n, size=(draws, n))
    resampled = resampled[[len(np.unique(rows)) > 2 for rows in resampled]]
    ranks = [rankdata(values[resampled], axis=1) for values in (a, b)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    spread = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    low, high = np.quantile(spread, [0.025, 0.975])
    if low == high:  # a few runs in perfect order: all draws agree and tell nothing about new runs
        low = high = np.nan
    return Interval(float(spearmanr(a, b).statistic), float(low), float(high), n)


def last_coefficient(x: np.ndarray, y: np.ndarray) -> Interval:
    """The last column's coefficient in a least-squares fit of `y [n]` by `x [n, k]`, with interval.

    The interval is Student's. All NaN for n < k + 2, and for collinear columns.
    """
    n, k = x.shape
    if n < k + 2 or np.linalg.matrix_rank(x) < k:
        return _none(n)
    fit, *_ = np.linalg.lstsq(x, y, rcond=None)
    variance = ((y - x @ fit) ** 2).sum() / (n - k) * np.linalg.inv(x.T @ x)[-1, -1]
    margin = student.ppf(0.975, n - k) * np.sqrt(variance)
    return Interval(fit[-1], fit[-1] - margin, fit[-1] + margin, n)


def _none(n: int) -> Interval:
    return Interval(np.nan, np.nan, np.nan, n)
