"""The paper's numbers, as facts to compare with.

`linear_probe.csv` is Table 3. `geometry.csv` holds Tables 4-11 at the precision that the author's
code wrote: 5 tasks x 4 poolings x 2 models. Note the conventions of its tables: spectral entropy
from squared singular values over ln min(N, D), alignment with the fourth power
(`predrecon.metrics`; tests/test_conventions.py shows both from the numbers).
`singular_values.csv` holds the first 50 singular values of each of the 40 embedding matrices: the
curves of Figures 7-10.
"""

from importlib import resources

import pandas as pd


def linear_probe() -> pd.DataFrame:
    """Columns `task, metric, hybrid, mlm`; scores in percent but for STS-B's rho."""
    return _read("linear_probe.csv")


def geometry() -> pd.DataFrame:
    """Columns `task, pooling, model, metric, value`."""
    return _read("geometry.csv")


def singular_values() -> pd.DataFrame:
    """Columns `task, pooling, model, rank, singular_value`; ranks 1 to 50."""
    return _read("singular_values.csv")


def _read(name: str) -> pd.DataFrame:
    with resources.files(__package__).joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file)
