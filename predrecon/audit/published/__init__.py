"""The paper's numbers and claims, as facts to compare with.

`linear_probe.csv` is Table 3. `geometry.csv` holds Tables 4-11 at the precision that the author's
code wrote: 5 tasks x 4 poolings x 2 models. Note the conventions of its tables: spectral entropy
from squared singular values over ln min(N, D), alignment with the fourth power
(`predrecon.metrics`; tests/test_conventions.py derives both from the numbers).
`singular_values.csv` holds the first 50 singular values of each of the 40 embedding matrices: the
curves of Figures 7-10. `claims.csv` holds the paper's claims about them.
"""

from importlib import resources

import pandas as pd


def linear_probe() -> pd.DataFrame:
    """Columns `task, metric, hybrid, mlm`; scores from 0 to 1 (the table: percent, except rho)."""
    table, arms = _read("linear_probe.csv"), ["hybrid", "mlm"]
    unit = table["metric"].map({"spearman": 1.0}).fillna(0.01)
    return table.assign(**table[arms].mul(unit, axis=0))


def geometry() -> pd.DataFrame:
    """Columns `task, pooling, model, metric, value`."""
    return _read("geometry.csv")


def singular_values() -> pd.DataFrame:
    """Columns `task, pooling, model, rank, singular_value`; ranks 1 to 50."""
    return _read("singular_values.csv")


def claims() -> pd.DataFrame:
    """One row per claim; most are about a difference in one metric, hybrid minus MLM-only.

    Returns:
        Columns: `claim`; `where`, the paper's table, figure or section; `cell`, the notebook and
        section that shows it; `metric`, `pooling`; `task`, or "" for the mean of all; `against`,
        another pooling of the hybrid instead of MLM-only, or ""; `scale`, "log" for a ratio's
        logarithm; `similar`, the largest difference that counts as alike, for such claims, or NaN.
    """
    table = _read("claims.csv")
    words = table.columns.drop("similar")
    return table.assign(**table[words].fillna(""))


def _read(name: str) -> pd.DataFrame:
    with resources.files(__package__).joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file)
