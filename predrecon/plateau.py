"""Does a run's geometry follow its objective, or how far it has left word frequencies behind?"""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from scipy.stats import t as student

from predrecon.grid import CONDITIONS
from predrecon.uncertainty import Interval

FOLLOWED = ("uniformity", "equal_length", "effective_rank", "token_probe")


def per_run(ends: pd.DataFrame) -> pd.DataFrame:
    """One line a run: `condition, title, seed, arm` and every metric, mean of tasks."""
    wide = ends.pivot_table(
        index=["condition", "title", "seed"], columns="metric", values="value", sort=False
    ).reset_index()
    arms = [CONDITIONS[name][1].get("arm", "hybrid") for name in wide["condition"]]
    return wide.assign(arm=arms).rename_axis(columns=None)


def at_equal_loss(ends: pd.DataFrame, metrics: tuple[str, ...] = FOLLOWED) -> pd.DataFrame:
    """What the objective adds where both arms have learned as much.

    Over runs, metric = a + b nats + c hybrid by least squares; nats below word frequencies say how
    much a run has learned of its text. A line is an assumption, and the runs of one condition are
    alike: read c with the picture beside it.

    Returns:
        Columns `metric, rho, value, low, high, runs`: Spearman's rank correlation of the metric
        with the nats over all runs, and c with Student's 95 % interval (NaN below five runs, or
        with one arm alone).
    """
    runs, rows = per_run(ends), []
    for metric in metrics:
        told = runs[["below_unigram", metric, "arm"]].dropna()
        x = np.column_stack(
            [np.ones(len(told)), told["below_unigram"], told["arm"] == "hybrid"]
        ).astype(float)
        rho = _rank_correlation(told["below_unigram"], told[metric])
        interval = _coefficient(x, told[metric].to_numpy(float))
        rows.append({"metric": metric, "rho": rho, **interval.bounds, "runs": len(told)})
    return pd.DataFrame(rows)


def _rank_correlation(a, b) -> float:
    constant = len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0
    return float("nan") if constant else float(spearmanr(a, b).statistic)


def _coefficient(x: np.ndarray, y: np.ndarray) -> Interval:
    """Of the last column of `x [n, k]`, with Student's interval."""
    n, k = x.shape
    if n < k + 2 or np.linalg.matrix_rank(x) < k:
        return Interval(np.nan, np.nan, np.nan, n)
    fit, *_ = np.linalg.lstsq(x, y, rcond=None)
    variance = ((y - x @ fit) ** 2).sum() / (n - k) * np.linalg.inv(x.T @ x)[-1, -1]
    margin = student.ppf(0.975, n - k) * np.sqrt(variance)
    return Interval(fit[-1], fit[-1] - margin, fit[-1] + margin, n)
