"""The geometry of sentence embeddings (paper, Appendix D, Eq. 11-16), each choice spelled out.

Besides the paper's six there are metrics from other work; each names its source. Every metric takes
embeddings `z [N, D]`, NumPy or torch, computes in float64 and returns a float. Defaults are the
paper's equations; other conventions, of its tables or of the literature, are arguments.
`center=True` subtracts the column means first, as the paper's Appendix D does and Roy & Vetterli
(2007) do not. Pair distances are between l2-normalised `u` and `v`.

All metrics raise ValueError for NaN, infinity, or anything but a matrix of at least two rows;
spectra also if all embeddings are equal, distances if one is zero and so has no direction.

`weights [draws, N]` count how often each bootstrap sample holds each row. A metric then returns
`[draws]`, one value per bootstrap sample, without repeating rows: means over pairs are quadratic
forms in the weights, spectra are those of a weighted covariance. A row and its own copy are not a
pair. A sample without a value (no pair within a class, only one distinct row) gives NaN. For true
pairs, a row is a pair: `[draws, P]`.
"""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from predrecon.probes import semantic_probe, token_probe

AVERAGES = ("pairs", "classes")
_NOISE = 8 * np.finfo(np.float64).eps  # rounding error relative to a vector's length
_last_spectra: tuple = (None, None)  # key and value: many metrics of one matrix, one decomposition


def singular_values(z, *, center: bool = True) -> np.ndarray:
    """Singular values `[min(N, D)]` of the (centred) embedding matrix, largest first."""
    z, exponent = _scaled(_matrix(z))
    return np.ldexp(_spectra(z, center, None)[0], exponent)


def spectral_entropy(
    z, *, center: bool = True, power: int = 1, normalize: str = "dim", weights=None
) -> float | np.ndarray:
    """H(p) / log D with p = sigma^power / sum(sigma^power) (Eq. 11), in [0, 1]; higher is richer.

    By Eq. 11 and 12 it is ln(effective rank) / ln(D). The paper's *tables* use another convention,
    `power=2, normalize="min"`. The published spectra and stable ranks confine each of the 40 values
    to a narrow interval: all 40 lie inside with that convention, 33 with log D instead (MRPC has
    408 samples, fewer than 512 dimensions), one or two with power 1.

    Args:
        power: 1 as in Eq. 11; 2 weights by explained variance, as in the paper's tables.
        normalize: `"dim"` divides by log D (Eq. 11), `"min"` by log min(N, D), the number of
            singular values, as in the paper's tables, `"rank"` by the log of the largest rank that
            N samples can have (min(N - 1, D) when centred), `"none"` leaves nats.
    """
    n, dim = _matrix(z).shape
    largest = {"dim": dim, "min": min(n, dim), "rank": min(n - center, dim), "none": math.e}
    if normalize not in largest:
        raise ValueError(f"normalize={normalize!r}: expected one of {', '.join(largest)}.")
    if largest[normalize] < 2:
        raise ValueError(f"Embeddings of shape {(n, dim)}: one direction at most, no entropy.")
    return _entropy(z, center, power, weights) / math.log(largest[normalize])


def effective_rank(z, *, center: bool = True, power: int = 1, weights=None) -> float | np.ndarray:
    """exp H(sigma / sum(sigma)) (Eq. 12; Roy & Vetterli 2007), from 1 to min(N, D).

    `power` is 1 in Eq. 12, in the paper's tables and in the literature; 2 weights by variance.
    """
    entropy = _entropy(z, center, power, weights)
    return math.exp(entropy) if weights is None else np.exp(entropy)


def stable_rank(z, *, center: bool = True, weights=None) -> float | np.ndarray:
    """sum(sigma^2) / sigma_1^2 (Eq. 13; Vershynin 2018), from 1 to min(N, D)."""
    sigma = _spectra(z, center, weights)
    return _value((sigma**2).sum(axis=1) / sigma[:, 0] ** 2, weights)


def rank_90(z, *, weights=None) -> int | np.ndarray:
    """Components that together hold 90 % of the variance (paper's code), 1 to min(N - 1, D)."""
    variance = _spectra(z, True, weights) ** 2
    cumulative = variance.cumsum(axis=1) / variance.sum(axis=1, keepdims=True)
    components = np.where(np.isnan(cumulative[:, 0]), np.nan, (cumulative < 0.9).sum(axis=1) + 1)
    return int(components[0]) if weights is None else components


def rankme(z, *, weights=None) -> float | np.ndarray:
    """exp H(sigma / sum(sigma)) of the *uncentred* embeddings (RankMe, Garrido et al. 2023).

    Effective rank as Roy & Vetterli define it, with the authors' 1e-7 added to every share. So the
    value is slightly above the rank: equal embeddings, one direction, give 1 plus about 1.6e-6
    min(N, D).
    """
    sigma = _spectra(z, False, weights)
    p = sigma / sigma.sum(axis=1, keepdims=True) + 1e-7
    return _value(np.exp(-(p * np.log(p)).sum(axis=1)), weights)


def iso_score(z, *, weights=None) -> float | np.ndarray:
    """IsoScore (Rudman et al. 2022): 0 is one direction, 1 the same variance in all D directions.

    With the eigenvalues lambda `[D]` of the covariance (zeros for N <= D), lambda' = sqrt(D) lambda
    / ||lambda|| and the defect delta = ||lambda' - 1|| / sqrt(2 (D - sqrt D)), the score is
    (D phi - 1) / (D - 1) for phi = (D - delta^2 (D - sqrt D))^2 / D^2. That is (PR - 1) / (D - 1)
    for the participation ratio PR = (sum lambda)^2 / sum(lambda^2), which is computed here.
    Always centred.

    Raises:
        ValueError: only one dimension; as for all spectra.
    """
    dim = _matrix(z).shape[1]
    if dim < 2:
        raise ValueError(f"Embeddings of {dim} dimension: IsoScore compares two or more.")
    variance = _spectra(z, True, weights) ** 2
    ratio = variance.sum(axis=1) ** 2 / (variance**2).sum(axis=1)
    return _value((ratio - 1) / (dim - 1), weights)


def alpha_req(
    z, *, ranks: tuple[int, int] = (11, 100), center: bool = True, weights=None
) -> float | np.ndarray:
    """alpha-ReQ: the decay of the spectrum, lambda_i ~ i^-alpha (Agrawal et al. 2022).

    The slope of log lambda_i over -log i for eigenvalues lambda of the covariance, least squares
    weighted by 1 / i (Stringer et al. 2019, whose fit the authors use). They find values near 1 in
    good representations; higher is poorer, lower is rougher.

    Args:
        ranks: first and last i of the fit, from 1; the authors skip the first ten.

    Raises:
        ValueError: ranks that the spectrum lacks, or whose variance is rounding noise. Bootstrap
            samples with too few distinct rows give NaN.
    """
    n, dim = _matrix(z).shape
    (first, last), most = ranks, min(n - center, dim)
    if not 1 <= first < last <= most:
        raise ValueError(
            f"ranks={ranks}: expected first and last of the fit, from 1 to {most} for embeddings "
            f"of shape {(n, dim)}. Take more texts, or other ranks for every encoder compared."
        )
    sigma = _spectra(z, center, weights)
    noise = sigma[:, last - 1] <= 1e-7 * sigma[:, 0]  # what float32 leaves
    if weights is None and noise[0]:
        raise ValueError(f"ranks={ranks}: the variance of component {last} is rounding noise.")
    x, w = -np.log(np.arange(first, last + 1)), 1 / np.arange(first, last + 1)
    x = x - w @ x / w.sum()
    y = 2 * np.log(np.where(noise[:, None], 1, sigma[:, first - 1 : last]))  # (draws, ranks)
    return _value(np.where(noise, np.nan, y @ (w * x) / (w @ x**2)), weights)


def lidar(views, *, delta: float = 1e-4, weights=None) -> float | np.ndarray:
    """LiDAR (Thilak et al. 2024): the rank of differences between texts, relative to their views.

    exp H(p) for p = lambda / sum(lambda) + 1e-7 and the eigenvalues lambda `[D]` of
    S_w^-1/2 S_b S_w^-1/2: S_b is the covariance of the texts' means over views, S_w that of views
    around their text's mean plus `delta` I, both divided by their counts.

    The authors take 1,000 samples of 50 views. With two views, S_w has rank N at most: if N < D,
    `delta` decides the other directions, and the value means little.

    Args:
        views: `[N, Q, D]`, Q >= 2 views of each of N texts, such as both sentences of a true pair.
        delta: in the units of the embeddings squared; the value depends on it (reptrix: 1e-6).
        weights: `[draws, N]`, as everywhere; a text counts with all of its views.

    Raises:
        ValueError: no second view; texts whose means all agree; NaN.
    """
    views = views.detach().cpu().numpy() if hasattr(views, "detach") else views
    views = np.asarray(views, dtype=np.float64)
    if views.ndim != 3 or views.shape[1] < 2:
        raise ValueError(
            f"Views of shape {views.shape}: expected [N, Q, D] with Q at least 2. Without two "
            "views of a text there is no LiDAR: take a task with true pairs."
        )
    if not delta > 0:
        raise ValueError(f"delta={delta}: expected above 0, so that S_w can be inverted.")
    n, q, dim = views.shape
    _matrix(views.reshape(n * q, dim))
    means = _matrix(views.mean(axis=1))  # (N, D)
    offsets = (views - means[:, None]).reshape(n, q, dim)
    eigenvalues = [_lidar_spectrum(means, offsets, delta, w / w.sum()) for w in _counts(weights, n)]
    p = np.stack(eigenvalues)  # (draws, D)
    total = p.sum(axis=1, keepdims=True)
    if weights is None and total[0, 0] == 0:
        raise ValueError("All texts have the same mean: nothing tells them apart.")
    p = _ratio(p, total) + 1e-7
    return _value(np.exp(-(p * np.log(p)).sum(axis=1)), weights)


def _lidar_spectrum(means, offsets, delta: float, w: np.ndarray) -> np.ndarray:
    """Eigenvalues `[D]` of S_w^-1 S_b, for `w [N]` that sum to 1."""
    from scipy.linalg import eigh

    q, dim = offsets.shape[1:]
    centred = (means - w @ means) * np.sqrt(w)[:, None]
    rows = (offsets * np.sqrt(w / q)[:, None, None]).reshape(-1, dim)
    within = rows.T @ rows + delta * np.eye(dim)
    return np.clip(eigh(centred.T @ centred, within, eigvals_only=True), 0, None)


def alignment(
    z, labels, *, power: float = 4, average: str = "pairs", weights=None
) -> float | np.ndarray:
    """E ||u - v||^power over pairs of one class (Eq. 14); lower is tighter.

    The paper calls Eq. 14 Wang & Isola's with alpha = 2, but prints E [||u - v||^2]^alpha, and its
    code takes the square inside: a fourth power. Its tables also average over classes first, so
    that every class weighs the same, whereas by Eq. 14 a class weighs as many pairs as it has.

    Args:
        labels: `[N]` class of each row; none may be missing, and one class needs two rows.
        power: 4 is Eq. 14 and the paper's tables, E (||u - v||^2)^2; 2 is Wang & Isola (2020); 1
            is the mean distance.
        average: over all `"pairs"` of one class (Eq. 14), or the mean over `"classes"` of each
            class's own mean (the paper's tables); a class without a pair is left out.
    """
    if average not in AVERAGES:
        raise ValueError(f"average={average!r}: expected one of {', '.join(AVERAGES)}.")
    sums, pairs = _within(_unit(z), labels, lambda squared: squared ** (power / 2), weights)
    if average == "classes":
        sums, pairs = np.where(pairs > 0, _ratio(sums, pairs), 0), pairs > 0
    return _value(_ratio(sums.sum(axis=1), pairs.sum(axis=1)), weights)


def uniformity(z, *, t: float = 2.0, groups=None, weights=None) -> float | np.ndarray:
    """log E exp(-t ||u - v||^2) over pairs (Eq. 15; Wang & Isola 2020); lower is more uniform.

    All N (N - 1) / 2 pairs of different rows are used: no random subsample, and no row paired with
    itself, which the draws of Eq. 15 allow. 0 means that all directions coincide; for t = 2 a
    uniform sphere in many dimensions gives about -4.

    Args:
        t: temperature.
        groups: `[N]`; if given, only pairs within a group count. Token counts as groups remove the
            effect of text length (notebook 05b).
    """
    u = _unit(z)
    groups = np.zeros(len(u)) if groups is None else groups
    sums, pairs = _within(u, groups, lambda squared: np.exp(-t * squared), weights)
    return _value(np.log(_ratio(sums.sum(axis=1), pairs.sum(axis=1))), weights)


def probe_gap(z, labels, tokens, *, kind: str = "classification", seed: int = 0) -> float:
    """Semantic probe accuracy minus token probe accuracy (Eq. 16); higher is less lexical.

    For STS-B the paper's tables subtract an accuracy from Spearman's rho; for CoLA they print MCC
    next to a gap that is computed from the accuracy.

    Args:
        labels: `[N]` task labels.
        tokens: `[N]` most frequent token of each text (`probes.frequent_tokens`).
        kind: `"classification"` (accuracy, CoLA too) or `"regression"` (rho), as published.
        seed: shuffles the folds.
    """
    z = _matrix(z)
    semantic = semantic_probe(z, labels, kind=kind, seed=seed).score
    return semantic - token_probe(z, tokens, seed=seed).score


def class_distances(z, labels, *, weights=None) -> dict[str, float | np.ndarray]:
    """Mean distance ||u - v|| within classes `labels [N]` and between them, and their ratio.

    `intra_class_distance`, `inter_class_distance`, `intra_inter_ratio`, as in the paper's public
    code: a lower ratio separates better, 1 not at all. Refuses one class, or equal directions.
    """
    u = _unit(z)
    _spread(u)
    sums, pairs = (part.sum(axis=1) for part in _within(u, labels, np.sqrt, weights))
    if len(np.unique(labels)) < 2:
        raise ValueError("One class only: there is no distance between classes.")
    total, every = (part[:, 0] for part in _within(u, np.zeros(len(u)), np.sqrt, weights))
    intra, inter = _ratio(sums, pairs), _ratio(total - sums, every - pairs)
    return {
        "intra_class_distance": _value(intra, weights),
        "inter_class_distance": _value(inter, weights),
        "intra_inter_ratio": _value(_ratio(intra, inter), weights),
    }


def pair_alignment(first, second, *, power: float = 2, weights=None) -> float | np.ndarray:
    """E ||u - v||^power over true positive pairs (Wang & Isola 2020), `first, second [P, D]`.

    Alignment where the pairs are known: paraphrases (MRPC), similar sentences (STS-B from 4 on).
    The paper instead pairs any two samples of one class. Refuses different shapes.
    """
    u, v = _unit(first), _unit(second)
    if u.shape != v.shape:
        raise ValueError(f"{u.shape} against {v.shape}: both sides need the same shape.")
    counts = _counts(weights, len(u))
    distances = ((u - v) ** 2).sum(axis=1) ** (power / 2)
    return _value(counts @ distances / counts.sum(axis=1), weights)


def cosines(first, second) -> np.ndarray:
    """Cosine similarities `[P]` of `first, second [P, D]`, row by row; refuses zero rows."""
    u, v = _unit(first), _unit(second)
    if u.shape != v.shape:
        raise ValueError(f"{u.shape} against {v.shape}: both sides need the same shape.")
    return (u * v).sum(axis=1)


def retrieval(queries, candidates, truth) -> dict[str, np.ndarray]:
    """How each query's own candidate ranks among all by cosine: one value per query, `[Q]`.

    `recall@1` and `recall@10` (the own candidate is among the first 1 or 10) and `mrr` (1 / rank;
    the mean over queries is the mean reciprocal rank). Cosines within 1e-6 of each other are ties,
    whose orders all count equally: equal embeddings score at chance, and a sentence that occurs
    twice is found half of the time.

    Args:
        queries: `[Q, D]`. candidates: `[N, D]`. truth: `[Q]`, the row of each query's candidate.

    Raises:
        ValueError: as for all metrics; a zero row; different widths; `truth` out of range.
    """
    u, v, truth = _unit(queries), _unit(candidates), np.asarray(truth)
    if u.shape[1] != v.shape[1] or truth.shape != (len(u),):
        raise ValueError(
            f"queries {u.shape}, candidates {v.shape}, truth {truth.shape}: expected [Q, D], "
            "[N, D] and [Q]."
        )
    if not np.isin(truth, np.arange(len(v))).all():
        raise ValueError(f"truth holds rows outside 0 to {len(v) - 1}.")
    before, tied = np.empty(len(u)), np.empty(len(u))
    for start in range(0, len(u), 512):
        rows = slice(start, start + 512)
        margin = u[rows] @ v.T  # (block, N)
        margin -= np.take_along_axis(margin, truth[rows, None], axis=1)
        before[rows] = (margin > 1e-6).sum(axis=1)
        tied[rows] = (np.abs(margin) <= 1e-6).sum(axis=1)  # its own is one of them
    values = {f"recall@{k}": np.clip((k - before) / tied, 0, 1) for k in (1, 10)}
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, len(v) + 1))])
    last = (before + tied).astype(int)
    return values | {"mrr": (harmonic[last] - harmonic[before.astype(int)]) / tied}


def explained_share(z, groups) -> float:
    """Share of the directions' variance that lies between `groups [N]` (eta squared), in [0, 1].

    Unrelated groups give (G - 1) / (N - 1) on average, for G groups. ValueError for equal
    directions, which have no variance.
    """
    u, groups = _unit(z), _checked_labels(groups, len(z))
    parts = (u[groups == group] for group in np.unique(groups))
    within = sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts)
    return 1 - float(within / _spread(u))


def linear_cka(a, b, *, unbiased: bool = False, weights=None) -> float | np.ndarray:
    """||B' A||^2 / (||A' A|| ||B' B||), Frobenius norms (Kornblith et al. 2019); 1: the same.

    For two encoders' embeddings `a [N, D1]` and `b [N, D2]` of the same texts, columns centred.
    This estimate is too high unless N is much larger than D: unrelated embeddings give about D / N,
    not 0.

    Args:
        unbiased: estimate each of the three terms without bias from the Gram matrices without
            their diagonals (HSIC_1 of Song et al. 2012, as Nguyen et al. 2021 do): near 0 for
            unrelated embeddings, and below it by chance. Needs 4 rows; not with `weights`, whose
            repeated rows it would take for agreement.
    """
    if unbiased:
        if weights is not None:
            raise ValueError("unbiased=True with weights: repeated rows are not independent.")
        grams = [rows @ rows.T for rows in _same_texts(a, b)]
        if len(grams[0]) < 4:
            raise ValueError(f"{len(grams[0])} rows: the unbiased estimate needs 4.")
        x, y = map(_u_centred, grams)
        return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))

    def cka(x, y):
        cross, own, other = (np.linalg.norm(p.T @ q) for p, q in ((y, x), (x, x), (y, y)))
        return cross**2 / (own * other)

    return _of_both(a, b, cka, weights)


def procrustes_distance(a, b, *, weights=None) -> float | np.ndarray:
    """2 - 2 ||A' B||_*, the nuclear norm (Ding et al. 2021), for ||A|| = ||B|| = 1; 0 to 2.

    For two encoders' embeddings `a [N, D1]` and `b [N, D2]` of the same texts, columns centred.
    This is the minimum of ||A - B R||^2 over orthogonal R: 0 means the same space up to shift,
    scale and rotation. If widths differ, the narrower space is padded with zeros.
    """

    def distance(x, y):
        x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
        return max(0.0, 2 - 2 * np.linalg.norm(x.T @ y, "nuc"))

    return _of_both(a, b, distance, weights)


def _entropy(z, center: bool, power: float, weights) -> float | np.ndarray:
    """In nats."""
    from scipy.special import entr

    sigma = _spectra(z, center, weights)
    p = (sigma / sigma[:, :1]) ** power
    return _value(entr(p / p.sum(axis=1, keepdims=True)).sum(axis=1), weights)


def _spectra(z, center: bool, weights) -> np.ndarray:
    """Singular values `[draws, K]`, largest first, one draw without weights; NaN for equal rows.

    ValueError if they are rounding noise around equal embeddings.
    """
    global _last_spectra
    z, _ = _scaled(_matrix(z))
    counts = _counts(weights, len(z))
    key = (*(hashlib.blake2b(np.ascontiguousarray(a)).digest() for a in (z, counts)), z.shape)
    key += (center, weights is None)
    last_key, spectra = _last_spectra
    if last_key != key:
        rows = z - z.mean(axis=0) if center else z
        if np.linalg.norm(rows) <= _NOISE * np.linalg.norm(z):
            raise ValueError("All embeddings are equal: their spectrum is zero, or rounding noise.")
        if weights is None:
            spectra = np.linalg.svd(rows, compute_uv=False)[None]
        else:
            spectra = np.stack([_weighted_spectrum(z, center, w) for w in counts])
        _last_spectra = key, spectra
    return spectra


def _weighted_spectrum(z: np.ndarray, center: bool, w: np.ndarray) -> np.ndarray:
    """Singular values `[K]` of the rows of `z`, each repeated `w` times."""
    size = min(z.shape)
    z, w = z[w > 0], w[w > 0]
    centred = z - w @ z / w.sum()
    if w @ (centred**2).sum(axis=1) <= _NOISE**2 * (w @ (z**2).sum(axis=1)):
        return np.full(size, np.nan)
    rows = (centred if center else z) * np.sqrt(w)[:, None]
    variance = np.linalg.eigvalsh(rows.T @ rows)[::-1][:size]  # faster than its singular values
    return np.sqrt(np.clip(variance, 0, None))


def _of_both(a, b, measure, weights) -> float | np.ndarray:
    """`measure` of the centred rows, each repeated as `weights` say; NaN for one row alone."""
    a, b = _same_texts(a, b)
    values = []
    for w in _counts(weights, len(a)):
        if (w > 0).sum() < 2:
            values.append(np.nan)
            continue
        drawn = w > 0  # 63 % of the rows, in a bootstrap sample
        kept = w[drawn]
        rows = [z[drawn] - kept @ z[drawn] / kept.sum() for z in (a, b)]
        values.append(measure(*(z * np.sqrt(kept)[:, None] for z in rows)))
    return _value(np.array(values), weights)


def _same_texts(a, b) -> list[np.ndarray]:
    """Centred rows of both, as float64."""
    a, b = (_scaled(_matrix(z))[0] for z in (a, b))
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} embeddings: expected the same texts in both.")
    rows = [z - z.mean(axis=0) for z in (a, b)]
    for name, z, centred in zip("ab", (a, b), rows, strict=True):
        if np.linalg.norm(centred) <= 1e-12 * np.linalg.norm(z):
            raise ValueError(f"All embeddings of {name} are equal: there is nothing to compare.")
    return rows


def _u_centred(gram: np.ndarray) -> np.ndarray:
    """`gram [N, N]` with a zero diagonal and rows that sum to 0 (Székely & Rizzo 2014)."""
    n = len(gram)
    gram = gram - np.diag(np.diag(gram))
    sums = gram.sum(axis=0) / (n - 2)
    gram = gram - sums[:, None] - sums + sums.sum() / (n - 1)
    return gram - np.diag(np.diag(gram))


def _within(u: np.ndarray, groups, kernel: Callable, weights) -> tuple[np.ndarray, np.ndarray]:
    """Sum of kernel(||u - v||^2) over the pairs of each group, and their count: `[draws, G]`."""
    groups, counts = _checked_labels(groups, len(u)), _counts(weights, len(u))
    members, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    if sizes.max() < 2:
        raise ValueError("No class has two samples: pairs of one class are needed.")
    parts = [(u[members == g], counts[:, members == g]) for g in range(len(sizes))]
    sums = [_pair_sum(rows, kernel, w) for rows, w in parts]
    pairs = [(w.sum(axis=1) ** 2 - (w**2).sum(axis=1)) / 2 for _, w in parts]
    return np.stack(sums, axis=1), np.stack(pairs, axis=1)


def _pair_sum(u: np.ndarray, kernel: Callable, w: np.ndarray, block: int = 512) -> np.ndarray:
    """sum_{i<j} w_i w_j kernel(||u_i - u_j||^2) `[draws]`, a block of rows at a time.

    Squared distances of unit vectors are exact to 1e-15.
    """
    total = np.zeros(len(w))
    for start in range(0, len(u), block):
        rows = slice(start, start + block)
        squared = np.maximum(2 - 2 * u[rows] @ u[start:].T, 0)  # (block, N - start)
        values = np.triu(kernel(squared), k=1)
        total += np.einsum("db,bd->d", w[:, rows], values @ w[:, start:].T)
    return total


def _counts(weights, n: int) -> np.ndarray:
    """Weights `[draws, n]` as float64; without any, one draw that holds every row once."""
    if weights is None:
        return np.ones((1, n))
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != n:
        raise ValueError(f"weights have shape {weights.shape}, expected [draws, {n}].")
    return weights


def _value(values: np.ndarray, weights) -> float | np.ndarray:
    return float(values[0]) if weights is None else values


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):  # no pairs: 0 / 0, so NaN
        return a / b


def _matrix(z) -> np.ndarray:
    """`z [N, D]`, NumPy or torch, as float64; refused with fewer than two rows, NaN, infinity."""
    if hasattr(z, "detach"):
        z = z.detach().cpu().double().numpy()
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(f"Embeddings of shape {z.shape}: expected [N, D] with N at least 2.")
    if not np.isfinite(z).all():
        bad = int((~np.isfinite(z).all(axis=1)).argmax())
        raise ValueError(f"Embedding {bad} holds NaN or infinity.")
    return z


def _scaled(z: np.ndarray, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`z` over 2^exponent, with entries up to 1: exact, and squares neither over- nor underflow."""
    _, exponent = np.frexp(np.abs(z).max(axis=axis, keepdims=axis is not None))
    return np.ldexp(z, -exponent), exponent


def _unit(z) -> np.ndarray:
    """Directions `[N, D]`: rows of length 1; refused where one is zero, and as `_matrix`."""
    z, _ = _scaled(_matrix(z), axis=1)
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    if (norms == 0).any():
        raise ValueError(f"Embedding {int((norms == 0).argmax())} is zero: it has no direction.")
    return z / norms


def _checked_labels(labels, n: int) -> np.ndarray:
    """Labels `[n]` as an array; refused with another length, or where one is missing."""
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {labels.shape}, expected ({n},).")
    missing = pd.isna(labels)
    if missing.any():
        raise ValueError(f"Label {int(missing.argmax())} is missing (NaN): leave that sample out.")
    return labels


def _spread(u: np.ndarray) -> float:
    """Sum of squares of unit vectors around their mean; refused where all agree to 1e-6.

    float32 rounds directions to about 1e-7, so distances below 1e-6 are noise.
    """
    spread = float(((u - u.mean(axis=0)) ** 2).sum())
    if spread <= 1e-12 * len(u):
        raise ValueError("All embeddings point the same way, to 1e-6: no distances to compare.")
    return spread
