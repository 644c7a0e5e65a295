"""Metrics as others define them, against their formulas written out."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes, sqrtm

from predrecon import metrics
from predrecon.audit.statistics import bootstrap_counts
from predrecon.metrics import linear_cka, procrustes_distance


def powerlaw(n=400, dim=120, alpha=1.0, seed=0):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n, dim)))[0]
    basis = np.linalg.qr(basis - basis.mean(axis=0))[0]  # centred
    return basis * np.arange(1, dim + 1) ** (-alpha / 2)


def test_iso_score_against_the_paper_steps():
    for z in (powerlaw(), np.random.default_rng(0).normal(size=(20, 30)) + 5):
        d = z.shape[1]
        eigenvalues = np.linalg.eigvalsh(np.cov(z.T))
        unit = np.sqrt(d) * eigenvalues / np.linalg.norm(eigenvalues)
        defect = np.linalg.norm(unit - 1) / np.sqrt(2 * (d - np.sqrt(d)))
        phi = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
        assert metrics.iso_score(z) == pytest.approx((d * phi - 1) / (d - 1))


def test_iso_score_of_one_direction_and_of_all():
    assert metrics.iso_score(np.outer(np.arange(9.0), [1, 2, 3])) == pytest.approx(0)
    assert metrics.iso_score(np.concatenate([np.eye(5), -np.eye(5)])) == pytest.approx(1)
    with pytest.raises(ValueError, match="1 dimension: IsoScore"):
        metrics.iso_score(np.ones((3, 1)))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_of_a_power_law(alpha):
    assert metrics.alpha_req(powerlaw(alpha=alpha)) == pytest.approx(alpha)


def test_alpha_against_a_weighted_fit():
    z = np.random.default_rng(0).normal(size=(300, 60))
    values, i = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)[4:50] ** 2, np.arange(5, 51)
    slope = np.polyfit(np.log(i), np.log(values), 1, w=np.sqrt(1 / i))[0]
    assert metrics.alpha_req(z, ranks=(5, 50)) == pytest.approx(-slope)


def test_alpha_refuses_ranks_that_are_not_there():
    with pytest.raises(ValueError, match=r"ranks=\(11, 100\): expected .* from 1 to 49"):
        metrics.alpha_req(powerlaw(50, 49))
    z = powerlaw(300, 60) @ np.eye(60, 120)
    with pytest.raises(ValueError, match="variance of component 100 is rounding noise"):
        metrics.alpha_req(z)


def views_of(n=60, q=3, dim=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 1, dim)) * np.arange(1, dim + 1) + rng.normal(size=(n, q, dim))


def test_lidar_against_the_matrix_written_out():
    views, delta = views_of(), 1e-3
    means = views.mean(axis=1)
    between = np.mean([np.outer(m, m) for m in means - means.mean(axis=0)], axis=0)
    within = np.mean([np.outer(v, v) for v in (views - means[:, None]).reshape(-1, 8)], axis=0)
    root = np.linalg.inv(sqrtm(within + delta * np.eye(8)).real)
    p = np.linalg.eigvalsh(root @ between @ root)
    p = p / p.sum() + 1e-7
    assert metrics.lidar(views, delta=delta) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


@pytest.mark.parametrize(
    ("views", "options", "message"),
    [
        (np.ones((5, 3)), {}, "expected .N, Q, D. with Q at least 2"),
        (np.ones((5, 1, 3)), {}, "take a task with true pairs"),
        (np.ones((5, 2, 3)), {}, "All texts have the same mean"),
        (np.full((5, 2, 3), np.nan), {}, "Embedding 0 holds NaN"),
        (views_of(), dict(delta=0), "delta=0: expected above 0"),
    ],
)
def test_lidar_without_views_is_refused(views, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.lidar(views, **options)


def two(n=80, wide=6, narrow=4, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, wide)) + 3
    return a, a @ rng.normal(size=(wide, narrow)) + rng.normal(size=(n, narrow))


def test_cka_against_centred_gram_matrices():
    a, b = two()
    centre = np.eye(80) - 1 / 80
    x, y = (centre @ z @ z.T @ centre for z in (a, b))
    expected = (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())
    assert linear_cka(a, b) == pytest.approx(expected)


def test_unbiased_cka_of_unrelated_embeddings_is_near_zero():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 100, 80))
    assert linear_cka(a, b) > 0.3 and abs(linear_cka(a, b, unbiased=True)) < 0.05
    assert linear_cka(a, 3 * a + 1, unbiased=True) == pytest.approx(1)


def test_procrustes_distance_is_what_the_best_rotation_leaves():
    a, b = two()
    wide = np.pad(b, ((0, 0), (0, 2)))
    x, y = (z - z.mean(axis=0) for z in (a, wide))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    rotation = orthogonal_procrustes(y, x)[0]
    assert procrustes_distance(a, b) == pytest.approx(np.linalg.norm(x - y @ rotation) ** 2)


@pytest.mark.parametrize("measure", [linear_cka, procrustes_distance])
def test_shift_scale_and_rotation_do_not_count(measure):
    a, b = two()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert measure(1e-9 * a @ rotation + 7e-9, b) == pytest.approx(measure(a, b), abs=1e-6)
    same = 1 if measure is linear_cka else 0
    assert measure(a @ rotation + 2, a) == pytest.approx(same, abs=1e-9)


@pytest.mark.parametrize(
    "measure",
    [
        lambda z, w: metrics.iso_score(z, weights=w),
        lambda z, w: metrics.alpha_req(z, ranks=(1, 4), weights=w),
        lambda z, w: metrics.lidar(np.stack([z, np.sqrt(np.abs(z))], axis=1), weights=w),
        lambda z, w: linear_cka(z, np.tanh(z), weights=w),
        lambda z, w: procrustes_distance(z, np.tanh(z), weights=w),
    ],
)
def test_weights_are_repeated_rows(measure):
    z = np.random.default_rng(0).normal(size=(30, 5))
    counts = bootstrap_counts(30, 3)
    expected = [measure(np.repeat(z, w, axis=0), None) for w in counts]
    assert measure(z, counts) == pytest.approx(expected)


def test_bad_pairs_are_named():
    a, b = two()
    with pytest.raises(ValueError, match="80 and 79 embeddings"):
        linear_cka(a, b[1:])
    with pytest.raises(ValueError, match="All embeddings of b are equal"):
        procrustes_distance(a, np.ones((80, 3)))
    with pytest.raises(ValueError, match="repeated rows are not independent"):
        linear_cka(a, b, unbiased=True, weights=np.ones((2, 80)))
    with pytest.raises(ValueError, match="3 rows: the unbiased estimate needs 4"):
        linear_cka(a[:3], b[:3], unbiased=True)
