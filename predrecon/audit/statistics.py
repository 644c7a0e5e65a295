"""Uncertainty of a number: bootstrap over samples, Student over seeds, sign flips of differences.

A bootstrap sample is a vector of multiplicities `[N]`, how often it holds each text. These are the
`weights` of `metrics`, where a text and its own copy are not a pair.
"""

import math
from dataclasses import dataclass

import numpy as np

from predrecon import probes
from predrecon.seeding import numpy_generator

Bounds = tuple[float, float]  # the range of a number
UNBOUNDED: Bounds = (-math.inf, math.inf)
MOST_SEEDS = 1000  # nobody trains more
_EXACT = 14  # up to n = 14, all 2^n patterns of signs are counted


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval and the number of units that it comes from."""

    value: float
    low: float
    high: float
    n: int

    @property
    def bounds(self) -> dict[str, float]:
        """`value, low, high`: the columns of every table with intervals."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def text(self, digits: int = 3) -> str:
        """As cells show it: `0.512 [0.487, 0.537]`; without finite bounds `0.512, no interval`."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{self.value:.{digits}f}, no interval"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def bootstrap_counts(n: int, draws: int = 200, seed: int = 0) -> np.ndarray:
    """Multiplicities `[draws, n]`, each row summing to n; the same for every encoder compared."""
    if n < 2:
        raise ValueError(f"Bootstrap of {n} samples: at least two are needed.")
    return numpy_generator(seed, "bootstrap").multinomial(n, np.full(n, 1 / n), size=draws)


def bootstrap_interval(
    value: float, replicates: np.ndarray, n: int, *, level: float = 0.95
) -> Interval:
    """`value` plus and minus a normal quantile of the replicates' standard deviation.

    Centred on the value itself: resampling repeats samples, which lowers the ranks of replicates,
    but their spread is right. In simulations (tests/test_interval_coverage.py) 95 % intervals
    contain the expected value 90 to 98 % of the time, except for

    - `rank_90`, an integer: often all replicates agree and the interval has no width, 50 %;
    - `intra_inter_ratio` if embeddings know nothing about the classes: twice too wide, 100 %;
    - probes at chance: a fifth to a quarter too narrow, 84 to 89 %, since the bootstrap keeps the
      fitted probes (90 to 95 % if there is something to learn).

    Bounds can lie outside the range of the metric (a rank below 1): they show only the spread.
    Over seeds they cannot (`student_interval`).

    Args:
        value: on all `n` samples. replicates: `[draws]`.

    Returns:
        The interval; its bounds are infinite if the metric has no finite value on some bootstrap
        sample, as with very few samples.

    Raises:
        ValueError: fewer than two replicates.
    """
    from scipy.stats import norm

    if len(replicates) < 2:
        raise ValueError(f"{len(replicates)} replicates: an interval needs at least two.")
    if not np.isfinite(replicates).all():
        return Interval(float(value), -math.inf, math.inf, n)
    margin = norm.ppf(0.5 + level / 2) * float(np.std(replicates, ddof=1))
    return Interval(float(value), float(value) - margin, float(value) + margin, n)


def student_interval(values, *, bounds: Bounds = UNBOUNDED, level: float = 0.95) -> Interval:
    """Mean of a few values (seeds) with Student's interval; infinite for a single value.

    Both are computed on a scale that maps `bounds`, the range of the values, to infinity, and then
    mapped back: with one finite bound the logarithm of the distance from it (for bound 0 the
    geometric mean), with two the logit of the position between them. So no interval leaves the
    range. If a value lies on a bound, the values are used as they are and clipped at `bounds`.

    Raises:
        ValueError: no value, or NaN.
    """
    values, (low, high) = _finite(values), bounds
    n = len(values)
    if n == 1:
        return Interval(float(values[0]), -math.inf, math.inf, 1)
    inside = np.all((low < values) & (values < high))
    scale = bounds if inside else UNBOUNDED
    values = _to_scale(values, *scale)
    margin = half_width(float(np.std(values, ddof=1)), n, level=level)
    ends = _from_scale(float(np.mean(values)) + np.array([0, -margin, margin]), *scale)
    return Interval(*np.clip(ends, low, high).tolist(), n)


def half_width(sd: float, n: int, *, level: float = 0.95) -> float:
    """Half of Student's interval of the mean of n >= 2 values with standard deviation `sd`."""
    from scipy.stats import t  # its ttest_1samp warns where seeds agree exactly

    return float(t.ppf(0.5 + level / 2, n - 1)) * sd / math.sqrt(n)


def detectable_effect(sd: float, n: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest mean difference that a paired t-test of n seeds finds with probability `power`.

    `sd` is the standard deviation of the seeds' differences, in whose units the result is. From the
    noncentral t distribution (Cohen 1988); a significant result of the wrong sign, less than one in
    100,000, does not count. Infinite for one seed, whose differences have no `sd`.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if n < 2:
        return math.inf
    critical = t.ppf(0.5 + level / 2, n - 1)
    shift = brentq(lambda shift: nct.sf(critical, n - 1, shift) - power, 0, 100)
    return shift * sd / math.sqrt(n)


def seeds_needed(sd: float, effect: float) -> float:
    """The fewest seeds that exclude an effect: half an interval is less than half of `effect`.

    Then an interval around 0 contains nothing as large as half the effect, and `claims.decide` says
    "not reproduced". `sd` as in `detectable_effect`. Infinite beyond `MOST_SEEDS`.
    """
    enough = (n for n in range(2, MOST_SEEDS + 1) if half_width(sd, n) < abs(effect) / 2)
    return next(enough, math.inf)


def _to_scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Increasing, and infinite at `low` and `high`."""
    scaled = values if math.isinf(low) and math.isinf(high) else 0.0
    scaled = scaled if math.isinf(low) else scaled + np.log(values - low)
    return scaled if math.isinf(high) else scaled - np.log(high - values)


def _from_scale(scaled: np.ndarray, low: float, high: float) -> np.ndarray:
    """The inverse of `_to_scale`; infinite where a number would be too large for float64."""
    from scipy.special import expit

    if math.isinf(low) and math.isinf(high):
        return scaled
    with np.errstate(over="ignore"):
        if math.isinf(high):
            return low + np.exp(scaled)
        return high - np.exp(-scaled) if math.isinf(low) else low + (high - low) * expit(scaled)


def interval_over_seeds(
    by_seed: list[Interval], bounds: Bounds = UNBOUNDED
) -> tuple[Interval, str]:
    """One interval from those of several seeds, and what it is over: `"seeds"` or `"samples"`.

    `student_interval` within `bounds`. With one seed, or if all agree exactly, as constant answers
    do, seeds say nothing about the spread: then the interval is over samples, as wide as the widest
    `by_seed`.

    Raises:
        ValueError: no seed.
    """
    if not by_seed:
        raise ValueError("No seed: an interval over seeds needs at least one.")
    values = [interval.value for interval in by_seed]
    if len(set(values)) > 1:
        return student_interval(values, bounds=bounds), "seeds"
    low, high = min(i.low for i in by_seed), max(i.high for i in by_seed)
    return Interval(values[0], low, high, by_seed[0].n), "samples"


def score_replicates(labels, predictions, metric: str, counts: np.ndarray) -> np.ndarray:
    """A probe's score `[draws]` on every bootstrap sample of its out-of-fold predictions.

    The probe is not refitted: the interval is over test samples only (`bootstrap_interval`).

    Args:
        labels, predictions: `[N]`. metric: as in `probes.score`. counts: `[draws, N]`.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if metric == "accuracy":
        return counts @ (labels == predictions) / counts.sum(axis=1)
    if metric in ("f1", "mcc"):
        return _from_confusion(labels, predictions, metric, counts)
    rows = (np.repeat(np.arange(len(labels)), w) for w in counts)
    return np.array([probes.score(labels[r], predictions[r], metric) for r in rows])


def _from_confusion(labels, predictions, metric: str, counts: np.ndarray) -> np.ndarray:
    """F1 of class 1 or Matthews' correlation `[draws]`, from a confusion matrix per sample."""
    classes, codes = np.unique(np.stack([labels, predictions]), return_inverse=True)
    k = len(classes)
    cells = np.ravel_multi_index(tuple(codes.reshape(2, -1)), (k, k))
    confusion = (counts @ np.eye(k * k)[cells]).reshape(-1, k, k)
    real, guessed = confusion.sum(axis=2), confusion.sum(axis=1)  # (draws, K)
    right = confusion.diagonal(axis1=1, axis2=2)
    if metric == "f1":
        of_one = classes == 1
        return 2 * (right @ of_one) / np.maximum((real + guessed) @ of_one, 1)
    n = counts.sum(axis=1)
    above_chance = right.sum(axis=1) * n - (real * guessed).sum(axis=1)
    spread = (n**2 - (real**2).sum(axis=1)) * (n**2 - (guessed**2).sum(axis=1))
    return above_chance / np.sqrt(np.where(spread > 0, spread, np.inf))


def sign_flip_p(differences, *, draws: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of paired differences; under the null, either sign is equally likely.

    All 2^n patterns are counted up to n = 14, `draws` random ones beyond. With n differences it is
    at least 2 / 2^n: 0.25 for three seeds.

    Raises:
        ValueError: no difference, or NaN.
    """
    from scipy.stats import permutation_test

    values = _finite(differences)
    if len(values) == 1:
        return 1.0
    patterns = np.inf if len(values) <= _EXACT else draws
    rng = numpy_generator(seed, "sign flips")
    options = {"permutation_type": "samples", "n_resamples": patterns, "rng": rng}
    return float(permutation_test((values,), np.sum, **options).pvalue)


def student_p(differences) -> float:
    """Two-sided p-value of the t-test of paired differences: small samples, but normal ones.

    1 for a single difference, and where all are 0.

    Raises:
        ValueError: no difference, or NaN.
    """
    from scipy.stats import t

    values = _finite(differences)
    mean, margin = abs(float(np.mean(values))), math.inf
    if len(values) > 1:
        margin = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if mean == 0 or margin == math.inf:
        return 1.0
    return 2 * float(t.sf(mean / margin, len(values) - 1)) if margin else 0.0


def holm(p_values) -> np.ndarray:
    """Holm's correction (1979) for several comparisons: adjusted p-values in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(stepped, 1)[np.argsort(order)]


def _finite(values) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64).ravel()
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"{values.tolist()}: expected at least one value, all finite.")
    return values
