"""Intervals and p-values against simulation: coverage, and the rate of false alarms."""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from predrecon import metrics
from predrecon.audit.geometry import shape_metrics
from predrecon.audit.statistics import (
    Interval,
    bootstrap_counts,
    bootstrap_interval,
    detectable_effect,
    half_width,
    holm,
    interval_over_seeds,
    score_replicates,
    seeds_needed,
    sign_flip_p,
    student_interval,
    student_p,
)

LABELS = np.arange(120) % 3


def cloud(seed, n=120, dim=6):
    """Anisotropic, off-centre, heavy-tailed."""
    draw = np.random.default_rng(seed)
    return draw.standard_t(8, size=(n, dim)) * np.linspace(2, 0.5, dim) + 1.0


def test_a_sample_drawn_once_each_is_the_metric_itself():
    z, once = cloud(0), np.ones((1, 120), dtype=int)
    replicates = shape_metrics(z, LABELS, weights=once)
    expected = {
        "spectral_entropy": metrics.spectral_entropy(z),
        "spectral_entropy_sigma2": metrics.spectral_entropy(z, power=2),
        "effective_rank": metrics.effective_rank(z),
        "stable_rank": metrics.stable_rank(z),
        "alignment": metrics.alignment(z, LABELS),
        "alignment_squared": metrics.alignment(z, LABELS, power=2),
        "alignment_by_class": metrics.alignment(z, LABELS, average="classes"),
        "uniformity": metrics.uniformity(z),
        "rank_90": metrics.rank_90(z),
        "rankme": metrics.rankme(z),
        **metrics.class_distances(z, LABELS),
    }
    assert replicates.keys() == expected.keys()
    for name, value in expected.items():
        assert replicates[name][0] == pytest.approx(value, abs=1e-10)


def test_replicates_against_rows_drawn_again():
    """The plain way: repeat rows, and count pairs of different samples only."""
    z = cloud(1, n=30)
    labels = np.arange(30) % 3
    counts = bootstrap_counts(30, draws=3, seed=5)
    replicates = shape_metrics(z, labels, weights=counts)
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    for draw, w in enumerate(counts):
        rows = np.repeat(np.arange(30), w)
        pairs = [(i, j) for i, j in itertools.combinations(rows, 2) if i != j]
        near = [np.exp(-2 * ((u[i] - u[j]) ** 2).sum()) for i, j in pairs]
        assert replicates["uniformity"][draw] == pytest.approx(np.log(np.mean(near)), abs=1e-10)
        same = [((u[i] - u[j]) ** 2).sum() ** 2 for i, j in pairs if labels[i] == labels[j]]
        assert replicates["alignment"][draw] == pytest.approx(np.mean(same), abs=1e-10)
        by_class = [[p for p in pairs if labels[p[0]] == k == labels[p[1]]] for k in range(3)]
        means = [np.mean([((u[i] - u[j]) ** 2).sum() ** 2 for i, j in p]) for p in by_class if p]
        assert replicates["alignment_by_class"][draw] == pytest.approx(np.mean(means), abs=1e-10)
        assert replicates["rankme"][draw] == pytest.approx(metrics.rankme(z[rows]), rel=1e-4)
        assert replicates["rank_90"][draw] == metrics.rank_90(z[rows])
        alike = [np.linalg.norm(u[i] - u[j]) for i, j in pairs if labels[i] == labels[j]]
        assert replicates["intra_class_distance"][draw] == pytest.approx(np.mean(alike), abs=1e-10)
        apart = [np.linalg.norm(u[i] - u[j]) for i, j in pairs if labels[i] != labels[j]]
        ratio = np.mean(alike) / np.mean(apart)
        assert replicates["intra_inter_ratio"][draw] == pytest.approx(ratio, abs=1e-10)
        assert replicates["effective_rank"][draw] == pytest.approx(metrics.effective_rank(z[rows]))
        assert replicates["stable_rank"][draw] == pytest.approx(metrics.stable_rank(z[rows]))


def test_samples_that_leave_no_value_leave_no_bounds():
    """Some draws of 3 samples hold only one sample, or no pair of one class: 0 / 0, so NaN."""
    z, counts = cloud(0, n=3), bootstrap_counts(3)
    one_row = (counts == 3).any(axis=1)
    replicates = shape_metrics(z, np.array([0, 0, 1]), weights=counts)
    for metric in ("uniformity", "effective_rank", "rank_90", "rankme"):
        assert np.array_equal(np.isnan(replicates[metric]), one_row), metric
        interval = bootstrap_interval(1.0, replicates[metric], 3)
        assert (interval.low, interval.high) == (
            -np.inf,
            np.inf,
        ) and interval.low <= 0 <= interval.high
        assert interval.text() == "1.000, no interval"
    assert np.isnan(replicates["alignment"]).sum() > one_row.sum()


def test_too_little_for_an_interval_is_an_error():
    for n in (0, 1):
        with pytest.raises(ValueError, match=f"Bootstrap of {n} samples"):
            bootstrap_counts(n)
    with pytest.raises(ValueError, match="1 replicates: an interval needs at least two"):
        bootstrap_interval(0.5, np.array([0.5]), 10)
    with pytest.raises(ValueError, match="All embeddings are equal"):
        metrics.effective_rank(np.full((10, 3), 0.1), weights=bootstrap_counts(10))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_replicates_do_not_know_the_scale(scale):
    z, counts = cloud(2), bootstrap_counts(120, draws=3)
    again = shape_metrics(scale * z, LABELS, weights=counts)
    for name, values in shape_metrics(z, LABELS, weights=counts).items():
        assert again[name] == pytest.approx(values, abs=1e-10), name


def test_fewer_samples_than_dimensions():
    z = cloud(0, n=5)
    once = np.ones((1, 5), dtype=int)
    by_weights = metrics.spectral_entropy(z, power=2, normalize="min", weights=once)
    expected = metrics.spectral_entropy(z, power=2, normalize="min")
    assert by_weights[0] == pytest.approx(expected, abs=1e-10)
    assert metrics.rankme(z, weights=once)[0] == pytest.approx(metrics.rankme(z), abs=1e-6)


def test_counts_are_the_same_for_every_encoder_and_add_up():
    counts = bootstrap_counts(50, draws=20, seed=3)
    assert counts.shape == (20, 50) and (counts.sum(axis=1) == 50).all()
    assert np.array_equal(counts, bootstrap_counts(50, draws=20, seed=3))
    assert not np.array_equal(counts, bootstrap_counts(50, draws=20, seed=4))


@pytest.mark.parametrize("metric", ["accuracy", "mcc", "spearman"])
def test_scores_of_resampled_predictions(metric):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 200)
    predictions = np.where(draw.random(200) < 0.8, labels, 1 - labels)
    again = score_replicates(labels, predictions, metric, bootstrap_counts(200, draws=300))
    from predrecon.probes import score

    assert again.mean() == pytest.approx(score(labels, predictions, metric), abs=0.02)
    if metric == "accuracy":
        p = (labels == predictions).mean()
        assert again.std() == pytest.approx(np.sqrt(p * (1 - p) / 200), rel=0.15)


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("n", [6, 60])
@pytest.mark.parametrize(
    "metric, classes", [("f1", 2), ("mcc", 2), ("mcc", 3), ("accuracy", 2), ("accuracy", 3)]
)
def test_scores_of_resampled_predictions_are_scikit_learns(metric, classes, n):
    from predrecon.probes import score

    draw, counts = np.random.default_rng(n), bootstrap_counts(n, draws=40)
    labels = draw.integers(0, classes, n)  # of 6 texts some draws lack a class
    for predictions in (draw.integers(0, classes, n), np.zeros(n, int), np.ones(n, int), labels):
        again = score_replicates(labels, predictions, metric, counts)
        rows = [np.repeat(np.arange(n), w) for w in counts]
        expected = [score(labels[r], predictions[r], metric) for r in rows]
        assert again == pytest.approx(expected, abs=1e-12)


def test_scores_of_an_unknown_metric():
    with pytest.raises(ValueError, match="'auc': expected one of"):
        score_replicates([0, 1], [0, 1], "auc", bootstrap_counts(2, draws=3))


def test_interval_over_seeds_is_students():
    values = [0.1, 0.4, 0.25]
    interval = student_interval(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (interval.value, interval.low, interval.high, interval.n) == pytest.approx(
        (0.25, low, high, 3)
    )
    one_seed = student_interval([0.3])
    assert one_seed.low == -np.inf and one_seed.n == 1 and one_seed.low <= 0 <= one_seed.high


def test_an_interval_on_a_scale_is_students_there():
    ranks, entropies, uniformities = [9.0, 23.0, 60.0], [0.97, 0.99, 0.995], [-0.02, -0.1, -0.9]
    for values, bounds, there, back in (
        (ranks, (0, np.inf), np.log, np.exp),
        (ranks, (1, np.inf), lambda v: np.log(v - 1), lambda x: 1 + np.exp(x)),
        (entropies, (0, 1), special.logit, special.expit),
        (uniformities, (-np.inf, 0), lambda v: -np.log(-v), lambda x: -np.exp(-x)),
    ):
        expected = student_interval(there(np.array(values)))
        interval = student_interval(values, bounds=bounds)
        for name in ("value", "low", "high"):
            assert getattr(interval, name) == pytest.approx(back(getattr(expected, name)))
        assert bounds[0] < interval.low < interval.value < interval.high < bounds[1]
        plain = student_interval(values)
        assert plain.low < bounds[0] or plain.high > bounds[1], "which it would leave"


@pytest.mark.parametrize(
    "values, bounds",
    [([1.0, 3.0], (1, np.inf)), ([0.9, 1.0, 1.0], (0, 1)), ([-0.3, 0.0, -0.2], (-np.inf, 0))],
)
def test_a_value_on_a_bound_leaves_students_interval_cut_there(values, bounds):
    interval, plain = student_interval(values, bounds=bounds), student_interval(values)
    assert interval.value == plain.value
    assert [interval.low, interval.high] == np.clip([plain.low, plain.high], *bounds).tolist()
    assert [interval.low, interval.high] != [plain.low, plain.high]


def test_an_interval_too_wide_for_a_number_has_no_end():
    assert student_interval([1e-200, 1e200], bounds=(0, np.inf)).text() == "1.000, no interval"


def test_equal_seeds_say_nothing_of_the_spread():
    by_seed = [Interval(0.5, 0.4, 0.6, 90), Interval(0.5, 0.45, 0.55, 90)]
    assert interval_over_seeds(by_seed) == (Interval(0.5, 0.4, 0.6, 90), "samples")
    assert interval_over_seeds(by_seed[1:]) == (by_seed[1], "samples")
    assert interval_over_seeds([*by_seed, Interval(0.7, 0.6, 0.8, 90)])[1] == "seeds"
    interval, _ = interval_over_seeds([*by_seed, Interval(0.7, 0.6, 0.8, 90)])
    assert interval == student_interval([0.5, 0.5, 0.7])


@pytest.mark.parametrize("bound", [np.nan, np.inf])
def test_no_interval_is_said(bound):
    assert Interval(0.5, -bound, bound, 1).text() == "0.500, no interval"
    assert Interval(0.5, 0.4, 0.6, 1).text(1) == "0.5 [0.4, 0.6]"


@pytest.mark.parametrize("n", [2, 3, 5, 8, 30])
def test_the_detectable_effect_is_found_four_times_in_five(n):
    """10,000 experiments of n paired differences each, with the effect and without."""
    noise = 2.5 * np.random.default_rng(n).normal(size=(10_000, n))
    for effect, share in ((detectable_effect(2.5, n), 0.8), (0.0, 0.05)):
        p = stats.ttest_1samp(noise + effect, 0, axis=1).pvalue
        assert np.mean(p < 0.05) == pytest.approx(share, abs=0.015)
    widths = [half_width(sd, n) for sd in noise.std(axis=1, ddof=1)[:500]]
    assert widths[0] == pytest.approx(student_interval(noise[0]).high - noise[0].mean())
    assert np.sqrt(np.mean(np.square(widths))) == pytest.approx(half_width(2.5, n), rel=0.15)
    assert detectable_effect(2.5, n) > half_width(2.5, n), "half a width is found every other time"


def test_the_detectable_effect_against_a_printed_table():
    """Cohen (1988), two-sided 5 %, power 0.8: d = 0.5 takes 34 pairs, d = 0.8 takes 15."""
    assert detectable_effect(1.0, 34) < 0.5 < detectable_effect(1.0, 33)
    assert detectable_effect(1.0, 15) < 0.8 < detectable_effect(1.0, 14)
    assert detectable_effect(np.nan, 1) == np.inf and detectable_effect(0.0, 4) == 0


def test_seeds_needed_are_the_fewest_that_exclude_the_effect():
    for sd, effect in ((0.05, -0.13), (1.0, 0.5), (0.2, 0.2)):
        n = seeds_needed(sd, effect)
        assert half_width(sd, n) < abs(effect) / 2 <= half_width(sd, n - 1)
    assert seeds_needed(0.0, 0.1) == 2 and seeds_needed(1.0, 0.1) == np.inf


def test_sign_flips_against_all_patterns():
    values = np.array([0.4, 0.1, -0.2, 0.6, 0.3])
    sums = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=5)]
    expected = np.mean([s >= abs(values.sum()) - 1e-12 for s in sums])
    assert sign_flip_p(values) == expected
    assert sign_flip_p([0.2, 0.3, 0.1]) == 0.25, "three seeds cannot say more"
    assert sign_flip_p([0.0, 0.0]) == 1.0


@pytest.mark.parametrize("n, draws", [(10, 2000), (20, 400)])
def test_sign_flips_raise_false_alarms_at_the_nominal_rate(n, draws):
    """Under the null p <= 0.05 in about 5 % of 600 data sets."""
    draw = np.random.default_rng(n)
    p = [sign_flip_p(draw.standard_t(3, size=n), draws=draws) for _ in range(600)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08


def test_holm():
    adjusted = holm([0.01, 0.04, 0.03, 0.5])
    assert adjusted == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("bad", [[], [np.nan, 1.0]])
def test_nothing_to_say_is_an_error(bad):
    for function in (student_interval, sign_flip_p):
        with pytest.raises(ValueError, match="at least one value, all finite"):
            function(bad)
    with pytest.raises(ValueError, match="No seed"):
        interval_over_seeds([])


def test_student_p_is_the_paired_t_test():
    differences = np.random.default_rng(0).normal(0.4, 1, size=(20, 4))
    for values in differences:
        assert student_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-9)
    assert student_p([0.3]) == 1 and student_p([0, 0]) == 1 and student_p([0.25, 0.25]) == 0
    with pytest.raises(ValueError, match="finite"):
        student_p([0.1, np.nan])
