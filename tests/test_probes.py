import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from predrecon import metrics, probes
from predrecon.pooling import token_ids


def blobs(n, classes=3, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return (np.eye(8)[labels] + noise * rng.normal(size=(n, 8))).astype(np.float32), labels


def test_single_sentence_probe_against_scikit_learn():
    (x, y), (x_val, y_val) = blobs(600), blobs(300, seed=1)
    ours = probes.linear_probe((x, y), (x_val, y_val), metric="accuracy", num_classes=3, epochs=30)
    theirs = LogisticRegression(max_iter=1000).fit(x, y).score(x_val, y_val)
    assert ours.n == 300 and theirs > 0.9
    assert abs(ours.score - theirs) < 0.03
    assert ours.score == np.mean(ours.predictions == y_val)
    assert ours.best_epoch_score >= ours.score


def test_random_labels_score_at_chance():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1200, 8)), rng.integers(0, 2, 1200)
    result = probes.linear_probe(
        (x[:600], y[:600]), (x[600:], y[600:]), metric="accuracy", num_classes=2
    )
    assert abs(result.score - 0.5) < 4 * 0.5 / 600**0.5
    folds = probes.semantic_probe(x, y)
    assert abs(folds.score - 0.5) < 4 * 0.5 / 1200**0.5


def test_pair_probe_sees_relations_that_one_side_cannot_show():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(1500, 8)).astype(np.float32)
    y = rng.integers(0, 2, 1500)
    b = np.where(y[:, None] == 1, a, rng.permutation(a)).astype(np.float32)
    result = probes.linear_probe(
        (a[:1000], b[:1000], y[:1000]), (a[1000:], b[1000:], y[1000:]), metric="f1", num_classes=2,
        epochs=40,
    )  # fmt: skip
    assert result.score > 0.95


def test_similarity_probe_reports_the_cosine():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400, 8))
    y = rng.uniform(0, 5, 400)
    result = probes.linear_probe((a, b, y), (a, b, y), metric="spearman")
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert result.score == pytest.approx(spearmanr(cosine, y).statistic, abs=1e-4)


def test_rounding_does_not_pick_an_epoch_of_similarity():
    """Cosines that lie close together, as an untrained encoder's, rank alike in all epochs."""
    draw = np.random.default_rng(0)
    a, b = 50 + draw.normal(size=(2, 1000, 8))
    split = (a, b, draw.uniform(0, 5, 1000))
    result = probes.linear_probe(split, split, metric="spearman", epochs=10)
    assert result.score == result.best_epoch_score


HEADS = {
    "single": dict(sides=1, metric="accuracy", num_classes=3),
    "pair": dict(sides=2, metric="f1", num_classes=2),
    "similarity": dict(sides=2, metric="spearman", num_classes=0),
}


def several(sides: int, num_classes: int, dims=(9, 9, 9, 9)):
    """`[(train, validation)]` of as many encoders of one task as there are `dims`."""
    draw = np.random.default_rng(0)
    sizes = (230, 90)
    labels = [draw.integers(0, num_classes or 6, n) for n in sizes]
    return [
        tuple(
            (*(y[:, None] % 2 + draw.normal(size=(sides, n, dim))).astype(np.float32), y)
            for n, y in zip(sizes, labels, strict=True)
        )
        for dim in dims
    ]


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(
    ("dims", "stack"), [((9, 9, 9, 9), 1 << 30), ((9, 9, 5, 9, 9, 9), 1 << 30), ((9,) * 5, 40_000)]
)
def test_heads_trained_at_once_are_those_trained_alone(kind, dims, stack, monkeypatch):
    options = dict(HEADS[kind], epochs=12, seed=3)
    heads = several(options.pop("sides"), options["num_classes"], dims)
    monkeypatch.setattr(probes, "_STACK", stack)
    together = list(probes.linear_probes(iter(heads), selects=probes.SELECT, **options))
    assert len(together) == len(heads)
    for head, results in zip(heads, together, strict=True):
        assert set(results) == set(probes.SELECT)
        for select, result in results.items():
            alone = probes.linear_probe(*head, select=select, **options)
            assert result.score == pytest.approx(alone.score, abs=1e-6)
            assert result.best_epoch_score == pytest.approx(alone.best_epoch_score, abs=1e-6)
            assert np.allclose(result.confidence, alone.confidence, rtol=0, atol=1e-6)
            assert np.allclose(result.predictions, alone.predictions, rtol=0, atol=1e-6)
            if options["num_classes"]:
                assert np.array_equal(result.predictions, alone.predictions)
    assert len({results["last"].predictions.tobytes() for results in together}) == len(heads)


def by_layers(train, validation, num_classes, epochs, seed):
    """Probabilities `[N, C]` of the same head by PyTorch's own layers and its global generator."""
    *vectors, y = (torch.tensor(part) for part in train)
    *asked, _ = (torch.tensor(part) for part in validation)
    if len(vectors) == 2:
        vectors, asked = ([a, b, (a - b).abs(), a * b] for a, b in (vectors, asked))
    x, x_val = torch.cat(vectors, dim=1), torch.cat(asked, dim=1)
    order = probes.torch_generator(seed, "probe")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = torch.nn.Linear(x.shape[1], num_classes)
        if len(train) == 2:
            head = torch.nn.Sequential(torch.nn.LayerNorm(x.shape[1]), torch.nn.Dropout(0.2), head)
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.0)
        torch.manual_seed(seed)
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=order).split(64):
                optimizer.zero_grad()
                F.cross_entropy(head(x[rows]), y[rows]).backward()
                optimizer.step()
    with torch.no_grad():
        return head.eval()(x_val).softmax(dim=1)


@pytest.mark.parametrize("kind", ["single", "pair"])
def test_heads_are_those_of_pytorchs_layers(kind):
    options = dict(HEADS[kind], epochs=12, seed=3)
    heads = several(options.pop("sides"), options["num_classes"])
    for head, results in zip(heads, probes.linear_probes(heads, **options), strict=True):
        confidence, label = by_layers(*head, options["num_classes"], 12, 3).max(dim=1)
        assert np.array_equal(results["last"].predictions, label)
        assert np.allclose(results["last"].confidence, confidence, atol=1e-6)


def test_heads_are_read_as_far_as_they_are_trained_at_once(monkeypatch):
    heads, read = several(1, 3, (9,) * 5), []
    monkeypatch.setattr(probes, "_STACK", 2 * heads[0][0][0].nbytes)
    asked = (read.append(1) or head for head in heads)
    results = probes.linear_probes(asked, metric="accuracy", num_classes=3, epochs=1)
    assert len(list(itertools.islice(results, 2))) == 2 and len(read) == 3
    assert len(list(results)) == 3 and len(read) == 5


def test_probes_are_repeatable_and_leave_global_randomness_alone():
    data = blobs(200), blobs(100, seed=1)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (
        probes.linear_probe(*data, metric="accuracy", num_classes=3, epochs=3) for _ in range(2)
    )
    assert np.array_equal(first.predictions, second.predictions)
    assert torch.equal(torch.rand(1), expected)


def test_token_probe_drops_rare_tokens_and_frequent_tokens_counts(corpus):
    tokenizer = corpus.tokenizer
    ids = token_ids(tokenizer, ["the graph the node", "a b", ""], ["the set", "b c", ""], 48)
    tokens = probes.frequent_tokens(ids).tolist()
    assert tokenizer.convert_ids_to_tokens(tokens[:2]) == ["the", "b"] and tokens[2] == -1
    (cut,) = probes.frequent_tokens(token_ids(tokenizer, ["a b the the the"], None, 4))
    assert tokenizer.convert_ids_to_tokens(int(cut)) == "a", "only what the encoder sees counts"
    z, tokens = blobs(90)
    tokens[:4] = 99  # four texts: below the minimum of five
    result = probes.token_probe(z, tokens)
    assert result.n == 86 and result.score > 0.9


def test_scores():
    labels, guesses = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 1, 1])
    assert probes.score(labels, guesses, "accuracy") == 0.6
    assert probes.score(labels, guesses, "f1") == pytest.approx(2 / 3)
    assert probes.score(labels, guesses, "mcc") == pytest.approx(1 / 6)
    assert probes.score(labels, np.zeros(5), "spearman") == 0.0
    assert probes.majority(labels, labels, "accuracy") == 0.6
    assert probes.majority(labels, labels, "mcc") == 0.0
    assert probes.majority(np.array([0, 1]), labels, "f1") == pytest.approx(0.75), "a tie"
    with pytest.raises(ValueError, match="accuracy, f1, mcc, spearman"):
        probes.score(labels, guesses, "bleu")


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ((np.ones((4, 2)), np.array([0, 1])), "4 samples, 2 labels"),
        ((np.ones((2, 2)), np.array([0, 5])), "from 0 to 1"),
        ((np.ones((2, 2)), np.array([0, 0])), "one class only"),
        ((np.array([[np.nan, 1], [1, 1]]), np.array([0, 1])), "NaN"),
    ],
)
def test_bad_probe_input_is_named(train, said):
    good = (np.ones((2, 2)), np.array([0, 1]))
    with pytest.raises(ValueError, match=said):
        probes.linear_probe(train, good, metric="accuracy", num_classes=2)


def test_too_few_samples_for_folds():
    with pytest.raises(ValueError, match="too few for 5 folds"):
        probes.semantic_probe(np.ones((6, 2)), np.array([0, 1, 0, 1, 0, 1]))


def noise(n=160, dim=12, classes=2, seed=0):
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(n, dim)).astype(np.float32), draw.integers(0, classes, n)
    return (x[: n // 2], y[: n // 2]), (x[n // 2 :], y[n // 2 :])


@pytest.mark.slow
def test_picking_the_epoch_on_the_reported_split_flatters():
    """On random labels: the best epoch is above the last one, an inner split's is not."""
    scores = {select: [] for select in probes.SELECT}
    for seed in range(12):
        train, validation = noise(seed=seed)
        for select in probes.SELECT:
            result = probes.linear_probe(
                train, validation, metric="accuracy", num_classes=2, epochs=25, lr=1e-2,
                select=select, seed=seed,
            )  # fmt: skip
            scores[select].append(result.score)
            assert (result.predictions == validation[1]).mean() == pytest.approx(result.score)
    mean = {select: np.mean(values) for select, values in scores.items()}
    assert mean["reported"] > mean["last"] + 0.02
    chance = 0.5 + np.array([-1, 1]) * 3 * 0.5 / np.sqrt(12 * 80)
    for select in ("last", "inner"):
        assert chance[0] <= mean[select] <= chance[1]


def test_selection_is_one_of_three():
    train, validation = noise()
    with pytest.raises(ValueError, match="select='best': expected one of last, inner, reported"):
        probes.linear_probe(train, validation, metric="accuracy", num_classes=2, select="best")


def theirs(z, labels, kind="classification", folds=5, seed=0):
    """The same protocol written with scikit-learn alone: mean score over the same folds."""
    splits = KFold if kind == "regression" else StratifiedKFold
    model = Ridge() if kind == "regression" else LogisticRegression(max_iter=500)
    rho = make_scorer(lambda y, told: spearmanr(y, told).statistic)
    return cross_val_score(
        make_pipeline(StandardScaler(), model),
        z,
        labels,
        cv=splits(folds, shuffle=True, random_state=seed),
        scoring=rho if kind == "regression" else "accuracy",
    ).mean()


@pytest.mark.parametrize("signal", [0.0, 1.0, 8.0])  # random, hard, separable
def test_cross_validated_probes_against_scikit_learn(signal):
    draw = np.random.default_rng(1)
    labels, tokens = draw.integers(0, 3, 240), draw.integers(0, 4, 240)
    tokens[:3] = 99  # too rare for the token probe
    scores = draw.normal(size=240)
    z = draw.normal(size=(240, 9)) * np.linspace(1, 5, 9) + 3
    z[:, :3] += signal * np.eye(3)[labels]
    z[:, 3:7] += 4 * signal * np.eye(4)[tokens % 4]
    z[:, 7] += signal * 5 * scores
    for seed in (0, 7):
        semantic = theirs(z, labels, seed=seed)
        assert probes.semantic_probe(z, labels, seed=seed).score == pytest.approx(semantic)
        lexical = theirs(z[3:], tokens[3:], folds=3, seed=seed)
        assert probes.token_probe(z, tokens, seed=seed).score == pytest.approx(lexical)
        gap = metrics.probe_gap(z, labels, tokens, seed=seed)
        assert gap == pytest.approx(semantic - lexical, abs=1e-10)
        ridge = theirs(z, scores, kind="regression", seed=seed)
        ours = probes.semantic_probe(z, scores, kind="regression", seed=seed).score
        assert ours == pytest.approx(ridge, abs=1e-10)
        gap = metrics.probe_gap(z, scores, tokens, kind="regression", seed=seed)
        assert gap == pytest.approx(ridge - lexical, abs=1e-10)
    if signal == 8:
        assert semantic > 0.99 and lexical > 0.99 and ridge > 0.97
    if signal == 0:
        assert semantic < 0.45 and lexical < 0.4 and abs(ridge) < 0.2


def test_equal_vectors_score_what_the_commonest_label_does():
    z, labels = np.full((60, 4), 0.1), np.arange(60) % 3 // 2  # two thirds are 0
    result = probes.semantic_probe(z, labels)
    assert result.score == pytest.approx(probes.majority(labels, labels, "accuracy"))
    assert probes.token_probe(z, labels).score == pytest.approx(2 / 3)
    assert probes.semantic_probe(z, np.arange(60.0), kind="regression").score == 0


def test_a_correlation_without_a_value_is_zero():
    alone, both = np.ones(5, int), np.array([0, 1, 1, 0, 1])
    with pytest.warns(UserWarning, match="A single label"):
        assert probes.score(alone, alone, "mcc") == 0.0
    assert probes.score(alone, both, "mcc") == probes.score(both, alone, "spearman") == 0.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda z, y: (np.where(np.arange(40)[:, None] == 3, np.nan, z), y), "Vector 3 holds NaN"),
        (lambda z, y: (z, np.where(y == 1, np.nan, 0.0)), "Label 1 is NaN"),
        (lambda z, y: (z, np.ones(40, int)), "All 40 labels are 1: a probe needs two classes"),
        (lambda z, y: (z[:8], y[:8]), "8 samples: too few for 5 folds"),
        (lambda z, y: (z, np.arange(40) // 2), r"Samples by class \(0: 2, .*: too few for 5 folds"),
        (lambda z, y: (z, np.arange(40) // 39), r"Samples by class \(0: 39, 1: 1\): too few"),
        (lambda z, y: (z, y[:30]), r"Vectors \(40, 3\), labels \(30,\)"),
    ],
)
def test_bad_input_of_cross_validated_probes_is_named(spoil, said):
    z, labels = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    with pytest.raises(ValueError, match=said):
        probes.semantic_probe(*spoil(z, labels))


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(np.arange(40) // 4, "0 of 10 tokens"), (np.maximum(np.arange(40) - 20, 0), "1 of 20 tokens")],
)
def test_too_few_common_tokens_are_named(tokens, said):
    with pytest.raises(ValueError, match=f"{said} have 5 texts or more"):
        probes.token_probe(np.ones((40, 3)), tokens)
