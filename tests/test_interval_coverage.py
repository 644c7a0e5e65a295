"""Coverage of 95 % intervals by simulation, as `bootstrap_interval`'s docstring states it."""

import numpy as np
import pytest

from predrecon import metrics, probes
from predrecon.audit.geometry import shape_metrics
from predrecon.audit.statistics import (
    bootstrap_counts,
    bootstrap_interval,
    score_replicates,
    student_interval,
)

pytestmark = pytest.mark.slow

LABELS = np.arange(120) % 3
USUAL = (0.88, 0.99)


def cloud(seed, signal, n=120, dim=6):
    """Anisotropic, off-centre, heavy-tailed; `signal` moves the classes apart."""
    draw = np.random.default_rng(seed)
    z = draw.standard_t(8, size=(n, dim)) * np.linspace(2, 0.5, dim) + 1.0
    return z + signal * np.eye(dim)[LABELS]


def replicates(z, counts):
    half = len(z) // 2
    pairs = metrics.pair_alignment(z[:half], z[half:], weights=counts[:, :half])
    return shape_metrics(z, LABELS, weights=counts) | {"pair_alignment": pairs}


def covered(intervals, truth=None):
    """Share of intervals that hold `truth`, default the mean of all values."""
    truth = np.mean([interval.value for interval in intervals]) if truth is None else truth
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


@pytest.mark.parametrize(
    ("signal", "unusual"),
    [
        # an integer, mostly 4: where all replicates agree the interval has no width;
        # and where classes mean nothing the ratio varies half as much as its replicates
        (0.0, {"rank_90": (0.4, 0.6), "intra_inter_ratio": (0.995, 1.0)}),
        (1.5, {"rank_90": (0.995, 1.0)}),  # always 4
    ],
)
def test_intervals_of_geometry(signal, unusual):
    """200 data sets; the usual band is 88 to 99 % of them."""
    counts, once, by_metric = bootstrap_counts(120, draws=100), np.ones((1, 120), dtype=int), {}
    for seed in range(200):
        z = cloud(seed, signal)
        values, again = replicates(z, once), replicates(z, counts)
        for name in values:
            by_metric.setdefault(name, []).append(
                bootstrap_interval(values[name][0], again[name], 120)
            )
    assert len(by_metric) == 14
    for name, intervals in by_metric.items():
        low, high = unusual.get(name, USUAL)
        assert low <= covered(intervals) <= high, (name, covered(intervals))


def probed(kind, signal, seed, n=120):
    draw = np.random.default_rng(seed)
    z, labels = draw.normal(size=(n, 6)), draw.integers(0, 2, n)
    if kind == "regression":
        labels = draw.normal(size=n) + signal * z[:, 0]
    z[:, 1] += signal * labels
    if kind == "token":
        result = probes.token_probe(z, labels)
    else:
        result = probes.semantic_probe(z, labels, kind=kind)
    counts = bootstrap_counts(n, draws=100)
    spread = score_replicates(labels, result.predictions, result.metric, counts)
    return bootstrap_interval(result.score, spread, n)


@pytest.mark.parametrize(
    ("kind", "chance"), [("classification", 0.5), ("token", 0.5), ("regression", 0.0)]
)
def test_intervals_of_probes_at_chance(kind, chance):
    """Random labels, 60 sets: too narrow, as documented, but chance is in most of them."""
    share = covered([probed(kind, 0.0, seed) for seed in range(60)], chance)
    assert 0.75 <= share <= 0.96, share


def test_intervals_of_probes_that_learn():
    share = covered([probed("classification", 1.0, seed) for seed in range(60)])
    assert 0.85 <= share <= 1.0, share


@pytest.mark.parametrize("spread", [0.1, 1.0])
@pytest.mark.parametrize(
    ("bounds", "center"), [((1, np.inf), 12.0), ((-np.inf, 0), -0.2), ((0, 1), 0.9)]
)
def test_intervals_over_seeds_on_the_scale_of_a_metric(bounds, center, spread):
    """2000 times three seeds with the median `center`, close (0.1) and far apart (1 e-fold)."""
    (low, high), draw = bounds, np.random.default_rng(0)
    noise = np.exp(spread * draw.normal(size=(2000, 3)))
    if np.isinf(bounds).any():
        end = low if np.isinf(high) else high
        values = end + (center - end) * noise
    else:
        values = 1 / (1 + (1 - center) / center * noise)
    intervals = [student_interval(row, bounds=bounds) for row in values]
    assert 0.94 <= covered(intervals, center) <= 0.96
    assert all(low < i.low < i.value < i.high < high for i in intervals)
