"""Each metric against a closed form, an independent formula, and its invariances."""

import itertools
import math

import numpy as np
import pytest
import torch

from predrecon import metrics


@pytest.fixture
def z():
    return np.random.default_rng(0).normal(size=(60, 12)) + 0.5


def rotation(dim):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(dim, dim)))[0]


def gram_spectrum(z):
    """Singular values the other way: eigenvalues of the centred Gram matrix."""
    centred = z - z.mean(0)
    return np.sqrt(np.clip(np.linalg.eigvalsh(centred @ centred.T), 0, None))[::-1][: min(z.shape)]


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


@pytest.mark.parametrize("power", [1, 2])
def test_spectral_metrics_against_the_gram_matrix(z, power):
    p = gram_spectrum(z) ** power
    p = p / p.sum()
    expected = pytest.approx(entropy(p) / math.log(12), abs=1e-10)
    assert metrics.spectral_entropy(z, power=power) == expected
    expected = pytest.approx(math.exp(entropy(p)), abs=1e-10)
    assert metrics.effective_rank(z, power=power) == expected


def test_stable_rank_against_matrix_norms(z):
    c = z - z.mean(0)
    expected = np.linalg.norm(c, "fro") ** 2 / np.linalg.norm(c, 2) ** 2
    assert metrics.stable_rank(z) == pytest.approx(expected, abs=1e-10)


def test_identity_between_spectral_entropy_and_effective_rank(z):
    """Eq. 11 and 12 imply ln(erank) / ln(D) = spectral entropy."""
    identity = math.log(metrics.effective_rank(z)) / math.log(12)
    assert metrics.spectral_entropy(z) == pytest.approx(identity, abs=1e-12)


def test_orthonormal_basis_is_perfectly_flat():
    z = np.eye(8)
    assert metrics.effective_rank(z, center=False) == pytest.approx(8)
    assert metrics.stable_rank(z, center=False) == pytest.approx(8)
    assert metrics.spectral_entropy(z, center=False) == pytest.approx(1)
    assert metrics.effective_rank(z) == pytest.approx(7), "centring takes one dimension"
    assert metrics.uniformity(z) == pytest.approx(-4), "all squared distances are 2"


def test_rank_one():
    z = np.outer(np.linspace(-1, 1, 9), [1.0, 2.0, 3.0])
    assert metrics.effective_rank(z) == pytest.approx(1, abs=1e-6)
    assert metrics.stable_rank(z) == pytest.approx(1)
    assert metrics.spectral_entropy(z) == pytest.approx(0, abs=1e-6)


def test_two_antipodal_points():
    z = np.array([[3.0, 4.0], [-3.0, -4.0]])
    assert metrics.uniformity(z) == pytest.approx(-8), "one pair at squared distance 4"
    assert metrics.uniformity(z, t=1) == pytest.approx(-4)
    assert metrics.alignment(z, [1, 1]) == pytest.approx(16)
    assert metrics.alignment(z, [1, 1], power=2) == pytest.approx(4)


def test_isotropic_gaussian():
    """Directions uniform on the sphere: E exp(-2 ||u-v||^2) = e^-4 0F1(D/2; 4)."""
    from scipy.special import hyp0f1

    dim, n = 16, 4000
    z = np.random.default_rng(0).normal(size=(n, dim))
    expected = -4 + math.log(hyp0f1(dim / 2, 4.0))
    assert metrics.uniformity(z) == pytest.approx(expected, abs=0.01)
    assert metrics.effective_rank(z) == pytest.approx(dim, rel=0.01)
    assert metrics.spectral_entropy(z) == pytest.approx(1, abs=0.01)
    assert metrics.alignment(z, np.zeros(n), power=2) == pytest.approx(2, abs=0.01)
    # (2 - 2c)^2 with E c = 0, E c^2 = 1/D
    assert metrics.alignment(z, np.zeros(n)) == pytest.approx(4 + 4 / dim, abs=0.02)


def test_alignment_and_uniformity_against_a_loop_over_pairs(z):
    labels = np.arange(len(z)) % 5
    unit = [row / math.sqrt(sum(row**2)) for row in z]
    pairs = list(itertools.combinations(range(len(z)), 2))
    squared = {p: sum((unit[p[0]] - unit[p[1]]) ** 2) for p in pairs}
    same = [squared[p] for p in pairs if labels[p[0]] == labels[p[1]]]
    assert metrics.alignment(z, labels) == pytest.approx(np.mean(np.square(same)), rel=1e-12)
    assert metrics.alignment(z, labels, power=2) == pytest.approx(np.mean(same), rel=1e-12)
    potential = np.mean([math.exp(-2 * s) for s in squared.values()])
    assert metrics.uniformity(z) == pytest.approx(math.log(potential), rel=1e-12)


def test_alignment_averaged_over_classes_gives_every_class_the_same_weight(z):
    """As the paper's tables: 40, 17 and 2 rows count a third each, one row alone not at all."""
    labels = np.repeat([0, 1, 2, 3], [40, 17, 2, 1])
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    means = []
    for label in (0, 1, 2):
        pairs = itertools.combinations(unit[labels == label], 2)
        means.append(np.mean([((u - v) ** 2).sum() ** 2 for u, v in pairs]))
    by_class = metrics.alignment(z, labels, average="classes")
    assert by_class == pytest.approx(np.mean(means), rel=1e-12)
    assert metrics.alignment(z, labels) != pytest.approx(by_class, rel=1e-3)
    balanced = np.arange(60) % 4
    assert metrics.alignment(z, balanced, average="classes") == pytest.approx(
        metrics.alignment(z, balanced), rel=1e-12
    )
    with pytest.raises(ValueError, match="average='texts': expected one of pairs, classes"):
        metrics.alignment(z, labels, average="texts")


def test_weights_are_one_count_a_row(z):
    with pytest.raises(ValueError, match=r"weights have shape \(60,\), expected \[draws, 60\]"):
        metrics.uniformity(z, weights=np.ones(60))
    with pytest.raises(ValueError, match=r"weights have shape \(2, 59\), expected \[draws, 60\]"):
        metrics.effective_rank(z, weights=np.ones((2, 59)))
    assert metrics.uniformity(z, weights=np.ones((3, 60))).shape == (3,)


def test_pairs_within_groups(z):
    groups = np.arange(len(z)) % 4
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    pairs = itertools.combinations(range(len(z)), 2)
    same = [np.exp(-2 * ((unit[i] - unit[j]) ** 2).sum()) for i, j in pairs if (i - j) % 4 == 0]
    expected = math.log(np.mean(same))
    assert metrics.uniformity(z, groups=groups) == pytest.approx(expected, rel=1e-12)
    assert metrics.uniformity(z, groups=np.zeros(len(z))) == pytest.approx(metrics.uniformity(z))


def test_explained_share_is_eta_squared():
    groups = np.repeat([0, 1, 2], 50)
    rng = np.random.default_rng(0)
    apart = np.eye(8)[groups]
    assert metrics.explained_share(apart, groups) == pytest.approx(1)
    noise = rng.normal(size=(150, 8))
    assert metrics.explained_share(noise, groups) == pytest.approx(2 / 149, abs=0.02)
    mixed = apart + 0.3 * noise
    unit = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    means = np.array([unit[groups == g].mean(0) for g in groups])
    between = ((means - unit.mean(0)) ** 2).sum() / ((unit - unit.mean(0)) ** 2).sum()
    assert metrics.explained_share(mixed, groups) == pytest.approx(between, abs=1e-10)


def test_chunks_do_not_change_the_pairs():
    z = np.random.default_rng(3).normal(size=(1100, 5))  # three chunks
    unit = torch.nn.functional.normalize(torch.tensor(z), dim=1)
    expected = torch.pdist(unit).square().mul(-2).exp().mean().log().item()
    assert metrics.uniformity(z) == pytest.approx(expected, rel=1e-12)


def test_invariances(z):
    labels = np.arange(len(z)) % 3
    shuffled = np.random.default_rng(2).permutation(len(z))
    spectral = (metrics.spectral_entropy, metrics.effective_rank, metrics.stable_rank)
    for metric in (*spectral, metrics.uniformity):
        value = metric(z)
        assert metric(z @ rotation(12)) == pytest.approx(value), "rotation"
        assert metric(3.7 * z) == pytest.approx(value), "scale"
        assert metric(z[shuffled]) == pytest.approx(value), "order"
    for metric in spectral:
        assert metric(z + 5.0) == pytest.approx(metric(z)), "shift: embeddings are centred"
    lengths = np.random.default_rng(4).uniform(0.1, 9, (len(z), 1))
    assert metrics.uniformity(z * lengths) == pytest.approx(metrics.uniformity(z))
    value = metrics.alignment(z, labels)
    assert metrics.alignment(z[shuffled], labels[shuffled]) == pytest.approx(value)


def test_numpy_and_torch_agree_and_float32_is_widened(z):
    single = z.astype(np.float32)
    tensor = torch.tensor(single, requires_grad=True)
    assert metrics.uniformity(single) == metrics.uniformity(tensor)
    assert metrics.effective_rank(single) == pytest.approx(metrics.effective_rank(z), rel=1e-5)


def test_nearly_collapsed_embeddings_keep_their_digits():
    z = np.ones((50, 8)) + 1e-6 * np.random.default_rng(0).normal(size=(50, 8))
    unit = torch.nn.functional.normalize(torch.tensor(z), dim=1)
    spread = torch.pdist(unit).square().mean().item()
    assert metrics.uniformity(z) == pytest.approx(-2 * spread, rel=1e-3)


def test_normalisations_by_name(z):
    tall, wide = z, z[:8]
    assert metrics.spectral_entropy(tall, normalize="rank") == metrics.spectral_entropy(tall)
    in_nats = metrics.spectral_entropy(wide, normalize="none")
    assert metrics.spectral_entropy(wide, normalize="rank") == pytest.approx(in_nats / math.log(7))
    assert metrics.spectral_entropy(np.eye(10), normalize="rank") == pytest.approx(1)
    by_min = metrics.spectral_entropy(wide, power=2, normalize="min")
    p = gram_spectrum(wide) ** 2
    assert by_min == pytest.approx(entropy(p / p.sum()) / math.log(8), abs=1e-10)
    assert metrics.spectral_entropy(tall, normalize="min") == metrics.spectral_entropy(tall)
    with pytest.raises(ValueError, match="normalize='bits'"):
        metrics.spectral_entropy(z, normalize="bits")


def test_probe_gap_is_the_difference_of_two_probes():
    rng = np.random.default_rng(0)
    labels, tokens = rng.integers(0, 2, 300), rng.integers(0, 3, 300)
    lexical = np.eye(3)[tokens] + 0.01 * rng.normal(size=(300, 3))
    semantic = np.eye(2)[labels] + 0.01 * rng.normal(size=(300, 2))
    assert metrics.probe_gap(semantic, labels, tokens) > 0.4
    assert metrics.probe_gap(lexical, labels, tokens) < -0.3


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (np.ones((1, 4)), "N at least 2"),
        (np.ones(4), r"expected \[N, D\]"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "Embedding 0 holds NaN"),
        (np.array([[1.0, 2.0], [np.inf, 1.0]]), "Embedding 1 holds NaN or infinity"),
    ],
)
def test_bad_matrices_are_named(bad, named):
    for metric in (metrics.uniformity, metrics.effective_rank, metrics.stable_rank):
        with pytest.raises(ValueError, match=named):
            metric(bad)


def test_degenerate_embeddings_are_named():
    with pytest.raises(ValueError, match="All embeddings are equal"):
        metrics.effective_rank(np.ones((5, 3)))
    with pytest.raises(ValueError, match="All embeddings are equal"):
        metrics.effective_rank(np.full((10, 3), 0.1))  # centring leaves rounding noise
    with pytest.raises(ValueError, match="one direction at most"):
        metrics.spectral_entropy(np.arange(6.0)[:, None])
    with pytest.raises(ValueError, match="Embedding 1 is zero"):
        metrics.uniformity(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="No class has two samples"):
        metrics.alignment(np.eye(3), [0, 1, 2])
    with pytest.raises(ValueError, match="labels have shape"):
        metrics.alignment(np.eye(3), [0, 1])
    for missing in ([0, 0, np.nan], [0, 0, None], ["a", "a", np.nan]):
        with pytest.raises(ValueError, match="Label 2 is missing"):
            metrics.alignment(np.eye(3), np.array(missing, dtype=object))


@pytest.mark.parametrize("value", [0.1, 1.0, 7 / 3])
def test_equal_embeddings_give_no_rounding_noise(value):
    same, labels = np.full((20, 6), value), np.arange(20) % 2
    for metric in (metrics.class_distances, metrics.explained_share):
        for z in (same, same * np.linspace(1, 9, 20)[:, None]):  # one direction, any length
            with pytest.raises(ValueError, match="All embeddings point the same way"):
                metric(z, labels)
    assert metrics.rankme(same) == pytest.approx(1 + 5 * 1.6e-6, abs=1e-6), "the authors' 1e-7"
    assert metrics.uniformity(same) == pytest.approx(0, abs=1e-14)
    assert metrics.alignment(same, labels) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e306])
def test_no_scale_is_too_large_or_too_small(z, scale):
    labels = np.arange(60) % 3
    for metric in (metrics.spectral_entropy, metrics.effective_rank, metrics.stable_rank,
                   metrics.rank_90, metrics.rankme, metrics.uniformity):  # fmt: skip
        assert metric(scale * z) == pytest.approx(metric(z), abs=1e-10)
    for metric in (metrics.alignment, metrics.explained_share):
        assert metric(scale * z, labels) == pytest.approx(metric(z, labels), abs=1e-10)
    assert metrics.singular_values(scale * z) == pytest.approx(scale * metrics.singular_values(z))


def test_rank_90_counts_components(z):
    shares = gram_spectrum(z) ** 2 / (gram_spectrum(z) ** 2).sum()
    reached, components = 0.0, 0
    for share in shares:
        reached, components = reached + share, components + 1
        if reached >= 0.9:
            break
    assert metrics.rank_90(z) == components
    assert metrics.rank_90(np.outer(np.arange(9.0), np.ones(4))) == 1


def test_rankme_is_not_centred(z):
    sigma = np.sqrt(np.linalg.eigvalsh(z.T @ z))
    p = sigma / sigma.sum() + 1e-7
    assert metrics.rankme(z) == pytest.approx(math.exp(-(p * np.log(p)).sum()), abs=1e-10)
    assert metrics.rankme(z + 5) != pytest.approx(metrics.rankme(z), rel=0.01)


def test_class_distances_pair_by_pair(z):
    labels = np.arange(60) % 4
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    distances = {True: [], False: []}
    for i, j in itertools.combinations(range(60), 2):
        distances[bool(labels[i] == labels[j])].append(np.linalg.norm(u[i] - u[j]))
    distances_by_name = metrics.class_distances(z, labels)
    intra, inter = np.mean(distances[True]), np.mean(distances[False])
    assert list(distances_by_name.values()) == pytest.approx(
        [intra, inter, intra / inter], abs=1e-10
    )
    assert metrics.alignment(z, labels, power=1) == pytest.approx(intra, abs=1e-10)


def test_class_distances_need_two_classes(z):
    with pytest.raises(ValueError, match="One class only"):
        metrics.class_distances(z, np.zeros(60))


def test_alignment_and_uniformity_as_wang_and_isola_write_them(z):
    x, y = (torch.nn.functional.normalize(torch.tensor(part), dim=1) for part in (z[:30], z[30:]))
    aligned = (x - y).norm(dim=1).pow(2).mean()
    assert metrics.pair_alignment(z[:30], z[30:]) == pytest.approx(float(aligned), abs=1e-10)
    spread = torch.pdist(x).pow(2).mul(-2).exp().mean().log()
    assert metrics.uniformity(z[:30]) == pytest.approx(float(spread), abs=1e-10)
    with pytest.raises(ValueError, match="both sides need the same shape"):
        metrics.pair_alignment(z[:30], z[30:50])
